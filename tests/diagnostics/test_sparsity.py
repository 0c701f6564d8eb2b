"""Sparsity of a k-sparse autoencoder with known active units."""

from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from diagnostics.stand_ins import save_figures
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
