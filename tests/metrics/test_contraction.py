"""The contraction ratio of linear encoders, whose value is known."""

import pytest
import torch

from latentlab.metrics.contraction import contraction_ratios

SHAPE = (1, 4, 4)


def test_the_ratio_of_a_rotation_times_3_is_3():
    x = torch.rand(20, *SHAPE, dtype=torch.float64)
    rotation = torch.linalg.qr(torch.randn(16, 16, dtype=torch.float64)).Q
    ratios, pairs = contraction_ratios(lambda x: 3 * x.flatten(1) @ rotation, x, seed=0)
    assert list(ratios.values()) == pytest.approx([3.0] * len(ratios), rel=1e-9)
    assert pairs == pytest.approx(3.0, rel=1e-9)


def test_the_ratio_of_a_linear_encoder_is_the_mean_norm_over_directions():
    """E_u ‖J u‖² = ‖J‖² / P on the unit sphere."""
    matrix = torch.randn(16, 12, dtype=torch.float64)
    x = torch.rand(4000, *SHAPE, dtype=torch.float64)
    ratios, _ = contraction_ratios(lambda x: x.flatten(1) @ matrix, x, seed=1, radii=[0.5])
    u = torch.randn(200_000, 16, dtype=torch.float64)
    norms = (u / u.norm(dim=1, keepdim=True) @ matrix).norm(dim=1)
    assert ratios[0.5] == pytest.approx(float(norms.mean()), rel=0.02)
    expected = float(matrix.square().sum()) / 16
    assert float(norms.square().mean()) == pytest.approx(expected, rel=0.02)


def test_the_ratio_of_pairs_does_not_depend_on_their_distance():
    x = 1e-3 * torch.rand(6, 1, 4, 4)
    _, pairs = contraction_ratios(lambda x: 3 * x.flatten(1), x, seed=0)
    assert pairs == pytest.approx(3, rel=1e-3)
