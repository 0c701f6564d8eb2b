"""Denoising autoencoder: corrupted input, clean target, one matrix."""

import pytest
import torch

from latentlab.models.denoising_ae import DenoisingAE
from latentlab.transforms.corruption import corruption_at


def test_the_default_on_mnist_is_784_1000_784_with_one_matrix():
    model = DenoisingAE((1, 28, 28))
    assert model.latent_dim == 1000
    assert sum(p.numel() for p in model.parameters()) == 784 * 1000 + 1000 + 784
    assert DenoisingAE((1, 8, 8), latent_dim=7).encode(torch.rand(2, 1, 8, 8)).shape == (2, 7)


@pytest.mark.parametrize("reconstruction", ["bce", "mse"])
def test_the_input_is_corrupted_and_the_target_is_not(reconstruction):
    torch.manual_seed(0)
    model = DenoisingAE(
        (1, 4, 4), corruption="masking", corruption_level=0.5, reconstruction=reconstruction
    )
    x = torch.rand(6, 1, 4, 4)
    torch.manual_seed(1)
    got = model.loss(x)
    torch.manual_seed(1)
    x_tilde = corruption_at("masking", 0.5)(x).flatten(1)
    assert (x_tilde == 0).any()
    w, b, c = model.encoder.weight, model.encoder.bias, model.decoder_bias
    x_hat = ((x_tilde @ w.T + b).sigmoid() @ w + c).sigmoid()
    flat = x.flatten(1)
    sse = (x_hat - flat).square().sum() / 6
    cross_entropy = -(flat * x_hat.log() + (1 - flat) * (1 - x_hat).log()).sum() / 6
    expected = cross_entropy if reconstruction == "bce" else sse
    assert got["loss"].item() == pytest.approx(expected.item(), rel=1e-5)
    assert got["sse"].item() == pytest.approx(sse.item(), rel=1e-5)
    torch.testing.assert_close(model.denoise(x_tilde.view_as(x)).flatten(1), x_hat)


def test_settings_outside_of_their_range_raise_an_error():
    with pytest.raises(ValueError, match=r"latent_dim is 0: it must be ≥ 1"):
        DenoisingAE((1, 8, 8), latent_dim=0)
    assert DenoisingAE((1, 8, 8), latent_dim=1).latent_dim == 1
    with pytest.raises(ValueError, match=r"sigma .* got -0.5"):
        DenoisingAE((1, 8, 8), corruption="gaussian", corruption_level=-0.5)
