"""GAN: each step against the gradient of Goodfellow's losses, and its settings."""

import pytest
import torch

from latentlab.models.gan import GAN
from latentlab.optim.adversarial import AdversarialOptim
from latentlab.samplers import StandardNormal
from models.options import RATES, every_option
from models.steps import assert_steps, prob

SHAPE = (1, 8, 8)
GENERATOR_LOSSES = {  # Goodfellow 2014, as functions of the probability D
    "minimax": lambda d: (1 - d).log().mean(),
    "non_saturating": lambda d: -d.log().mean(),
    "maximum_likelihood": lambda d: -(d / (1 - d)).mean(),
}


def gan(**settings):
    torch.manual_seed(0)
    return GAN(SHAPE, prior=StandardNormal(), latent_dim=5, hidden=[6], **settings)


def algorithm_1(loss):
    """Goodfellow et al. 2014, algorithm 1: each player has new codes."""

    def algorithm(step):
        G, D = step.nets.generator, step.nets.discriminator
        x, x_fake = step.view(step.x), step.view(G(step.codes()).tanh()).detach()
        yield D, step.cross_entropy(prob(D(x)), prob(D(x_fake))) + step.r1(D, x)
        if step.updates_generator:
            x_fake = step.view(G(step.codes()).tanh())
            yield G, GENERATOR_LOSSES[loss](prob(D(x_fake)))

    return algorithm


@every_option()
def test_each_step_follows_the_gradient_of_its_own_objective(settings):
    assert_steps(gan(**settings), SHAPE, algorithm_1("non_saturating"))


@pytest.mark.parametrize("loss", ["minimax", "maximum_likelihood"])
def test_the_other_losses_of_the_generator(loss):
    optim = AdversarialOptim(**RATES)
    assert_steps(gan(loss=loss, optim=optim), SHAPE, algorithm_1(loss))


def test_an_unknown_loss_is_refused():
    with pytest.raises(ValueError, match="unknown loss 'wasserstone': choose one of minimax"):
        gan(loss="wasserstone")
