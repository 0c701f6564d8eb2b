"""Autoencoder with fully connected and convolutional networks: shapes, losses, random shifts."""

import pytest
import torch

from latentlab.models.autoencoder import Autoencoder
from latentlab.networks.conv import Conv, PlainConv
from latentlab.networks.mlp import MLP
from latentlab.networks.upsampling import subpixel_weight
from latentlab.transforms.augmentation import random_translation
from models.lightning_stub import with_trainer

SHAPE = (1, 6, 6)
NETWORKS = {
    "mlp": MLP([9]),
    "plain_conv": PlainConv(width=3),
    "conv": Conv(width=3),
}


@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize("reconstruction", ["mse", "bce"])
def test_loss_is_the_named_formula_and_sse_is_the_squared_error(network, reconstruction):
    x = torch.rand(6, 1, 8, 8)
    torch.manual_seed(0)
    model = Autoencoder(
        (1, 8, 8), network=NETWORKS[network], latent_dim=4, reconstruction=reconstruction
    ).eval()
    x_hat = model.decode(model.encode(x))
    assert x_hat.shape == x.shape
    sse = (x_hat - x).square().sum() / 6
    cross_entropy = -(x * x_hat.log() + (1 - x) * (1 - x_hat).log()).sum() / 6
    expected = {"mse": sse, "bce": cross_entropy}[reconstruction]
    assert model.loss(x)["loss"].item() == pytest.approx(expected.item(), rel=1e-5)
    assert model.loss(x)["sse"].item() == pytest.approx(sse.item(), rel=1e-5)


@pytest.mark.parametrize(("size", "latent_dim"), [(28, 150), (8, 12)])
def test_latent_dim_is_by_default_in_proportion_to_the_number_of_values(size, latent_dim):
    model = Autoencoder((1, size, size))
    assert model.latent_dim == latent_dim
    assert model.encode(torch.rand(2, 1, size, size)).shape == (2, latent_dim)


def test_a_subpixel_decoder_can_equal_any_transposed_one():
    def build(upsample):
        network = PlainConv(width=4, upsample=upsample)
        return Autoencoder((1, 28, 28), network=network, latent_dim=32).double()

    transposed, subpixel = build("transposed"), build("subpixel")
    subpixel.decoder[0].load_state_dict(transposed.decoder[0].state_dict())
    with torch.no_grad():
        for theirs, ours in zip(transposed.decoder[3::2], subpixel.decoder[3::2], strict=True):
            ours[0].weight.copy_(subpixel_weight(theirs.weight))
            ours[0].bias.copy_(theirs.bias.repeat_interleave(4))
    z = torch.randn(3, 32, dtype=torch.float64)
    torch.testing.assert_close(subpixel.decode(z), transposed.decode(z), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("max_shift", [-1, 6])
@pytest.mark.parametrize("shape", [(1, 6, 6), (3, 6, 9), (3, 9, 6)])
def test_a_shift_of_the_whole_image_raises_an_error(max_shift, shape):
    with pytest.raises(ValueError, match=rf"max_shift is {max_shift} pixels: .* 0 … 5"):
        Autoencoder(shape, max_shift=max_shift)
    assert Autoencoder(shape, max_shift=5).max_shift == 5


@pytest.mark.parametrize(("scaling", "factor"), [("none", 1), ("linear", (784 / 3072) ** 0.5)])
def test_a_network_whose_widths_follow_the_image_scales_the_learning_rate(scaling, factor):
    network = MLP((2,), scaling=scaling)
    model = with_trainer(Autoencoder((3, 32, 32), network=network, latent_dim=1, lr=0.01))
    (group,) = model.optimizers()[0].param_groups
    assert group["initial_lr"] == pytest.approx(0.01 * factor)


def test_only_training_images_are_shifted():
    model = Autoencoder(SHAPE, network=MLP([9]), latent_dim=4, max_shift=2)
    x = torch.rand(50, *SHAPE)
    val = model.validation_step((x, None), 0)["sse"]
    assert torch.equal(val, model.validation_step((x, None), 1)["sse"])
    torch.manual_seed(3)
    shifted = random_translation(x, 2)
    torch.manual_seed(3)
    assert torch.equal(model.training_step((x, None), 0)["sse"], model.loss(shifted)["sse"])
    assert not torch.equal(model.loss(shifted)["sse"], val)


def test_max_shift_0_gives_training_and_validation_one_loss():
    model = Autoencoder(SHAPE, network=MLP([9]), latent_dim=4)
    x = torch.rand(50, *SHAPE)
    assert torch.equal(
        model.training_step((x, None), 0)["loss"], model.validation_step((x, None), 0)["loss"]
    )


def test_images_that_cannot_be_halved_raise_an_error():
    with pytest.raises(ValueError, match="30×30 pixels do not fit"):
        Autoencoder((1, 30, 30), network=PlainConv())
