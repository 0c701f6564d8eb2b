"""Tangent space: encoders whose Jacobian has a known singular value decomposition."""

from types import SimpleNamespace

import pytest
import torch

from diagnostics.stand_ins import figure_inputs, save_figures
from latentlab.contracts import Split, to_float
from latentlab.diagnostics import tangent_space
from latentlab.models.contractive_ae import ContractiveAE
from latentlab.models.vae import VAE

SHAPE = (3, 2, 4)


class Quadratic:
    """z_i = g_i (q_i · x)² / 2 of orthonormal q_i: row i of J is g_i (q_i · x) q_i."""

    differentiable_encoder = True

    def __init__(self):
        g = torch.Generator().manual_seed(0)
        self.q = torch.linalg.qr(torch.randn(24, 24, generator=g)).Q  # columns q_i
        self.gains = torch.linspace(0.1, 0.3, 12)

    def encode(self, x):
        return self.gains * (x.flatten(1) @ self.q[:, :12]).square() / 2


def trained(module):
    return SimpleNamespace(module=module, name="some", device="cpu")


def test_local_dimension_counts_directions_up_to_90_percent_of_the_energy():
    values = torch.tensor([[3.0, 1.0, 0.1], [1.0, 1.0, 1.0], [1.0, 0.0, 0.0], [3.0, 1.0, 0.0]])
    # energies: 9/10.01 < 0.9, then 10/10.01; three thirds; all in the first; exactly 0.9 in it
    for scale in (1, 1e-30, 1e30):
        assert tangent_space.local_dimension(scale * values).tolist() == [2, 3, 1, 1]


def test_an_encoder_that_does_not_respond_has_local_dimension_0():
    values = torch.tensor([[0.0, 0.0], [2.0, 0.0]])
    assert tangent_space.local_dimension(values).tolist() == [0, 1]


def test_spectrum_and_dimensions_equal_those_of_a_known_jacobian(monkeypatch):
    """Over the first 24 images. The encoder does not respond at the last one, which is black."""
    monkeypatch.setattr(tangent_space, "NUM_IMAGES", 24)
    images = torch.randint(
        0, 256, (30, *SHAPE), dtype=torch.uint8, generator=torch.Generator().manual_seed(1)
    )
    images[23] = 0
    model = Quadratic()
    result = tangent_space.diagnose(trained(model), SimpleNamespace(test=Split(images)))
    slopes = model.gains * (to_float(images[:24]).flatten(1) @ model.q[:, :12])
    values = slopes.double().abs().sort(dim=1, descending=True).values  # (N, 12)
    dimensions = []
    for row in values.square().tolist():
        needed = 0
        while sum(row[:needed]) < 0.9 * sum(row):
            needed += 1
        dimensions.append(needed)
    assert result.metrics["local_dimension"] == pytest.approx(sum(dimensions) / 24)
    assert result.metrics["local_dimension_min"] == min(dimensions) == 0
    assert result.metrics["local_dimension_max"] == max(dimensions)
    largest = values[:, 0]
    assert result.metrics["largest_singular_value"] == pytest.approx(float(largest.mean()))
    ((curve,),) = figure_inputs(result, "spectrum")
    relative = (values[:-1] / largest[:-1, None]).sum(0) / 24
    assert list(curve.x) == list(range(1, 13))
    assert curve.y == pytest.approx(relative.tolist(), rel=1e-4)
    assert "of 24 directions" in result.summary


def test_the_spectrum_of_a_constant_encoder_has_a_place_on_a_logarithmic_axis():
    model = SimpleNamespace(encode=lambda x: 0 * x.flatten(1))
    test = Split(torch.full((3, *SHAPE), 9, dtype=torch.uint8))
    result = tangent_space.diagnose(trained(model), SimpleNamespace(test=test))
    ((curve,),) = figure_inputs(result, "spectrum")
    assert curve.y == pytest.approx([1e-6] * 24)


def test_figure_has_each_image_and_its_ten_leading_tangents():
    """Each q_i, in the order of its slope; white is its largest entry, grey 0.5 is 0."""
    model = Quadratic()
    x = torch.rand(2, *SHAPE, generator=torch.Generator().manual_seed(2))
    rows = tangent_space.figure_rows(trained(model), x)
    assert rows.shape == (2, 11, *SHAPE)
    assert torch.equal(rows[:, 0], x)
    order = (model.gains * (x.flatten(1) @ model.q[:, :12])).abs().argsort(1, descending=True)
    for i in range(2):
        for place in range(10):
            q = model.q[:, order[i, place]]
            largest = q[q.abs().argmax()]  # of either sign, which is made positive
            expected = 0.5 + 0.5 * q / largest
            torch.testing.assert_close(rows[i, 1 + place].flatten(), expected, atol=1e-3, rtol=0)


def test_tangents_of_a_contractive_encoder(tmp_path):
    model = ContractiveAE(SHAPE, latent_dim=6).eval()
    test = Split(torch.randint(0, 256, (30, *SHAPE), dtype=torch.uint8))
    result = tangent_space.diagnose(trained(model), SimpleNamespace(test=test))
    assert 1 <= result.metrics["local_dimension"] <= 6
    width, height = save_figures(result, tmp_path)["tangents"]
    assert width > height / 2 > 0
    assert tangent_space.applies(model)
    assert not tangent_space.applies(VAE(SHAPE))
