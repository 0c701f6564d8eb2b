"""Adversarial autoencoder: each step against the gradient of its losses."""

from types import SimpleNamespace

import pytest
import torch
from torch.distributions import Normal

from latentlab.models.adversarial_ae import AdversarialAE
from latentlab.optim.adversarial import AdversarialOptim
from latentlab.samplers import StandardNormal
from models.options import OF_OPTIM, RATES, every_option
from models.steps import assert_steps, prob

SHAPE = (1, 2, 2)
WEIGHT = 7.0


def makhzani(nll):
    """Makhzani et al. 2016, section 2: the codes of images shall have the prior's distribution.

    `nll`: −log p(x|z) (B,) of images (B, P), from the decoder's outputs (B, P).
    """

    def algorithm(step):
        f, g, D = step.nets.encoder, step.nets.decoder, step.nets.discriminator
        x = (step.x.flatten(1) + 1) / 2
        p_prior, p_codes = prob(D(step.codes())), prob(D(f(x).detach()))
        yield D, -p_prior.log().mean() - (1 - p_codes).log().mean()
        z = f(x)
        adversarial = -prob(D(z)).log().mean()
        likelihood = step.nets.likelihood
        yield (f, g, likelihood), nll(g(z), x, likelihood).mean() + WEIGHT * adversarial

    return algorithm


def bernoulli(outputs, x, likelihood):
    p = prob(outputs)
    return -(x * p.log() + (1 - x) * (1 - p).log()).sum(1)


def gaussian(outputs, x, likelihood):
    return -Normal(prob(outputs), likelihood.log_scale.exp()).log_prob(x).sum(1)


def model_of(likelihood, **settings):
    torch.manual_seed(0)
    sizes = {"latent_dim": 2, "hidden": [5], "discriminator_hidden": [4]}
    return AdversarialAE(
        SHAPE,
        prior=StandardNormal(),
        likelihood=likelihood,
        adversarial_weight=WEIGHT,
        **sizes,
        **settings,
    )


@every_option(only=OF_OPTIM)
def test_each_step_follows_the_gradient_of_its_own_objective(settings):
    assert_steps(model_of("bernoulli", **settings), SHAPE, makhzani(bernoulli))


def test_a_gaussian_likelihood_learns_its_scale():
    model = model_of("gaussian", optim=AdversarialOptim(**RATES))
    assert_steps(model, SHAPE, makhzani(gaussian))


def test_only_the_discriminator_has_the_betas_of_the_optim_block():
    optim = AdversarialOptim(generator_lr=2e-3, discriminator_lr=5e-4, betas=(0.3, 0.99))
    model = AdversarialAE((1, 2, 2), prior=StandardNormal(), optim=optim)
    model._trainer = SimpleNamespace(estimated_stepping_batches=10)
    (opt_ae, opt_d), schedulers = model.configure_optimizers()
    settings = [(group["lr"], group["betas"]) for o in (opt_ae, opt_d) for group in o.param_groups]
    assert settings == [(2e-3, (0.9, 0.999)), (5e-4, (0.3, 0.99))]
    assert schedulers == []


def test_codes_of_the_prior_are_the_real_ones():
    model, x = model_of("bernoulli").eval(), torch.rand(6, *SHAPE)
    codes = torch.ones(6, 2)
    model.prior.sample = lambda shape, generator=None: codes
    terms = model.validation_step((x, None), 0)
    p_prior, p_codes = prob(model.discriminator(codes)), prob(model.discriminator(model.encode(x)))
    assert terms["d_prob_real"].item() == pytest.approx(p_prior.mean().item(), rel=1e-5)
    assert terms["d_prob_fake"].item() == pytest.approx(p_codes.mean().item(), rel=1e-5)


@pytest.mark.parametrize("weight", [0, -0.5])
def test_a_weight_that_is_not_positive_is_refused(weight):
    with pytest.raises(ValueError, match=f"adversarial_weight is {weight}: it must be > 0"):
        AdversarialAE((1, 8, 8), prior=StandardNormal(), adversarial_weight=weight)


def test_a_weight_below_1_is_allowed():
    assert AdversarialAE(SHAPE, prior=StandardNormal(), adversarial_weight=0.5)
