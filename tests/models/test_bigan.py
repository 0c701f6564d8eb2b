"""BiGAN: exchanged labels, the latent cycle loss, pairs of image and code."""

import pytest
import torch
from torch.distributions import Bernoulli

from latentlab.models.bigan import BiGAN
from latentlab.samplers import StandardNormal
from models.lightning_stub import with_trainer

SHAPE = (1, 8, 8)


def bigan(**settings):
    torch.manual_seed(0)
    return BiGAN(SHAPE, prior=StandardNormal(), latent_dim=5, width=4, **settings)


def test_generator_and_encoder_have_exchanged_labels():
    model = with_trainer(bigan())
    for optimizer in model.optimizers():
        optimizer.param_groups[0]["lr"] = 0.0
    x = torch.rand(16, *SHAPE)
    torch.manual_seed(1)
    terms = model.training_step((x, None), 0)
    torch.manual_seed(1)
    z = model.sample_prior(x)
    real = model.pair_logits(2 * x - 1, model.encode(x))
    fake = model.pair_logits(model.generate(z), z)
    one, zero = torch.ones(16), torch.zeros(16)
    d_loss = -(Bernoulli(logits=real).log_prob(one) + Bernoulli(logits=fake).log_prob(zero)).mean()
    g_loss = -(Bernoulli(logits=real).log_prob(zero) + Bernoulli(logits=fake).log_prob(one)).mean()
    assert terms["d_loss"].item() == pytest.approx(d_loss.item(), rel=1e-4)
    assert terms["g_loss"].item() == pytest.approx(g_loss.item(), rel=1e-4)


def test_the_latent_cycle_loss_has_gradients_for_encoder_and_generator():
    model = bigan(latent_cycle_weight=3.0).eval()
    x, z = torch.rand(4, *SHAPE), torch.randn(4, 5)
    _, with_cycle = model.adversarial_losses(x, None, z)
    model.latent_cycle_weight = 0.0
    _, without = model.adversarial_losses(x, None, z)
    expected = 3 * (model.encode(model.decode(z)) - z).square().mean()
    assert (with_cycle - without).item() == pytest.approx(expected.item(), rel=1e-3)
    model.latent_cycle_weight = 1.0
    model.latent_cycle_loss(model.generate(z), z).backward()
    assert model.encoder.head.weight.grad.norm() > 0
    assert model.generator.project.weight.grad.norm() > 0


def test_a_negative_weight_is_refused():
    with pytest.raises(ValueError, match="latent_cycle_weight is -1: it must be ≥ 0"):
        bigan(latent_cycle_weight=-1)


def test_the_discriminator_uses_image_and_code():
    model = bigan().eval()
    x, z = torch.rand(4, *SHAPE), torch.randn(4, 5)
    assert not torch.equal(model.pair_logits(x, z), model.pair_logits(x, -z))
    assert not torch.equal(model.pair_logits(x, z), model.pair_logits(1 - x, z))


def test_validation_measures_reconstructions_in_0_1():
    model, x = bigan().eval(), torch.rand(4, *SHAPE)
    sse = (model.decode(model.encode(x)) - x).square().sum((1, 2, 3)).mean()
    assert model.validation_step((x, None), 0)["sse"].item() == pytest.approx(sse.item(), rel=1e-5)
