"""DCGAN: each step against the gradient of its losses, the sizes of the paper, and settings."""

import math

import pytest
import torch
from lightning import Trainer
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from latentlab.models.dcgan import DCGAN
from latentlab.networks.regularization import DiscriminatorRegularization
from latentlab.optim.adversarial import AdversarialOptim
from latentlab.samplers import StandardNormal, Uniform
from models.options import RATES, every_option
from models.steps import assert_steps, prob

SHAPE = (1, 8, 8)
TWO_LEVELS = (1, 16, 16)  # so large that D has batch normalization
SMALL = {"prior": StandardNormal(), "latent_dim": 5, "width": 4}


LOSSES = {  # of D, of G, of its outputs for real and for generated images
    "least_squares": (
        lambda real, fake: ((real - 1) ** 2).mean() / 2 + (fake**2).mean() / 2,
        lambda fake: ((fake - 1) ** 2).mean() / 2,
    ),
    "hinge": (
        lambda real, fake: (1 - real).clamp_min(0).mean() + (1 + fake).clamp_min(0).mean(),
        lambda fake: -fake.mean(),
    ),
}


def dcgan(shape, **settings):
    torch.manual_seed(0)
    return DCGAN(shape, prior=StandardNormal(), latent_dim=5, width=4, **settings)


def non_saturating(step):
    """Goodfellow et al. 2014, section 3: both players on the same generated images."""
    G, D = step.nets.generator, step.nets.discriminator
    x_fake = G(step.codes()).tanh()
    real, fake = prob(D(step.view(step.x))), prob(D(step.view(x_fake.detach())))
    yield D, step.cross_entropy(real, fake) + step.r1(D, step.view(step.x))
    yield G, -prob(D(step.view(x_fake))).log().mean()


@every_option()
def test_each_step_follows_the_gradient_of_its_own_objective(settings):
    assert_steps(dcgan(TWO_LEVELS, **settings), TWO_LEVELS, non_saturating)


@pytest.mark.parametrize("loss", list(LOSSES))
def test_the_losses_without_probabilities(loss):
    def algorithm(step):
        G, D = step.nets.generator, step.nets.discriminator
        of_d, of_g = LOSSES[loss]
        x_fake = G(step.codes()).tanh()
        yield D, of_d(D(step.x), D(x_fake.detach()))
        yield G, of_g(D(x_fake))

    model = dcgan(TWO_LEVELS, loss=loss, optim=AdversarialOptim(**RATES))
    nn.init.normal_(model.discriminator.head.weight, 0.0, 0.5)  # so that the hinge is passed
    assert_steps(model, TWO_LEVELS, algorithm)


def test_smoothed_labels_of_least_squares():
    """Mao et al. 2017, eq. 9 with other labels, which only D has."""

    def algorithm(step):
        G, D = step.nets.generator, step.nets.discriminator
        x_fake = G(step.codes()).tanh()
        real, fake = D(step.x), D(x_fake.detach())
        yield D, ((real - 0.8) ** 2).mean() / 2 + ((fake - 0.3) ** 2).mean() / 2
        yield G, ((D(x_fake) - 1) ** 2).mean() / 2

    smooth = DiscriminatorRegularization(real_label=0.8, fake_label=0.3)
    settings = {"loss": "least_squares", "optim": AdversarialOptim(**RATES)}
    assert_steps(dcgan(SHAPE, regularization=smooth, **settings), SHAPE, algorithm)


@pytest.mark.filterwarnings("ignore::lightning.fabric.utilities.warnings.PossibleUserWarning")
def test_packed_discriminators_score_packs_but_give_features_of_single_images():
    model = DCGAN(SHAPE, **SMALL, regularization=DiscriminatorRegularization(packing=3))
    x = torch.rand(7, *SHAPE)
    assert model.real_logits(x, torch.zeros(7)).shape == (3,)
    assert len(model.features(x)) == 7
    silent = ("logger", "enable_checkpointing", "enable_progress_bar", "enable_model_summary")
    trainer = Trainer(accelerator="cpu", max_epochs=1, **dict.fromkeys(silent, False))
    data = TensorDataset(torch.rand(2, 6, *SHAPE), torch.zeros(2))
    trainer.fit(model, DataLoader(data, batch_size=None))
    assert trainer.global_step == 4, "two steps of each network"


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"loss": "hing"}, "unknown loss 'hing'"),
        (
            {"loss": "hinge", "regularization": DiscriminatorRegularization(real_label=0.9)},
            "no labels",
        ),
    ],
)
def test_invalid_settings_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        DCGAN(SHAPE, **SMALL, **settings)


def test_the_decision_threshold_is_that_of_the_loss():
    losses = ("non_saturating", "least_squares", "hinge")
    thresholds = [DCGAN(SHAPE, **SMALL, loss=loss).decision_threshold for loss in losses]
    assert thresholds == [0.0, 0.5, 0.0]


@pytest.mark.parametrize("prior", [Uniform(), StandardNormal()], ids=["uniform", "normal"])
def test_dcgan_has_the_sizes_of_the_paper(prior):
    """Radford et al. 2016, figure 1: 100 → 4×4×1024 → 8×8×512 → … → 64×64×3."""
    with torch.device("meta"):
        model = DCGAN((3, 64, 64), prior=prior, latent_dim=100, width=128)
    maps = [1024, 512, 256, 128]
    kernels = [100 * 16 * 1024] + [16 * a * b for a, b in zip(maps, [*maps[1:], 3], strict=True)]
    norms = 2 * sum(maps)
    assert sum(p.numel() for p in model.generator.parameters()) == sum(kernels) + norms + 3
    assert model.generator.smallest == (4, 4, 1024)
    assert model.generate(torch.empty(2, 100, device="meta")).shape == (2, 3, 64, 64)
    assert model.discriminator(torch.empty(2, 3, 64, 64, device="meta")).shape == (2,)
    codes = prior.sample((4000, 3))
    variance = {Uniform: 1 / 3, StandardNormal: 1.0}[type(prior)]
    assert float(codes.var()) == pytest.approx(variance, rel=0.1)
    assert math.isclose(float(codes.mean()), 0, abs_tol=0.05)


def test_codes_are_sampled_from_the_given_prior():
    model = DCGAN(SHAPE, prior=Uniform(), latent_dim=50, width=4)
    z = model.sample_prior(torch.zeros(200, *SHAPE))
    assert z.shape == (200, 50)
    assert -1 <= float(z.min()) < -0.9
    assert 0.9 < float(z.max()) <= 1
