"""DCGAN: the sizes of the paper, packing, and its settings."""

import math

import pytest
import torch
from lightning import Trainer
from torch.utils.data import DataLoader, TensorDataset

from latentlab.models.dcgan import DCGAN
from latentlab.networks.regularization import DiscriminatorRegularization
from latentlab.samplers import StandardNormal, Uniform

SHAPE = (1, 8, 8)
SMALL = {"prior": StandardNormal(), "latent_dim": 5, "width": 4}


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
