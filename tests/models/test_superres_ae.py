"""Super-resolution autoencoder: outputs downsample to the input, and the correction helps."""

import math

import pytest
import torch
import torch.nn.functional as F

from latentlab.models.superres_ae import SuperResolutionAE, repeat


def build(scale=2, shape=(3, 8, 8)):
    torch.manual_seed(0)
    return SuperResolutionAE(shape, scale=scale, channels=[4]).double().eval()


@pytest.mark.parametrize("scale", [2, 4])
def test_an_upsampled_image_downsamples_to_the_input(scale):
    model, small = build(scale), torch.rand(5, 3, 8 // scale, 8 // scale, dtype=torch.float64)
    torch.testing.assert_close(F.avg_pool2d(model.upsample_unclipped(small), scale), small)


def test_the_correction_is_an_orthogonal_projection():
    """Pythagoras: |d − x|² = |x̂ − x|² + |d − x̂|², so x̂ is never farther from x than d."""
    model, x = build(), torch.rand(5, 3, 8, 8, dtype=torch.float64)
    small = model.downsample(x)
    x_hat, d = model.upsample_unclipped(small), F.pixel_shuffle(model.unet(small), 2)
    d, x_hat, x = (image.flatten(1) for image in (d, x_hat, x))
    assert (d - x_hat).norm(dim=1).min() > 0.1
    torch.testing.assert_close(
        (d - x).square().sum(1), (x_hat - x).square().sum(1) + (d - x_hat).square().sum(1)
    )


def test_the_code_is_the_downsampled_image():
    model, x = build(4), torch.rand(2, 3, 8, 8, dtype=torch.float64)
    z = model.encode(x)
    assert z.shape == (2, model.latent_dim) == (2, 12)
    assert z[1, 0].item() == pytest.approx(x[1, 0, :4, :4].mean().item())
    assert torch.equal(model.decode(z), model.upsample(model.downsample(x)))
    assert torch.equal(repeat(model.downsample(x), 4)[..., ::4, ::4], model.downsample(x))


def test_loss_is_the_mean_log_of_the_error():
    model, x = build(), torch.rand(6, 3, 8, 8, dtype=torch.float64)
    sse = (model.upsample_unclipped(model.downsample(x)) - x).square().sum((1, 2, 3))
    got = model.training_step((x, None), 0)
    torch.testing.assert_close(got["loss"], sse.log().mean())
    torch.testing.assert_close(got["psnr_db"], (-10 * (sse / 192).log10()).mean())
    torch.testing.assert_close(got["sse"], sse.mean())


@pytest.mark.parametrize(
    ("scale", "message"),
    [
        (3, "scale 3 does not divide images of 8×8"),
        (1, "scale is 1: super-resolution needs 2 or more"),
    ],
)
def test_scales_outside_of_their_range_raise_an_error(scale, message):
    with pytest.raises(ValueError, match=message):
        build(scale)


def test_an_upsampled_image_is_clipped_to_its_range():
    model, small = build(2), torch.rand(2, 3, 4, 4).double()
    with torch.no_grad():
        for parameter in model.unet.parameters():
            parameter.mul_(20)
        x = model.upsample_unclipped(small)
        assert float(x.min()) < 0
        assert float(x.max()) > 1
        assert torch.equal(model.upsample(small), x.clamp(0, 1))


def test_the_loss_of_an_exact_image_is_finite_and_below_that_of_a_small_error():
    """Without any detail of the network, images of constant boxes are exact."""
    model = build()
    for parameter in model.unet.head.parameters():
        parameter.data.zero_()
    x = repeat(torch.rand(5, 3, 4, 4, dtype=torch.float64), 2)
    exact = model.loss(x)
    assert all(term.isfinite() for term in exact.values())
    x[..., 0, 0] += 1e-3
    small = model.loss(x)
    # of each pixel of a box of four, the mean is taken away: 3 · (0.75² + 3 · 0.25²) · 1e-6
    assert small["sse"].item() == pytest.approx(2.25e-6)
    assert small["loss"].item() == pytest.approx(math.log(2.25e-6))
    assert exact["loss"] < small["loss"]
