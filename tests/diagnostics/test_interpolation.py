"""Interpolation: arcs have constant length and constant speed."""

import pytest
import torch

from diagnostics.stand_ins import (
    FlattenedImage,
    evaluator_of,
    figure_inputs,
    on_2x2,
    save_figures,
    two_clusters,
)
from latentlab.diagnostics import interpolation
from latentlab.models.vae import VAE
from latentlab.models.vq_vae import VQVAE


def test_an_arc_has_constant_speed_and_constant_norm():
    a, b = torch.randn(2, 6, 5, dtype=torch.float64)
    a, b = (3 * v / v.norm(dim=1, keepdim=True) for v in (a, b))
    t = torch.linspace(0, 1, 9, dtype=torch.float64)
    arc = interpolation.slerp(a, b, t)
    torch.testing.assert_close(arc.norm(dim=2), torch.full((6, 9), 3.0, dtype=torch.float64))
    torch.testing.assert_close(arc[:, 0], a)
    torch.testing.assert_close(arc[:, -1], b)
    angle = (a * b).sum(1).div(9).arccos()
    covered = (arc * a[:, None]).sum(2).div(9).clamp(-1, 1).arccos()
    torch.testing.assert_close(covered, angle[:, None] * t, atol=1e-6, rtol=0)


def test_an_arc_between_parallel_codes_is_the_straight_line():
    a = torch.randn(3, 4)
    t = torch.linspace(0, 1, 5)
    torch.testing.assert_close(interpolation.slerp(a, 2 * a, t), interpolation.linear(a, 2 * a, t))
    torch.testing.assert_close(interpolation.linear(a, -a, t)[:, 2], torch.zeros(3, 4))


@pytest.mark.parametrize(("count", "pairs"), [(7, 3), (9, 4), (40, 5)])
def test_the_figure_has_as_many_pairs_as_the_test_images_allow(count, pairs, tmp_path):
    evaluator = evaluator_of(two_clusters(count))
    result = interpolation.diagnose(on_2x2(FlattenedImage()), evaluator)
    _, height = save_figures(result, tmp_path)["paths"]
    assert height == 32 * (2 * pairs * 3 - 1)  # images of 2 pixels, a gap of 1, times 32


def test_midpoints_of_lines_are_nearer_to_zero_than_midpoints_of_arcs():
    result = interpolation.diagnose(on_2x2(FlattenedImage()), evaluator_of(two_clusters(40)))
    ends = result.table["ends"]["latent_norm"]
    assert result.metrics["linear_latent_norm"] < 0.85 * ends
    assert result.metrics["spherical_latent_norm"] > 0.85 * ends


def test_applies_to_gaussian_posteriors_only():
    assert interpolation.applies(VAE((1, 8, 8)))
    assert not interpolation.applies(VQVAE((1, 8, 8), width=2))


def test_midpoints_are_those_of_500_pairs_of_samples_and_are_classified():
    """The classifier sees the pixels of a decoded image as logits."""
    evaluator = evaluator_of(two_clusters(10))
    evaluator.settings.seed = 3
    evaluator.classifier = lambda x: 5 * x.flatten(1)
    result = interpolation.diagnose(on_2x2(FlattenedImage()), evaluator)
    a, b = torch.randn((2, 500, 4), generator=torch.Generator().manual_seed(3)).double()
    omega = ((a * b).sum(1) / (a.norm(dim=1) * b.norm(dim=1))).arccos()
    arc = (a + b) * ((omega / 2).sin() / omega.sin())[:, None]
    for name, z in {"ends": a, "linear": (a + b) / 2, "spherical": arc}.items():
        p = (5 * z.clamp(0, 1)).exp()
        expected = {
            "latent_norm": float(z.norm(dim=1).mean()),
            "classifier_confidence": float((p.amax(1) / p.sum(1)).mean()),
        }
        assert result.table[name] == pytest.approx(expected, rel=1e-4)
        if name != "ends":
            for key, value in expected.items():
                assert result.metrics[f"{name}_{key}"] == pytest.approx(value, rel=1e-4)
    assert len(result.metrics) == 4


def test_paths_lead_from_the_first_to_the_second_image_of_each_pair():
    images = two_clusters(9)
    result = interpolation.diagnose(on_2x2(FlattenedImage()), evaluator_of(images))
    (paths,) = figure_inputs(result, "paths")
    x = images.float() / 255
    assert paths.shape == (8, 10, 1, 2, 2)
    for row in range(8):
        a, b = x[row // 2 * 2], x[row // 2 * 2 + 1]
        torch.testing.assert_close(paths[row, [0, -1]], torch.stack([a, b]))
        if row % 2 == 0:
            torch.testing.assert_close(paths[row, 3], (6 * a + 3 * b) / 9)
        else:
            arc = interpolation.slerp(a.flatten()[None], b.flatten()[None], torch.tensor([3 / 9]))
            torch.testing.assert_close(paths[row, 3].flatten(), arc[0, 0])
