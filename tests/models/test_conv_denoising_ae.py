"""Convolutional denoising autoencoder: its loss, its skip connections, its bottleneck."""

import math

import pytest
import torch
from torchmetrics.functional.image import peak_signal_noise_ratio

from latentlab.models.conv_denoising_ae import ConvDenoisingAE
from latentlab.utils import bfloat16


def build(**options):
    torch.manual_seed(0)
    given = {"corruption": "gaussian", "corruption_level": 0.3, "channels": [4, 6], "hidden": 8}
    return ConvDenoisingAE(
        (1, 16, 16), latent_dim=5, **given | options
    ).eval()  # no batch statistics


@pytest.mark.parametrize(("clean", "weight"), [([], 0.3), ([1, 4, 6], 0.3), ([1], 0)])
def test_loss_is_the_mean_log_error_of_both_outputs(clean, weight):
    """The first term has the corrupted images only, the second one has all images."""
    model, x = build(code_weight=weight), torch.rand(7, 1, 16, 16)
    x_tilde = model.corrupt(x)
    corrupted = torch.ones(7, dtype=torch.bool)
    corrupted[clean] = False
    got = model.loss(x, x_tilde, corrupted=corrupted if clean else None)
    denoised = model.denoise_unclipped(*model.encode_with_skips(x_tilde))
    x_hat = model.decode_unclipped(model.encode(x_tilde))
    psnr = peak_signal_noise_ratio(denoised[corrupted], x[corrupted], data_range=1.0, dim=(1, 2, 3))
    denoised_sse = (denoised - x).square().sum((1, 2, 3))[corrupted]
    decoded_sse = (x_hat - x).square().sum((1, 2, 3))
    expected = denoised_sse.log().mean() + weight * decoded_sse.log().mean()
    assert got["loss"].item() == pytest.approx(expected.item(), rel=1e-4)
    assert got["denoised_psnr_db"].item() == pytest.approx(psnr.item(), rel=1e-4)
    assert got["sse"].item() == pytest.approx(decoded_sse.mean().item(), rel=1e-4)
    torch.testing.assert_close(model.denoise(x_tilde), denoised.clamp(0, 1))


def test_images_are_clipped_to_their_range():
    model, x = build(), torch.rand(3, 1, 16, 16)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(8)
        maps, z = model.encode_with_skips(x)
        for unclipped, clipped in (
            (model.denoise_unclipped(maps, z), model.denoise(x)),
            (model.decode_unclipped(z), model.decode(z)),
        ):
            assert float(unclipped.min()) < 0
            assert float(unclipped.max()) > 1
            torch.testing.assert_close(clipped, unclipped.clip(0, 1))


def test_the_code_is_added_to_the_coarsest_feature_map_at_its_place(monkeypatch):
    """With A = 2 I and B = 3 I the decoder of the U-Net gets h + 6 h."""
    model = ConvDenoisingAE(
        (1, 8, 12), corruption="gaussian", corruption_level=0.3, channels=[3, 2], latent_dim=48
    ).eval()
    assert model.unet.bottom == (2, 4, 6)
    for layer, factor in ((model.to_code, 2), (model.from_code, 3)):
        layer.weight.data = factor * torch.eye(48)
        layer.bias.data.zero_()
    x, given = torch.rand(5, 1, 8, 12), []
    monkeypatch.setattr(model.unet, "up", lambda maps: given.extend(maps) or maps[0])
    model.denoise_unclipped(*model.encode_with_skips(x))
    skip, coarsest = model.unet.down(x)
    torch.testing.assert_close(given[0], skip)
    torch.testing.assert_close(given[1], 7 * coarsest)


def test_the_loss_of_exact_images_is_finite_and_below_that_of_a_small_error(monkeypatch):
    model, x = build(), torch.rand(3, 1, 16, 16)
    losses = []
    for shift in (0, 1e-4):
        monkeypatch.setattr(model, "denoise_unclipped", lambda maps, z, by=shift: x + by)
        monkeypatch.setattr(model, "decode_unclipped", lambda z, by=shift: x + by)
        losses.append(float(model.loss(x, x)["loss"].detach()))
    assert math.isfinite(losses[0])
    assert losses[1] == pytest.approx(2 * math.log(256e-8), abs=0.01)
    assert losses[0] < losses[1] - 1


def test_skip_connections_reach_denoise_but_not_decode():
    """Images of equal codes have equal reconstructions, but different denoised images."""
    model = build().double()
    x = torch.rand(1, 1, 16, 16, dtype=torch.float64)
    maps, z = model.encode_with_skips(x)
    others = [maps[0] + 1, maps[1]]
    assert not torch.allclose(model.denoise_unclipped(maps, z), model.denoise_unclipped(others, z))
    jacobian = torch.autograd.functional.jacobian(
        lambda x: model.decode_unclipped(model.encode(x)), x
    )
    assert 0 < torch.linalg.matrix_rank(jacobian.view(256, 256), rtol=1e-9) <= model.latent_dim
    assert torch.equal(model.decode(z), model.decode_unclipped(z).clamp(0, 1))
    jacobian = torch.autograd.functional.jacobian(model.denoise, x)
    assert torch.linalg.matrix_rank(jacobian.view(256, 256), rtol=1e-9) > model.latent_dim


def test_all_training_images_are_corrupted_with_a_clean_fraction_of_0(monkeypatch):
    monkeypatch.setattr(torch, "rand", lambda *size, **_: torch.zeros(size))  # the least number
    model, x, seen = build(clean_fraction=0), torch.full((50, 1, 16, 16), 0.5), []
    monkeypatch.setattr(model, "loss", lambda *args, corrupted: seen.append((args[1], corrupted)))
    model.training_step((x, None), 0)
    ((x_tilde, corrupted),) = seen
    assert corrupted.all()
    assert (x_tilde != x).flatten(1).all(1).all()


@pytest.mark.parametrize("size", [1, 5])
def test_each_training_image_stays_clean_with_the_given_probability(monkeypatch, size):
    """Also in batches that are too small for a whole image, as on several devices."""
    model, x, seen = build(clean_fraction=0.2), torch.rand(size, 1, 16, 16), []

    def loss(x, x_tilde, *, corrupted=None):
        clean = (x_tilde == x).flatten(1).all(1)
        assert clean.logical_not().equal(corrupted if corrupted is not None else ~clean)
        seen.append(clean)
        return {}

    monkeypatch.setattr(model, "loss", loss)
    for _ in range(1500):
        model.training_step((x, None), 0)
    per_row = torch.stack(seen).double().mean(0)
    assert (per_row - 0.2).abs().max() < 5 * math.sqrt(0.16 / 1500)
    seen.clear()
    for _ in range(50):
        model.validation_step((x, None), 0)
    assert not torch.stack(seen).any(), "a validation corrupts every image"


def test_a_batch_without_a_corrupted_image_trains_the_codes_only():
    model, x = build().train(), torch.rand(2, 1, 16, 16)
    got = model.loss(x, x, corrupted=torch.zeros(2, dtype=torch.bool))
    sse = (model.decode_unclipped(model.encode(x)) - x).square().sum((1, 2, 3))
    assert got["loss"].item() == pytest.approx(sse.log().mean().item(), rel=1e-4)
    got["loss"].backward()
    assert all(p.grad is not None for p in model.parameters()), "as parallel training needs it"
    assert model.from_code.weight.grad.eq(0).all()
    assert model.to_code.weight.grad.ne(0).any()
    assert all(value.isfinite().all() for value in model.state_dict().values())


def test_bf16_is_close_to_float32(monkeypatch):
    monkeypatch.setattr(bfloat16, "computes_in_bfloat16", lambda device: True)
    exact, rounded = build(), build(bf16=True)
    x = torch.rand(4, 1, 16, 16)
    for ours, theirs in (
        (exact.denoise(x), rounded.denoise(x)),
        (exact.encode(x), rounded.encode(x)),
    ):
        assert theirs.dtype == torch.float32
        torch.testing.assert_close(theirs, ours, rtol=0.05, atol=0.02)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"corruption_level": -1.0}, "sigma .* ≥ 0, got -1"),
        ({"corruption": "masking", "corruption_level": 1.2}, r"in \[0, 1\], got 1.2"),
        ({"clean_fraction": 1.0}, r"clean_fraction is 1.0: it must be in \[0, 1\)"),
        ({"clean_fraction": 1.5}, "clean_fraction is 1.5"),
        ({"clean_fraction": -0.1}, "clean_fraction is -0.1"),
        ({"code_weight": -0.1}, "code_weight is -0.1: it must be ≥ 0"),
    ],
)
def test_settings_outside_of_their_range_raise_an_error(options, message):
    with pytest.raises(ValueError, match=message):
        build(**options)


def test_images_of_any_size_are_denoised():
    model = ConvDenoisingAE((3, 7, 9), corruption="masking", corruption_level=0.3, channels=[4, 6])
    assert model.denoise(torch.rand(2, 3, 7, 9)).shape == (2, 3, 7, 9)
