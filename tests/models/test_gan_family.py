"""Contract of all GANs: regularization, optimizer settings, and the members of `Adversarial`."""

import importlib
import inspect
import pkgutil
from dataclasses import fields

import pytest
import torch
from lightning import LightningDataModule, Trainer
from torch.utils.data import DataLoader, TensorDataset

from latentlab import models
from latentlab.config.parser import assemble
from latentlab.contracts import Split
from latentlab.diagnostics import gan_training
from latentlab.models.began import BEGAN
from latentlab.models.bigan import BiGAN
from latentlab.models.conditional_gan import ConditionalGAN
from latentlab.models.dcgan import DCGAN
from latentlab.models.gan import GAN
from latentlab.models.infogan import InfoGAN, InfoGANCodes, InfoGANNetworks
from latentlab.models.semi_supervised_gan import (
    SemiSupervisedGAN,
    SemiSupervisedNetworks,
    Supervision,
)
from latentlab.models.style_gan import StyleGAN
from latentlab.models.wgan import WGAN
from latentlab.networks import regularization
from latentlab.networks.regularization import DiscriminatorRegularization
from latentlab.optim.adversarial import AdversarialOptim, AdversarialSteps
from latentlab.samplers import ClassConditional, InfoGANPrior, StandardNormal

SHAPE = (1, 8, 8)
SMALL = {"latent_dim": 5, "width": 4}
GANS = {
    GAN: {"latent_dim": 5, "hidden": [12]},
    DCGAN: SMALL,
    WGAN: {**SMALL, "optim": AdversarialOptim(discriminator_steps=2)},
    ConditionalGAN: {"prior": ClassConditional(), "num_classes": 3, "noise_dim": 5, "width": 4},
    InfoGAN: {
        "prior": InfoGANPrior(),
        "codes": InfoGANCodes(num_categories=3, noise_dim=5),
        "networks": InfoGANNetworks(width=4, shared_hidden=8),
    },
    BiGAN: {**SMALL, "joint_hidden": 8},
    BEGAN: SMALL,
    SemiSupervisedGAN: {
        "num_classes": 3,
        "latent_dim": 5,
        "networks": SemiSupervisedNetworks(hidden=[12, 6], generator_hidden=[8]),
        "supervision": Supervision(labels_per_class=2, labelled_batch_size=4),
    },
    StyleGAN: SMALL,
}
ON = DiscriminatorRegularization(
    real_label=0.9,
    fake_label=0.1,
    instance_noise_std=0.1,
    minibatch_stddev=True,
    packing=2,
    spectral_norm=True,
    r1_gamma=1.0,
    r1_interval=2,
    diff_augment=("brightness", "contrast", "translation", "cutout"),
)
every_gan = pytest.mark.parametrize("cls", GANS, ids=lambda cls: cls.__name__)
pytestmark = pytest.mark.filterwarnings(
    "ignore::lightning.fabric.utilities.warnings.PossibleUserWarning"
)


def small(cls, **settings):
    torch.manual_seed(0)
    return cls(SHAPE, **{"prior": StandardNormal(), **GANS[cls], **settings})


def unsupported(cls):
    return getattr(importlib.import_module(cls.__module__), "UNSUPPORTED", {})


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


def train(model, epochs=2, **fit_arguments):
    silent = ("logger", "enable_checkpointing", "enable_progress_bar", "enable_model_summary")
    trainer = Trainer(accelerator="cpu", max_epochs=epochs, **dict.fromkeys(silent, False))
    trainer.fit(model, datamodule=Data(), **fit_arguments)
    return trainer


def record_r1_batches(model, monkeypatch, first=0):
    """Return a list that training fills with the batches, counted from `first`, that have R1."""
    found, batches = [], []
    training_step, r1_penalty = model.training_step, regularization.r1_penalty

    def counted_step(batch, batch_idx):
        batches.append(batch_idx)
        return training_step(batch, batch_idx)

    def recorded_penalty(real_logits, x):
        found.append(first + len(batches) - 1)
        return r1_penalty(real_logits, x)

    model.training_step = counted_step
    monkeypatch.setattr(regularization, "r1_penalty", recorded_penalty)
    return found


def test_every_gan_is_tested_here():
    found = {
        cls
        for module in pkgutil.iter_modules(models.__path__)
        for cls in vars(importlib.import_module(f"latentlab.models.{module.name}")).values()
        if getattr(cls, "family", "") == "GAN"
    }
    assert found == set(GANS)


@every_gan
def test_no_method_of_the_mixins_is_overridden(cls):
    mixins = [base for base in cls.__mro__ if base.__module__ == AdversarialSteps.__module__]
    methods = {name for base in mixins for name, _ in inspect.getmembers(base, inspect.isfunction)}
    assert AdversarialSteps in mixins
    assert not methods & set(vars(cls))


@every_gan
def test_training_with_all_supported_regularization_updates_both_networks(cls):
    off = {name: getattr(DiscriminatorRegularization(), name) for name in unsupported(cls)}
    on = {field.name: getattr(ON, field.name) for field in fields(ON)}
    model = small(cls, regularization=DiscriminatorRegularization(**{**on, **off}))
    before = {name: value.clone() for name, value in model.state_dict().items()}
    train(model)
    after = model.state_dict()
    assert all(value.isfinite().all() for value in after.values())
    for network in ("generator.", "discriminator."):
        changed = [
            not torch.equal(before[name], after[name])
            for name, _ in model.named_parameters()
            if name.startswith(network)
        ]
        assert any(changed), network


@every_gan
def test_discriminator_steps_delay_the_generator(cls):
    """With more discriminator steps than batches, only the discriminator changes."""
    model = small(cls, optim=AdversarialOptim(discriminator_steps=100))
    before = {name: value.clone() for name, value in model.named_parameters()}
    train(model)
    changed = {name for name, value in model.named_parameters() if not value.equal(before[name])}
    assert changed
    assert all(name.startswith("discriminator.") for name in changed)


@pytest.mark.parametrize("cls", [c for c in GANS if c is not BEGAN], ids=lambda c: c.__name__)
def test_lazy_r1_counts_batches_over_epochs(cls, monkeypatch):
    """At every third of eight batches, so that three times the weight is γ on average."""
    lazy = DiscriminatorRegularization(r1_gamma=1.0, r1_interval=3)
    model = small(cls, regularization=lazy)
    found = record_r1_batches(model, monkeypatch)
    train(model, epochs=4)
    assert found == [0, 3, 6]


def test_lazy_r1_counts_batches_over_a_resumed_training(monkeypatch, tmp_path):
    lazy = DiscriminatorRegularization(r1_gamma=1.0, r1_interval=3)
    train(small(DCGAN, regularization=lazy), epochs=1).save_checkpoint(tmp_path / "two")
    model = small(DCGAN, regularization=lazy)
    found = record_r1_batches(model, monkeypatch, first=2)
    train(model, epochs=4, ckpt_path=tmp_path / "two", weights_only=True)
    assert found == [3, 6]


@pytest.mark.parametrize(
    ("cls", "option"), [(cls, option) for cls in GANS for option in unsupported(cls)]
)
def test_unsupported_options_are_refused_with_the_reason(cls, option):
    settings = {"fake_label": {"fake_label": 0.1}}.get(option, {option: getattr(ON, option)})
    with pytest.raises(ValueError, match=f"{option} is .*{unsupported(cls)[option]}"):
        small(cls, regularization=DiscriminatorRegularization(**settings))


@every_gan
def test_fake_logits_are_those_of_decoded_codes(cls):
    model = small(cls).eval()
    assert gan_training.applies(model)
    z = model.prior.sample((6, model.latent_dim))
    y = z[:, -3:].argmax(1)
    with torch.no_grad():
        x, logits = model.decode(z), model.fake_logits(z)
        # the discriminator of BiGAN also gets the code
        paired = cls is BiGAN
        expected = model.pair_logits(2 * x - 1, z) if paired else model.real_logits(x, y)
    assert logits.shape == (6,)
    torch.testing.assert_close(logits, expected, rtol=1e-4, atol=1e-5)


@every_gan
def test_adversarial_losses_are_those_of_a_training_step(cls):
    """With learning rate 0, on the batch and the codes of the step."""
    model = small(cls, **({"lambda_k": 1e-9} if cls is BEGAN else {}))
    terms = {}

    class Recording(cls):
        def training_step(self, batch, batch_idx):
            for optimizer in self.optimizers():
                for group in optimizer.param_groups:
                    group["lr"] = 0.0
            state = torch.get_rng_state()
            step_terms = super().training_step(batch, batch_idx)
            if not terms:
                after = torch.get_rng_state()
                torch.set_rng_state(state)
                conditional = cls is ConditionalGAN
                z = self.sample_codes(*batch) if conditional else self.sample_prior(batch[0])
                terms.update(step_terms, expected=self.adversarial_losses(*batch, z))
                torch.set_rng_state(after)
            return step_terms

    model.__class__ = Recording
    for noise in (m for m in model.modules() if hasattr(m, "scale")):
        noise.scale = 0.0  # the discriminator of the semi-supervised GAN has noise
    train(model)
    d_loss, g_loss = terms["expected"]
    if cls is InfoGAN:
        information = model.weighted_information(
            terms["mi_categorical_nats"], terms["mi_continuous_nats"]
        )
        d_loss, g_loss = d_loss + information, g_loss + information
    if cls is WGAN:
        assert terms["wasserstein_estimate"].item() == pytest.approx(-d_loss.item(), rel=1e-4)
    elif cls is BEGAN:
        assert terms["real_recon_l1"].item() == pytest.approx(d_loss.item(), rel=1e-4)
        assert terms["g_loss"].item() == pytest.approx(g_loss.item(), rel=1e-4)
    elif cls is not StyleGAN:  # a step of StyleGAN mixes styles and has new noise
        assert terms["d_loss"].item() == pytest.approx(d_loss.item(), rel=1e-4)
        assert terms["g_loss"].item() == pytest.approx(g_loss.item(), rel=1e-3)


def test_a_partial_block_of_a_config_keeps_the_other_defaults_of_the_model():
    content = {
        "model": {
            "class_path": "latentlab.models.style_gan.StyleGAN",
            "init_args": {
                "width": 4,
                "optim": {"generator_lr": 1e-3},
                "regularization": {"instance_noise_std": 0.1},
            },
        },
        "sampler": {"class_path": "latentlab.samplers.StandardNormal"},
    }
    model, _, _ = assemble("a", content, {"image_shape": SHAPE, "num_classes": 0}, files="a.yaml")
    assert model.optim == AdversarialOptim(1e-3, 2e-3, betas=(0.0, 0.99))
    assert model.regularization == DiscriminatorRegularization(
        instance_noise_std=0.1, r1_gamma=1.0, r1_interval=16
    )
