"""The convolutional autoencoder: its losses, and that two of its decoders can be one."""

import pytest
import torch

from latentlab.models.conv_ae import ConvAE
from latentlab.nets.upsampling import UPSAMPLINGS, subpixel_weight


@pytest.mark.parametrize("upsample", UPSAMPLINGS)
def test_each_decoder_gives_the_image_shape(upsample):
    model = ConvAE((3, 32, 32), latent_dim=7, width=2, upsample=upsample)
    assert model.encode(torch.rand(2, 3, 32, 32)).shape == (2, 7)
    assert model.decode(torch.randn(2, 7)).shape == (2, 3, 32, 32)


def test_losses_are_named_by_their_formula():
    x = torch.rand(6, 1, 8, 8)
    mse, bce = ConvAE((1, 8, 8), width=3), ConvAE((1, 8, 8), width=3, reconstruction="bce")
    bce.load_state_dict(mse.state_dict())
    x_hat = mse.decode(mse.encode(x))
    sse = (x_hat - x).square().sum() / 6
    cross_entropy = -(x * x_hat.log() + (1 - x) * (1 - x_hat).log()).sum() / 6
    assert mse.loss(x)["loss"].item() == pytest.approx(sse.item(), rel=1e-5)
    assert bce.loss(x)["loss"].item() == pytest.approx(cross_entropy.item(), rel=1e-5)
    assert bce.loss(x)["sse"].item() == pytest.approx(sse.item(), rel=1e-5)


def test_a_subpixel_decoder_can_be_any_transposed_one():
    stamp = ConvAE((1, 28, 28), width=4, upsample="transposed").double()
    subpixel = ConvAE((1, 28, 28), width=4, upsample="subpixel").double()
    subpixel.from_code.load_state_dict(stamp.from_code.state_dict())
    with torch.no_grad():
        for theirs, ours in zip(stamp.up[1::2], subpixel.up[1::2], strict=True):
            ours[0].weight.copy_(subpixel_weight(theirs.weight))
            ours[0].bias.copy_(theirs.bias.repeat_interleave(4))
    z = torch.randn(3, 32, dtype=torch.float64)
    torch.testing.assert_close(subpixel.decode(z), stamp.decode(z), rtol=1e-12, atol=1e-12)


def test_images_that_cannot_be_halved_are_refused():
    with pytest.raises(ValueError, match="30×30 pixels do not fit"):
        ConvAE((1, 30, 30))
