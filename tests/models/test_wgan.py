"""WGAN: each step against the gradient of its losses, and the penalty against a closed form."""

import pytest
import torch
from lightning import Trainer
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from latentlab.models.wgan import UNSUPPORTED, WGAN
from latentlab.networks.regularization import DiscriminatorRegularization
from latentlab.optim.adversarial import AdversarialOptim
from latentlab.samplers import StandardNormal
from models.fixed_randomness import between
from models.lightning_stub import with_trainer
from models.options import every_option
from models.steps import assert_steps

SHAPE = (1, 8, 8)
TWO_LEVELS = (1, 16, 16)  # so large that a clipped critic has batch normalization
OFFSET = "discriminator.head*bias"  # a constant added to all scores has no effect
pytestmark = pytest.mark.filterwarnings(
    "ignore::lightning.fabric.utilities.warnings.PossibleUserWarning"
)


def wgan(lr=1e-4, discriminator_steps=5, **settings):
    torch.manual_seed(0)
    optim = AdversarialOptim(
        generator_lr=lr,
        discriminator_lr=lr,
        betas=(0.0, 0.9),
        linear_decay=True,
        discriminator_steps=discriminator_steps,
    )
    return WGAN(SHAPE, prior=StandardNormal(), latent_dim=5, width=4, optim=optim, **settings)


def train(model, x):
    silent = ("logger", "enable_checkpointing", "enable_progress_bar", "enable_model_summary")
    trainer = Trainer(accelerator="cpu", max_epochs=1, **dict.fromkeys(silent, False))
    trainer.fit(model, DataLoader(TensorDataset(x, torch.zeros(len(x))), batch_size=None))


def test_clipped_weights_stay_in_their_range():
    model = wgan(clip=0.003, lr=0.1)
    before = max(float(p.detach().abs().max()) for p in model.discriminator.parameters())
    train(model, torch.rand(2, 6, *SHAPE))
    after = max(float(p.detach().abs().max()) for p in model.discriminator.parameters())
    assert before > 0.003
    assert after == pytest.approx(0.003)


def clipped(step):
    """Arjovsky et al. 2017, algorithm 1: each player has new codes."""
    G, D = step.nets.generator, step.nets.discriminator
    x, x_fake = step.view(step.x), step.view(G(step.codes()).tanh().detach())
    yield D, D(x_fake).mean() - D(x).mean() + step.r1(D, x)
    for weight in D.parameters():
        weight.data = weight.data.clip(-0.2, 0.2)
    if step.updates_generator:
        yield G, -D(step.view(G(step.codes()).tanh())).mean()


def penalized(step):
    """Gulrajani et al. 2017, algorithm 1, with the weight 3."""
    G, D = step.nets.generator, step.nets.discriminator
    x, x_fake = step.view(step.x), step.view(G(step.codes()).tanh().detach())
    t = between(len(x))[:, None, None, None]
    x_hat = ((1 - t) * x + t * x_fake).requires_grad_()
    slopes = torch.autograd.grad(D(x_hat).sum(), x_hat, create_graph=True)[0]
    penalty = sum((slope.square().sum().sqrt() - 1) ** 2 for slope in slopes) / len(slopes)
    yield D, D(x_fake).mean() - D(x).mean() + 3 * penalty + step.r1(D, x)
    if step.updates_generator:
        yield G, -D(step.view(G(step.codes()).tanh())).mean()


def at_16_pixels(**settings):
    torch.manual_seed(0)
    return WGAN(TWO_LEVELS, prior=StandardNormal(), latent_dim=5, width=4, **settings)


@every_option([*UNSUPPORTED, "spectral_norm"])
def test_a_clipped_critic_and_its_generator_follow_their_gradients(settings):
    assert_steps(at_16_pixels(clip=0.2, **settings), TWO_LEVELS, clipped, fixed=OFFSET)


@every_option(UNSUPPORTED)
def test_a_penalized_critic_and_its_generator_follow_their_gradients(settings):
    assert_steps(at_16_pixels(gp_weight=3.0, **settings), TWO_LEVELS, penalized, fixed=OFFSET)


class ConstantGenerator(nn.Module):
    """Returns one image for every code."""

    def __init__(self, logits):
        super().__init__()
        self.logits = nn.Parameter(logits)

    def forward(self, z):
        return self.logits.expand(len(z), *SHAPE)


def test_the_gradient_of_a_linear_critic_of_two_points_has_the_norm_of_the_closed_form():
    """Data at a, fakes at b, d = ‖a − b‖: −c d + λ(c − 1)² is least at c = 1 + d / (2λ)."""
    model = wgan(discriminator_steps=10**6, gp_weight=10.0, lr=0.02)
    a, b = torch.rand(2, *SHAPE) * 0.2 + 0.4
    model.generator = ConstantGenerator((2 * b - 1).atanh())
    model.discriminator = nn.Sequential(nn.Flatten(), nn.Linear(64, 1), nn.Flatten(0))
    train(model, a.expand(400, 4, *SHAPE))
    d = float((2 * a - 2 * b).norm())
    gradient = model.discriminator[1].weight.detach().norm()
    assert float(gradient) == pytest.approx(1 + d / 20, rel=1e-3)
    with torch.no_grad():
        terms = model.validation_step((a.expand(4, *SHAPE), None), 0)
    assert float(terms["wasserstein_estimate"]) == pytest.approx(d * (1 + d / 20), rel=1e-3)


@pytest.mark.parametrize("clip", [None, 0.1])
def test_the_score_of_a_penalized_critic_depends_on_one_image_only(clip):
    critic = at_16_pixels(clip=clip).discriminator.train()
    x = torch.randn(4, *TWO_LEVELS)
    assert torch.allclose(critic(x)[:1], critic(x[:1])) == (clip is None)


@pytest.mark.parametrize(
    ("clip", "r1_gamma", "expected"),
    [(None, 0.0, True), (None, 1.0, True), (0.1, 0.0, False), (0.1, 0.5, True)],
)
def test_a_penalty_on_the_gradient_needs_second_derivatives(clip, r1_gamma, expected):
    regularization = DiscriminatorRegularization(r1_gamma=r1_gamma)
    assert wgan(clip=clip, regularization=regularization).needs_double_backward is expected


def test_with_a_weight_of_0_the_critic_maximizes_the_estimate():
    model = with_trainer(wgan(gp_weight=0.0))
    terms = model.critic_losses(2 * torch.rand(4, *SHAPE) - 1)
    assert terms["loss"].item() == pytest.approx(-terms["wasserstein_estimate"].item())
    assert terms["gradient_penalty"].item() > 0


def test_a_critic_has_no_decision_threshold():
    assert wgan().decision_threshold is None


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"discriminator_steps": 0}, "discriminator_steps is 0: it must be ≥ 1"),
        ({"clip": 0.0}, "clip is 0.0: it must be > 0, or null"),
        ({"clip": -0.1}, "clip is -0.1: it must be > 0, or null"),
        (
            {"clip": 0.1, "regularization": DiscriminatorRegularization(spectral_norm=True)},
            "clip is 0.1 and spectral_norm is true.*: set clip to null, or remove spectral_norm",
        ),
        ({"gp_weight": -1.0}, "gp_weight is -1.0"),
        ({"regularization": DiscriminatorRegularization(fake_label=0.1)}, "no labels"),
    ],
)
def test_invalid_settings_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        wgan(**settings)
