"""What all GANs share: cures they take or refuse with a reason, and what the diagnosis asks."""

import importlib
import pkgutil
import sys
from dataclasses import fields

import pytest
import torch
from lightning import LightningDataModule, Trainer
from torch.utils.data import DataLoader, TensorDataset

from latentlab import cures, models
from latentlab.contracts import Split
from latentlab.cures import Cures
from latentlab.models.began import BEGAN
from latentlab.models.bigan import BiGAN
from latentlab.models.conditional_gan import ConditionalGAN
from latentlab.models.dcgan import DCGAN
from latentlab.models.gan import GAN
from latentlab.models.infogan import InfoGAN
from latentlab.models.semi_supervised_gan import SemiSupervisedGAN
from latentlab.models.style_gan import StyleGAN
from latentlab.models.wgan import WGAN
from latentlab.priors import Coded, Conditional, StandardNormal
from latentlab.studies import diagnosis

SHAPE = (1, 8, 8)
SMALL = {"latent_dim": 5, "width": 4}
KINDS = {
    GAN: {"latent_dim": 5, "hidden": [12]},
    DCGAN: SMALL,
    WGAN: {**SMALL, "n_critic": 2},
    ConditionalGAN: {"prior": Conditional(), "num_classes": 3, "noise_dim": 5, "width": 4},
    InfoGAN: {"prior": Coded(), "categories": 3, "noise_dim": 5, "width": 4, "shared": 8},
    BiGAN: {**SMALL, "joint": 8},
    BEGAN: SMALL,
    SemiSupervisedGAN: {
        "num_classes": 3,
        "hidden": [12, 6],
        "generator_hidden": [8],
        "latent_dim": 5,
        "labelled_batch": 4,
        "labels_per_class": 2,
    },
    StyleGAN: SMALL,
}
ON = Cures(
    real_label=0.9,
    fake_label=0.1,
    instance_noise=0.1,
    minibatch_std=True,
    packing=2,
    spectral_norm=True,
    r1=1.0,
    r1_every=2,
    augment=("brightness", "contrast", "translation", "cutout"),
)
every_gan = pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
pytestmark = pytest.mark.filterwarnings(
    "ignore::lightning.fabric.utilities.warnings.PossibleUserWarning"
)


def small(kind, **settings):
    torch.manual_seed(0)
    return kind(SHAPE, **{"prior": StandardNormal(), **KINDS[kind], **settings})


def refused(kind):
    names = importlib.import_module(kind.__module__)
    return getattr(names, "NO_CURE", {})


class Data(LightningDataModule):
    """Twelve random images of three classes, in batches of six."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(3)
        self.images, self.labels = torch.randint(0, 256, (12, *SHAPE)), torch.arange(12) % 3

    def split(self, name):
        return Split(self.images.to(torch.uint8), self.labels)

    def train_dataloader(self):
        return DataLoader(TensorDataset(self.images / 255, self.labels), batch_size=6)


def train(model, epochs=2, **how):
    silent = ("logger", "enable_checkpointing", "enable_progress_bar", "enable_model_summary")
    trainer = Trainer(accelerator="cpu", max_epochs=epochs, **dict.fromkeys(silent, False))
    trainer.fit(model, datamodule=Data(), **how)
    return trainer


def steps_with_r1(model, monkeypatch, first=0):
    """[at which batches of the training, counted from `first`, R1 is asked for], filled by it."""
    found, done, step, r1 = [], [], model.training_step, cures.r1_penalty

    def counted(batch, batch_idx):
        done.append(batch_idx)
        return step(batch, batch_idx)

    def noted(real_logits, seen):
        found.append(first + len(done) - 1)
        return r1(real_logits, seen)

    model.training_step = counted
    monkeypatch.setattr(cures, "r1_penalty", noted)
    if isinstance(model, StyleGAN):
        monkeypatch.setattr(sys.modules[StyleGAN.__module__], "r1_penalty", noted)
        monkeypatch.setattr(sys.modules[StyleGAN.__module__], "LAZY", 3)
    return found


def test_no_gan_is_forgotten_here():
    found = {
        kind
        for module in pkgutil.iter_modules(models.__path__)
        for kind in vars(importlib.import_module(f"latentlab.models.{module.name}")).values()
        if getattr(kind, "family", "") == "GAN"
    }
    assert found == set(KINDS)


@every_gan
def test_all_cures_that_it_takes_train_at_once_and_move_both_players(kind):
    off = {name: getattr(Cures(), name) for name in refused(kind)}
    on = {field.name: getattr(ON, field.name) for field in fields(ON)}
    model = small(kind, cures=Cures(**{**on, **off}))
    before = {name: value.clone() for name, value in model.state_dict().items()}
    train(model)
    after = model.state_dict()
    assert all(value.isfinite().all() for value in after.values())
    for player in ("generator.", "discriminator."):
        moved = [
            not torch.equal(before[name], after[name])
            for name, _ in model.named_parameters()
            if name.startswith(player)
        ]
        assert any(moved), player


@pytest.mark.parametrize("kind", [k for k in KINDS if k is not BEGAN], ids=lambda k: k.__name__)
def test_lazy_r1_goes_on_counting_where_an_epoch_ends(kind, monkeypatch):
    """Every third batch of eight, so that three times the weight is γ; an epoch has two."""
    own = kind is StyleGAN
    model = small(kind, **({} if own else {"cures": Cures(r1=1.0, r1_every=3)}))
    found = steps_with_r1(model, monkeypatch)
    train(model, epochs=4)
    assert found == [0, 3, 6]


def test_lazy_r1_goes_on_counting_where_a_training_is_resumed(monkeypatch, tmp_path):
    lazy = Cures(r1=1.0, r1_every=3)
    train(small(DCGAN, cures=lazy), epochs=1).save_checkpoint(tmp_path / "two")
    model = small(DCGAN, cures=lazy)
    found = steps_with_r1(model, monkeypatch, first=2)
    train(model, epochs=4, ckpt_path=tmp_path / "two", weights_only=True)
    assert found == [3, 6]


@pytest.mark.parametrize(
    ("kind", "cure"), [(kind, cure) for kind in KINDS for cure in refused(kind)]
)
def test_what_it_cannot_take_is_refused_with_the_reason(kind, cure):
    settings = {"spectral_norm": {"spectral_norm": True}, "fake_label": {"fake_label": 0.1}}
    given = settings.get(cure, {cure: getattr(ON, cure)})
    with pytest.raises(ValueError, match=f"{cure} is .*{refused(kind)[cure]}"):
        small(kind, cures=Cures(**given))


@every_gan
def test_the_diagnosis_asks_for_the_scores_of_what_is_decoded(kind):
    model = small(kind).eval()
    assert diagnosis.applies(model)
    z = model.prior.sample((6, model.latent_dim))
    y = z[:, -3:].argmax(1)
    with torch.no_grad():
        x, scores = model.decode(z), model.score_fake(z)
        # BiGAN's D sees the code too, which an image alone does not tell
        paired = kind is BiGAN
        expected = model.discriminate(2 * x - 1, z) if paired else model.score_real(x, y)
    assert scores.shape == (6,)
    torch.testing.assert_close(scores, expected, rtol=1e-4, atol=1e-5)


@every_gan
def test_its_losses_are_those_that_a_step_reports(kind):
    """With rates of 0, on the batch and the codes that the step itself draws."""
    model = small(kind, **({"balance_rate": 1e-9} if kind is BEGAN else {}))
    told = {}

    class Watched(kind):
        def training_step(self, batch, batch_idx):
            for optimizer in self.optimizers():
                for group in optimizer.param_groups:
                    group["lr"] = 0.0
            state = torch.get_rng_state()
            terms = super().training_step(batch, batch_idx)
            if not told:
                after = torch.get_rng_state()
                torch.set_rng_state(state)
                takes_labels = kind is ConditionalGAN
                z = self.sample_prior(*batch) if takes_labels else self.sample_prior(batch[0])
                told.update(terms, expected=self.losses(*batch, z))
                torch.set_rng_state(after)
            return terms

    model.__class__ = Watched
    for noise in (m for m in model.modules() if hasattr(m, "scale")):
        noise.scale = 0.0  # the semi-supervised GAN's D is noisy
    train(model)
    d_loss, g_loss = told["expected"]
    if kind is InfoGAN:
        known = model.weigh(told["category_nats"], told["continuous_nats"])
        d_loss, g_loss = d_loss + known, g_loss + known
    if kind is WGAN:
        assert told["wasserstein"].item() == pytest.approx(-d_loss.item(), rel=1e-4)
    elif kind is BEGAN:
        assert told["real_error"].item() == pytest.approx(d_loss.item(), rel=1e-4)
        assert told["g_loss"].item() == pytest.approx(g_loss.item(), rel=1e-4)
    elif kind is not StyleGAN:  # whose step mixes styles and draws its noise anew
        assert told["d_loss"].item() == pytest.approx(d_loss.item(), rel=1e-4)
        name = "ge_loss" if kind is BiGAN else "g_loss"
        assert told[name].item() == pytest.approx(g_loss.item(), rel=1e-3)
