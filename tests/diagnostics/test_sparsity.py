"""Sparsity of a k-sparse autoencoder with known active units."""

from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from diagnostics.stand_ins import figure_inputs, save_figures
from latentlab.contracts import Split
from latentlab.diagnostics import sparsity
from latentlab.inference.trained import TrainedModel
from latentlab.models.k_sparse_ae import KSparseAE
from latentlab.models.psd import PSD
from latentlab.models.vae import VAE

SHAPE = (1, 4, 4)


def trained(module):
    return TrainedModel("some", Path(), module.eval(), None, SHAPE, None, {})


def test_active_units_are_counted_over_the_test_images(tmp_path):
    model = KSparseAE(SHAPE, latent_dim=24, k=3)
    with torch.no_grad():
        model.encoder.bias[:2] = -1e6  # never among the largest
        model.encoder.bias[2] = 1e6  # always
    test = Split(torch.randint(0, 256, (30, *SHAPE), dtype=torch.uint8))
    result = sparsity.diagnose(trained(model), SimpleNamespace(test=test))
    assert result.metrics["active_units_per_image"] == pytest.approx(3)
    assert result.metrics["inactive_fraction"] == pytest.approx(21 / 24)
    assert result.metrics["most_used_unit_fraction"] == pytest.approx(1)
    assert result.metrics["dead_units"] >= 2
    assert set(save_figures(result, tmp_path)) == {"dictionary", "parts"}


def test_applies_to_sparse_coders_only():
    assert sparsity.applies(KSparseAE(SHAPE, latent_dim=24, k=3))
    assert sparsity.applies(PSD(SHAPE))
    assert not sparsity.applies(VAE(SHAPE))


def test_the_sum_of_all_parts_is_the_reconstruction():
    model = KSparseAE(SHAPE, latent_dim=24, k=5)
    x = torch.rand(3, *SHAPE)
    rows = sparsity.decompose(trained(model), x, model.dictionary().detach())
    assert rows.shape == (6, 1 + sparsity.NUM_PARTS, *SHAPE)
    assert torch.equal(rows[0::2, 0], x)
    x_hat = model.decode(model.encode(x)).detach()
    assert torch.allclose(rows[1::2, 0], x_hat, atol=1e-6)
    assert torch.allclose(rows[1::2, -1], x_hat, atol=1e-5)
    assert torch.allclose(rows[0::2, -1], torch.full((3, *SHAPE), 0.5), atol=1e-6)  # 0 after k = 5


class Codes:
    """The code is the first D pixels minus a half, and a unit is active if its value is not 0."""

    def __init__(self, dictionary):
        self.images = dictionary

    def encode(self, x):
        return x.flatten(1)[:, : len(self.images)] - 0.5

    def decode(self, z):
        return torch.einsum("bd,dchw->bchw", z, self.images)

    def dictionary(self):
        assert not torch.is_grad_enabled()
        return self.images

    def active(self, z):
        return z != 0


def as_trained(module):
    return SimpleNamespace(module=module, encode=module.encode, decode=module.decode)


def test_metrics_of_codes_that_are_known():
    z = torch.tensor([[0.5, 0, 0, 0], [0.25, -0.5, 0, 0], [0.5, 0, 0.25, 0], [0.5, -0.5, 0, 0]])
    z = torch.cat([z, torch.zeros(1, 4)])
    module = Codes(torch.rand(4, *SHAPE))
    module.encode = lambda x: z[: len(x)]
    test = Split(torch.zeros(5, *SHAPE, dtype=torch.uint8))
    result = sparsity.diagnose(as_trained(module), SimpleNamespace(test=test))
    assert result.metrics == pytest.approx(
        {
            "active_units_per_image": 7 / 5,
            "inactive_fraction": 13 / 20,
            "mean_activation": 1 / 20,
            "dead_units": 1,
            "most_used_unit_fraction": 4 / 5,
        }
    )
    assert "of 4 units are active" in result.summary
    assert result.warnings == []
    module.encode = lambda x: torch.zeros(len(x), 4)
    result = sparsity.diagnose(as_trained(module), SimpleNamespace(test=test))
    assert result.warnings == ["no unit is active"]


def test_units_are_sorted_by_usage_and_scaled_to_their_peak():
    """150 units, of which 12 × 12 are shown; unit 3 is 0 everywhere."""
    dictionary = torch.rand(150, *SHAPE) * 4 - 3
    dictionary[3] = 0
    usage = torch.arange(150.0)
    usage[:3] = 500  # equally often: in their order
    found = sparsity.most_used(dictionary, usage)
    order = [0, 1, 2, *range(149, 8, -1)]
    for image, unit in zip(found, order, strict=True):
        expected = 0.5 + dictionary[unit] / dictionary[unit].abs().max() / 2
        torch.testing.assert_close(image, expected)
    assert torch.equal(sparsity.most_used(dictionary[3:4], usage[:1]), torch.full((1, *SHAPE), 0.5))


def test_parts_and_their_sums_equal_those_of_a_loop():
    """14 units, of which the 12 largest parts are shown. The last image has a code of zeros."""
    module = Codes(torch.rand(14, *SHAPE) - 0.5)
    x = torch.rand(3, *SHAPE)
    x[-1] = 0.5
    rows = sparsity.decompose(as_trained(module), x, module.images)
    assert rows.shape == (6, 13, *SHAPE)
    for i, z in enumerate(module.encode(x)):
        every = z[:, None, None, None] * module.images
        parts = sorted(every, key=lambda part: -float(part.norm()))[:12]
        peak = max(float(part.abs().max()) for part in parts) or 1.0
        upper, lower = rows[2 * i : 2 * i + 2]
        assert torch.equal(upper[0], x[i])
        torch.testing.assert_close(lower[0], every.sum(0))
        for place, part in enumerate(parts):
            torch.testing.assert_close(upper[1 + place], 0.5 + 0.5 * part / peak)
            total = sum(parts[: place + 1])
            torch.testing.assert_close(lower[1 + place], total, atol=1e-6, rtol=1e-5)


def test_figures_show_the_most_used_units_and_the_first_images():
    module = Codes(torch.rand(5, *SHAPE) - 0.5)
    images = torch.randint(0, 256, (30, *SHAPE), dtype=torch.uint8)
    result = sparsity.diagnose(as_trained(module), SimpleNamespace(test=Split(images)))
    (units,) = figure_inputs(result, "dictionary")
    peaks = module.images.flatten(1).abs().amax(1)[:, None, None, None]
    torch.testing.assert_close(units, 0.5 + 0.5 * module.images / peaks)  # all are always active
    assert result.figures[0].caption == "Dictionary images of the 5 most used units"
    (parts,) = figure_inputs(result, "parts")
    assert torch.equal(parts[::2, 0], images[:4].float() / 255)
