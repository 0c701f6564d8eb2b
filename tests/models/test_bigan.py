"""BiGAN: each step against the gradient of its losses, pairs of image and code."""

import pytest
import torch

from latentlab.models.bigan import UNSUPPORTED, BiGAN
from latentlab.optim.adversarial import AdversarialOptim
from latentlab.samplers import StandardNormal
from models.options import RATES, every_option
from models.steps import assert_steps, large_weights, prob

SHAPE = (1, 8, 8)
TWO_LEVELS = (1, 16, 16)  # so large that D has batch normalization


def bigan(**settings):
    torch.manual_seed(0)
    return BiGAN(SHAPE, prior=StandardNormal(), latent_dim=5, width=4, **settings)


def donahue(cycle):
    """Donahue et al. 2017, eq. 3, and `cycle` times the squared error of E(G(z))."""

    def algorithm(step):
        G, E, D = step.nets.generator, step.nets.encoder, step.nets.discriminator
        z = step.codes()
        z_hat, x_fake = E(step.x), G(z).tanh()

        def pair(x, z):
            maps = D["trunk"](x).permute(0, 2, 3, 1).reshape(len(x), -1)
            return D["joint"](torch.cat([D["image"](maps), D["code"](z)], 1))[:, 0]

        real, fake = step.view(step.x), step.view(x_fake)
        p_real, p_fake = prob(pair(real, z_hat.detach())), prob(pair(fake.detach(), z))
        r1_penalty = step.r1(lambda x: pair(x, z_hat.detach()), real)
        yield D, step.cross_entropy(p_real, p_fake) + r1_penalty
        p_real, p_fake = prob(pair(real, z_hat)), prob(pair(fake, z))
        loss = -(1 - p_real).log().mean() - p_fake.log().mean()
        yield (G, E), loss + cycle * ((E(x_fake) - z) ** 2).sum() / z.numel()

    return algorithm


def of_16_pixels(cycle, **settings):
    torch.manual_seed(0)
    sizes = {"latent_dim": 5, "width": 4, "joint_hidden": 6, "latent_cycle_weight": cycle}
    return BiGAN(TWO_LEVELS, prior=StandardNormal(), **sizes, **settings)


@every_option(UNSUPPORTED)
def test_each_step_follows_the_gradient_of_its_own_objective(settings):
    assert_steps(of_16_pixels(3.0, **settings), TWO_LEVELS, donahue(3.0))


def test_without_a_cycle_the_steps_are_those_of_the_paper():
    model = of_16_pixels(0.0, optim=AdversarialOptim(**RATES))
    assert_steps(model, TWO_LEVELS, donahue(0.0))


def test_a_negative_weight_is_refused():
    with pytest.raises(ValueError, match="latent_cycle_weight is -1: it must be ≥ 0"):
        bigan(latent_cycle_weight=-1)


def test_the_logit_of_a_pair_is_that_of_its_layers():
    """Maps and code → LeakyReLU(0.2) of a linear layer each → both together → one logit."""
    model = large_weights(bigan(joint_hidden=6)).eval()
    layers = model.discriminator
    x, z = torch.rand(4, *SHAPE).double(), torch.randn(4, 5).double()

    def leaky(linear, h):
        h = h @ linear.weight.T + linear.bias
        return torch.maximum(h, 0.2 * h)

    maps = layers["trunk"](x).permute(0, 2, 3, 1).reshape(4, -1)
    pair = torch.cat([leaky(layers["image"][0], maps), leaky(layers["code"][0], z)], 1)
    last = layers["joint"][2]
    expected = leaky(layers["joint"][0], pair) @ last.weight[0] + last.bias
    torch.testing.assert_close(model.pair_logits(x, z), expected)


def test_real_pairs_are_images_with_their_codes_and_generated_pairs_are_codes_with_their_images():
    model = large_weights(bigan()).eval()
    x, z = torch.rand(4, *SHAPE).double(), torch.randn(4, 5).double()
    real, fake = (
        model.pair_logits(2 * x - 1, model.encode(x)),
        model.pair_logits(2 * model.decode(z) - 1, z),
    )
    torch.testing.assert_close(model.real_logits(x, None), real)
    torch.testing.assert_close(model.fake_logits(z), fake)


def test_the_discriminator_uses_image_and_code():
    model = bigan().eval()
    x, z = torch.rand(4, *SHAPE), torch.randn(4, 5)
    assert not torch.equal(model.pair_logits(x, z), model.pair_logits(x, -z))
    assert not torch.equal(model.pair_logits(x, z), model.pair_logits(1 - x, z))


def test_the_loss_of_generator_and_encoder_has_exchanged_labels_and_the_cycle():
    model = large_weights(bigan(latent_cycle_weight=3.0)).eval()
    x, z = torch.rand(4, *SHAPE).double(), torch.randn(4, 5).double()
    d_loss, g_loss = model.adversarial_losses(x, None, z)
    p_real, p_fake = prob(model.real_logits(x, None)), prob(model.fake_logits(z))
    torch.testing.assert_close(d_loss, -p_real.log().mean() - (1 - p_fake).log().mean())
    cycle = (model.encode(model.decode(z)) - z).square().mean()
    expected = -(1 - p_real).log().mean() - p_fake.log().mean() + 3 * cycle
    torch.testing.assert_close(g_loss, expected)


def test_validation_measures_reconstructions_in_0_1_and_codes():
    model, x = large_weights(bigan()).eval(), torch.rand(4, *SHAPE).double()
    sse = (model.decode(model.encode(x)) - x).square().sum((1, 2, 3)).mean()
    torch.manual_seed(1)
    terms = model.validation_step((x, None), 0)
    torch.manual_seed(1)
    z = model.sample_prior(x)
    latent_sse = (model.encode(model.decode(z)) - z).square().sum() / 4
    assert terms["sse"].item() == pytest.approx(sse.item(), rel=1e-5)
    assert terms["latent_sse"].item() == pytest.approx(latent_sse.item(), rel=1e-4)
