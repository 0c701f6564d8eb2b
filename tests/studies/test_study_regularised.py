"""Sparsity, contraction, tangents and inference: each on encoders whose answer is known."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from latentlab.contracts import Split
from latentlab.losses.contraction import tangents
from latentlab.metrics.contraction import contraction_ratios
from latentlab.models.contractive_ae import ContractiveAE
from latentlab.models.k_sparse_ae import KSparseAE
from latentlab.models.psd import PSD
from latentlab.models.vae import VAE
from latentlab.models.vq_vae import VQVAE
from latentlab.studies import contraction, inference, sparsity
from latentlab.studies import tangents as tangent_planes
from latentlab.trained import Trained

SHAPE = (1, 4, 4)


def trained(module):
    return Trained("some", None, module.eval(), None, SHAPE, None, {})


@pytest.fixture
def yard():
    images = torch.randint(0, 256, (30, *SHAPE), dtype=torch.uint8)
    return SimpleNamespace(test=Split(images), settings=SimpleNamespace(seed=0))


def draw_all(finding, folder):
    """Sizes (width, height) by name of the pictures, each of which must be a readable PNG."""
    sizes = {}
    for picture in finding.pictures:
        picture.draw(folder / f"{picture.name}.png")
        with Image.open(folder / f"{picture.name}.png") as image:
            image.load()
            sizes[picture.name] = image.size
    return sizes


def test_a_rotation_keeps_every_length_and_a_multiple_of_it_scales_all():
    x = torch.rand(20, *SHAPE, dtype=torch.float64)
    rotation = torch.linalg.qr(torch.randn(16, 16, dtype=torch.float64)).Q
    ratios, pairs = contraction_ratios(lambda x: 3 * x.flatten(1) @ rotation, x, seed=0)
    assert list(ratios.values()) == pytest.approx([3.0] * len(ratios), rel=1e-9)
    assert pairs == pytest.approx(3.0, rel=1e-9)


def test_small_changes_shrink_as_the_jacobians_norm_says():
    """E_u ‖J u‖² = ‖J‖² / P on the sphere; nearly the square of the mean for a steep spectrum."""
    matrix = torch.randn(16, 12, dtype=torch.float64)
    x = torch.rand(4000, *SHAPE, dtype=torch.float64)
    ratios, _ = contraction_ratios(lambda x: x.flatten(1) @ matrix, x, seed=1, radii=[0.5])
    lengths = torch.randn(200_000, 16, dtype=torch.float64)
    lengths = (lengths / lengths.norm(dim=1, keepdim=True) @ matrix).norm(dim=1)
    assert ratios[0.5] == pytest.approx(float(lengths.mean()), rel=0.02)
    assert float(lengths.square().mean()) == pytest.approx(
        float(matrix.square().sum()) / 16, rel=0.02
    )


def test_an_encoder_of_the_datas_directions_contracts_all_others(yard, tmp_path):
    """Images along one line, a code that reads the place on it: other changes cost 1/√P."""
    line = torch.ones(16) / 4
    model = VAE(SHAPE, latent_dim=1, hidden=[2])
    model.encode = lambda x: (x.flatten(1) @ line)[:, None]
    levels = torch.arange(30, dtype=torch.uint8)[:, None, None, None] * 8
    yard.test = Split(levels.expand(30, *SHAPE).contiguous())
    finding = contraction.study(trained(model), yard)
    assert contraction.applies(model)
    assert finding.numbers["contraction_ratio_of_pairs"] == pytest.approx(1, rel=1e-4)
    assert 0.05 < finding.numbers["relative_contraction"] < 0.45  # E|u_1| on the sphere is 0.2
    assert set(draw_all(finding, tmp_path)) == {"contraction"}


def test_names_of_symbols_have_no_distance_to_contract():
    assert not contraction.applies(VQVAE((1, 8, 8), width=2))


def test_tangents_of_a_linear_map_are_its_right_singular_vectors():
    matrix = torch.randn(5, 16, dtype=torch.float64)
    x = torch.rand(3, *SHAPE, dtype=torch.float64)
    v = tangents(lambda x: x.flatten(1) @ matrix.T, x, 4)
    expected = np.linalg.svd(matrix.numpy())[2][:4]
    for image in v.flatten(2):
        overlap = np.abs(expected @ image.numpy().T)
        assert np.allclose(overlap, np.eye(4), atol=1e-8)
    assert torch.equal(v.flatten(2).amax(2), v.flatten(2).abs().amax(2))  # the free sign


def test_local_dimension_counts_directions_until_ninety_percent():
    values = torch.tensor([[3.0, 1.0, 0.1], [1.0, 1.0, 1.0], [1.0, 0.0, 0.0]])
    # energies 9/10.01 < .9, with the next 10/10.01; thirds; all in the first
    assert tangent_planes.local_dimension(values).tolist() == [2, 3, 1]


def test_tangents_of_a_contractive_encoder_are_counted_and_drawn(yard, tmp_path):
    model = ContractiveAE(SHAPE, widths=[6])
    finding = tangent_planes.study(trained(model), yard)
    assert 1 <= finding.numbers["local_dimension"] <= 6
    width, height = draw_all(finding, tmp_path)["tangents"]
    assert width > height / 2 > 0
    assert tangent_planes.applies(model)
    assert not tangent_planes.applies(VAE(SHAPE))


def test_sparsity_is_counted_over_the_test_images(yard, tmp_path):
    model = KSparseAE(SHAPE, units=24, k=3)
    with torch.no_grad():
        model.encoder.bias[:2] = -1e6  # never among the largest
        model.encoder.bias[2] = 1e6  # always
    finding = sparsity.study(trained(model), yard)
    assert finding.numbers["active_units_per_image"] == pytest.approx(3)
    assert finding.numbers["inactive_share"] == pytest.approx(21 / 24)
    assert finding.numbers["most_used_unit_share"] == pytest.approx(1)
    assert finding.numbers["unused_units"] >= 2
    draw_all(finding, tmp_path)
    assert sparsity.applies(model)
    assert sparsity.applies(PSD(SHAPE))
    assert not sparsity.applies(VAE(SHAPE))


def test_an_image_taken_apart_is_put_together_again():
    """All k parts of a k-sparse code: the last sum is the reconstruction."""
    model = KSparseAE(SHAPE, units=24, k=5)
    x = torch.rand(3, *SHAPE)
    rows = sparsity.parts(trained(model), x, model.dictionary().detach())
    assert rows.shape == (6, 1 + sparsity.PARTS, *SHAPE)
    assert torch.equal(rows[0::2, 0], x)
    x_hat = model.decode(model.encode(x)).detach()
    assert torch.allclose(rows[1::2, 0], x_hat, atol=1e-6)
    assert torch.allclose(rows[1::2, -1], x_hat, atol=1e-5)
    assert torch.allclose(rows[0::2, -1], torch.full((3, *SHAPE), 0.5), atol=1e-6)  # zeros by now


def test_a_perfect_guess_has_no_excess_and_a_bad_one_is_found_out(yard, tmp_path):
    model = PSD(SHAPE, units=12, l1=0.3)
    oracle = lambda x: model.infer(x, steps=inference.EXACT)  # noqa: E731
    worst = inference.study(trained(model), yard)
    assert inference.applies(model)
    draw_all(worst, tmp_path)
    model.encode = oracle
    best = inference.study(trained(model), yard)
    assert best.numbers["guess_energy_excess"] == pytest.approx(0, abs=1e-5)
    assert best.numbers["guess_sq_error_share"] < 1e-6
    assert worst.numbers["guess_energy_excess"] > 0.01
    assert best.numbers["exact_sse"] == pytest.approx(worst.numbers["exact_sse"])


def test_operations_are_those_of_the_matrix_products():
    layer = nn.Linear(16, 12)
    assert inference.flops(lambda: layer(torch.rand(5, 16))) == 2 * 5 * 16 * 12
