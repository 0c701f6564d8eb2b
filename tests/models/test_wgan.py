"""WGAN: clipped weights, and the gradient penalty against a closed form."""

import pytest
import torch
from lightning import Trainer
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from latentlab.models.dcgan import DCGAN
from latentlab.models.wgan import WGAN
from latentlab.networks.regularization import DiscriminatorRegularization
from latentlab.optim.adversarial import AdversarialOptim
from latentlab.samplers import StandardNormal

SHAPE = (1, 8, 8)
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


def test_the_score_of_a_penalized_critic_depends_on_one_image_only():
    critic = wgan().discriminator.train()
    x = torch.randn(4, *SHAPE)
    torch.testing.assert_close(critic(x)[:1], critic(x[:1]))
    classes = {type(m) for m in DCGAN((1, 16, 16), prior=StandardNormal(), width=4).modules()}
    assert nn.BatchNorm2d in classes


def test_a_critic_has_no_decision_threshold():
    assert wgan().decision_threshold is None


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"discriminator_steps": 0}, "discriminator_steps is 0: it must be ≥ 1"),
        ({"clip": 0.0}, "clip is 0.0: it must be > 0, or null"),
        ({"gp_weight": -1.0}, "gp_weight is -1.0"),
        ({"regularization": DiscriminatorRegularization(fake_label=0.1)}, "no labels"),
    ],
)
def test_invalid_settings_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        wgan(**settings)
