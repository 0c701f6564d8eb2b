"""Denoising autoencoders: their objectives, and what may pass their bottlenecks."""

import pytest
import torch
from torchmetrics.functional.image import peak_signal_noise_ratio

from latentlab.corruption import corruption
from latentlab.models.conv_denoising_ae import ConvDenoisingAE
from latentlab.models.denoising_ae import DenoisingAE


def conv(**options):
    torch.manual_seed(0)
    given = {"noise": "gaussian", "strength": 0.3, "channels": [4, 6], "hidden": 8} | options
    return ConvDenoisingAE((1, 16, 16), latent_dim=5, **given).eval()  # each image by itself


def test_the_classic_denoising_ae_is_784_1000_784_with_one_matrix():
    model = DenoisingAE((1, 28, 28))
    assert model.latent_dim == 1000
    assert sum(p.numel() for p in model.parameters()) == 784 * 1000 + 1000 + 784
    assert DenoisingAE((1, 8, 8), hidden=7).encode(torch.rand(2, 1, 8, 8)).shape == (2, 7)


@pytest.mark.parametrize("reconstruction", ["bce", "mse"])
def test_the_input_is_spoilt_and_the_target_is_not(reconstruction):
    torch.manual_seed(0)
    model = DenoisingAE((1, 4, 4), noise="masking", strength=0.5, reconstruction=reconstruction)
    x = torch.rand(6, 1, 4, 4)
    torch.manual_seed(1)
    got = model.loss(x)
    torch.manual_seed(1)
    x_tilde = corruption("masking", 0.5)(x).flatten(1)
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


@pytest.mark.parametrize("clean", [0, 3])
def test_conv_objective_is_the_mean_log_error_of_both_ways_out(clean):
    """Repairing counts for spoilt images only, the code for all."""
    model, x = conv(code_weight=0.3), torch.rand(7, 1, 16, 16)
    x_tilde = model.corrupt(x)
    got = model.loss(x, x_tilde, clean=clean)
    repaired = model.repair(*model.describe(x_tilde))
    x_hat = model.draw(model.encode(x_tilde))
    psnr = peak_signal_noise_ratio(repaired[clean:], x[clean:], data_range=1.0, dim=(1, 2, 3))
    repair_sse = (repaired - x).square().sum((1, 2, 3))[clean:]
    code_sse = (x_hat - x).square().sum((1, 2, 3))
    expected = repair_sse.log().mean() + 0.3 * code_sse.log().mean()
    assert got["loss"].item() == pytest.approx(expected.item(), rel=1e-4)
    assert got["denoised_psnr_db"].item() == pytest.approx(psnr.item(), rel=1e-4)
    assert got["sse"].item() == pytest.approx(code_sse.mean().item(), rel=1e-4)
    torch.testing.assert_close(model.denoise(x_tilde), repaired.clamp(0, 1))


def test_what_skips_the_code_reaches_the_repair_but_not_the_decoder():
    """Two images of equal code decode alike, though the repaired images differ."""
    model = conv().double()
    x = torch.rand(1, 1, 16, 16, dtype=torch.float64)
    maps, z = model.describe(x)
    others = [maps[0] + 1, maps[1]]
    assert not torch.allclose(model.repair(maps, z), model.repair(others, z))
    jacobian = torch.autograd.functional.jacobian(lambda x: model.draw(model.encode(x)), x)
    assert 0 < torch.linalg.matrix_rank(jacobian.view(256, 256), rtol=1e-9) <= model.latent_dim
    assert torch.equal(model.decode(z), model.draw(z).clamp(0, 1))
    jacobian = torch.autograd.functional.jacobian(model.denoise, x)
    assert torch.linalg.matrix_rank(jacobian.view(256, 256), rtol=1e-9) > model.latent_dim


def test_a_share_of_each_training_batch_stays_unspoilt(monkeypatch):
    model, x, seen = conv(clean_share=0.25), torch.rand(8, 1, 16, 16), []

    def loss(x, x_tilde, *, clean=0):
        seen.append((clean, (x_tilde == x).flatten(1).all(1).tolist()))
        return {}

    monkeypatch.setattr(model, "loss", loss)
    model.training_step((x, None), 0)
    model.validation_step((x, None), 0)
    assert seen == [(2, [True] * 2 + [False] * 6), (0, [False] * 8)]


def test_low_precision_is_close_to_the_full_one():
    exact, rounded = conv(), conv(low_precision=True)
    x = torch.rand(4, 1, 16, 16)
    for ours, theirs in (
        (exact.denoise(x), rounded.denoise(x)),
        (exact.encode(x), rounded.encode(x)),
    ):
        assert theirs.dtype == torch.float32
        torch.testing.assert_close(theirs, ours, rtol=0.05, atol=0.02)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"strength": -1.0}, "sigma .* ≥ 0, got -1"),
        ({"noise": "masking", "strength": 1.2}, r"in \[0, 1\], got 1.2"),
        ({"clean_share": 1.0}, r"clean_share .* in \[0, 1\), got 1.0"),
        ({"code_weight": -0.1}, "code_weight .* ≥ 0, got -0.1"),
    ],
)
def test_impossible_settings_are_refused(options, said):
    with pytest.raises(ValueError, match=said):
        conv(**options)


def test_images_of_any_size_are_repaired():
    model = ConvDenoisingAE((3, 7, 9), noise="masking", strength=0.3, channels=[4, 6])
    assert model.denoise(torch.rand(2, 3, 7, 9)).shape == (2, 3, 7, 9)


def test_empty_codes_are_refused():
    with pytest.raises(ValueError, match=r"hidden .* must be ≥ 1, got 0"):
        DenoisingAE((1, 8, 8), hidden=0)
    with pytest.raises(ValueError, match=r"sigma .* got -0.5"):
        DenoisingAE((1, 8, 8), noise="gaussian", strength=-0.5)
