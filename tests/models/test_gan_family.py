"""Contract of all GANs: regularization, optimizer settings, and the members of `Adversarial`."""

import importlib
import inspect
import pkgutil
from copy import deepcopy
from dataclasses import fields

import pytest
import torch
from lightning import LightningDataModule, Trainer
from torch import nn
from torch.nn.functional import adaptive_max_pool2d
from torch.nn.utils.parametrizations import _SpectralNorm
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
from latentlab.networks.mlp import GaussianNoise
from latentlab.networks.regularization import DiscriminatorRegularization
from latentlab.optim.adversarial import AdversarialOptim, AdversarialSteps
from latentlab.samplers import ClassConditional, InfoGANPrior, StandardNormal
from models.lightning_stub import with_trainer

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


def small(cls, shape=SHAPE, **settings):
    torch.manual_seed(0)
    return cls(shape, **{"prior": StandardNormal(), **GANS[cls], **settings})


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
def test_each_player_has_the_learning_rate_and_the_betas_of_the_optim_block(cls):
    optim = AdversarialOptim(generator_lr=1e-3, discriminator_lr=2e-3, betas=(0.1, 0.9))
    opt_g, opt_d = with_trainer(small(cls, optim=optim)).optimizers()
    rates_g = [1e-3, 1e-4] if cls is StyleGAN else [1e-3]  # the mapping network has a tenth
    assert [group["lr"] for group in opt_g.param_groups] == pytest.approx(rates_g)
    assert [group["lr"] for group in opt_d.param_groups] == [2e-3]
    betas = {group["betas"] for group in opt_g.param_groups + opt_d.param_groups}
    assert betas == {(0.1, 0.9)}


@every_gan
@pytest.mark.parametrize("option", ["r1_gamma", "spectral_norm"])
def test_with_r1_or_spectral_norm_a_logit_depends_on_its_own_image_only(cls, option):
    """At 16 pixels, where discriminators have batch normalization without these options."""
    if option in unsupported(cls) or cls is StyleGAN:  # which has the minibatch stddev
        return
    on = DiscriminatorRegularization(**{option: getattr(ON, option)})
    model = small(cls, (1, 16, 16), regularization=on).train()
    for module in model.modules():
        if isinstance(module, GaussianNoise | _SpectralNorm):
            module.eval()  # no noise, no power iteration between the two passes
    if cls is BiGAN:
        model.encoder.eval()  # it has batch normalization
    x, y = torch.rand(5, 1, 16, 16), torch.arange(5) % 3
    torch.testing.assert_close(model.real_logits(x, y)[:2], model.real_logits(x[:2], y[:2]))


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
def test_a_trained_discriminator_judges_as_it_played(cls):
    """By the statistics of the batch, all real or all generated; nothing is updated by it."""
    model = small(cls, (1, 16, 16))
    norms = [m for m in model.discriminator.modules() if isinstance(m, nn.BatchNorm2d)]
    assert bool(norms) == (cls in {DCGAN, ConditionalGAN, InfoGAN, BiGAN, BEGAN})
    x, y = torch.rand(6, 1, 16, 16).square(), torch.arange(6) % 3
    z = model.prior.sample((6, model.latent_dim))
    model.eval()
    before = deepcopy(model.state_dict())
    judged = (model.real_logits(x, y), model.fake_logits(z), *model.adversarial_losses(x, y, z))
    model.validation_step((x, y), 0)
    assert all(value.equal(before[name]) for name, value in model.state_dict().items())
    assert model.real_logits(x[:1], y[:1]).isfinite().all(), "one image has no variance"
    for layer in norms:
        layer.train()
    played = (model.real_logits(x, y), model.fake_logits(z), *model.adversarial_losses(x, y, z))
    torch.testing.assert_close(judged, played)


@every_gan
def test_adversarial_losses_and_probabilities_are_those_of_a_training_step(cls):
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
                terms["real"] = self.real_logits(*batch).sigmoid().mean()
                terms["fake"] = self.fake_logits(z).sigmoid().mean()
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
    if "d_prob_real" in terms:
        assert terms["d_prob_real"].item() == pytest.approx(terms["real"].item(), rel=1e-4)
    if "d_prob_fake" in terms and cls is not StyleGAN:
        assert terms["d_prob_fake"].item() == pytest.approx(terms["fake"].item(), rel=1e-4)
    if cls is WGAN:
        assert terms["wasserstein_estimate"].item() == pytest.approx(-d_loss.item(), rel=1e-4)
    elif cls is BEGAN:
        assert terms["real_recon_l1"].item() == pytest.approx(d_loss.item(), rel=1e-4)
        assert terms["g_loss"].item() == pytest.approx(g_loss.item(), rel=1e-4)
    elif cls is not StyleGAN:  # a step of StyleGAN mixes styles and has new noise
        assert terms["d_loss"].item() == pytest.approx(d_loss.item(), rel=1e-4)
        assert terms["g_loss"].item() == pytest.approx(g_loss.item(), rel=1e-3)


@every_gan
def test_validation_compares_real_and_generated_images_at_their_places(cls):
    model = small(cls).eval()
    x, y = torch.rand(6, *SHAPE), torch.arange(6) % 3
    torch.manual_seed(1)
    terms = {name: value.item() for name, value in model.validation_step((x, y), 0).items()}
    torch.manual_seed(1)
    z = model.sample_codes(x, y) if cls is ConditionalGAN else model.sample_prior(x)
    real, fake = model.real_logits(x, y), model.fake_logits(z)
    if cls is WGAN:
        expected = {"wasserstein_estimate": (real.mean() - fake.mean()).item()}
    elif cls is BEGAN:
        error, of_fake = -real.mean().item(), -fake.mean().item()
        measure = error + abs(model.gamma * error - of_fake)
        expected = {"real_recon_l1": error, "fake_recon_l1": of_fake}
        expected["began_convergence"] = measure
    else:
        means = [logits.sigmoid().mean().item() for logits in (real, fake)]
        expected = dict(zip(("d_prob_real", "d_prob_fake"), means, strict=True))
    assert {name: terms[name] for name in expected} == pytest.approx(expected, rel=1e-4)


@every_gan
def test_the_discriminator_gets_images_in_the_range_of_its_training(cls):
    """Black is −1 and white 1. BEGAN and the semi-supervised GAN have images in [0, 1]."""
    model, seen = small(cls).eval(), []
    layers = (m for m in model.discriminator.modules() if isinstance(m, nn.Conv2d | nn.Linear))
    next(layers).register_forward_pre_hook(lambda _, args: seen.append(args[0].flatten(1)))
    x = torch.stack([torch.zeros(SHAPE), torch.ones(SHAPE), torch.rand(SHAPE)])
    y, z = torch.arange(3), model.prior.sample((3, model.latent_dim))
    with torch.no_grad():
        images = (x, model.decode(z))
        model.real_logits(x, y)
        model.fake_logits(z)
    scaled = cls not in (BEGAN, SemiSupervisedGAN)
    expected = [(2 * each - 1 if scaled else each).flatten(1) for each in images]
    torch.testing.assert_close(seen, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    "cls", [DCGAN, WGAN, ConditionalGAN, InfoGAN, BiGAN, BEGAN], ids=lambda c: c.__name__
)
def test_convolutions_start_as_those_of_dcgan(cls):
    """Radford et al. 2016, section 4: normal weights with standard deviation 0.02."""
    model = small(cls, (1, 16, 16))
    layers = [m for m in model.modules() if isinstance(m, nn.Conv2d | nn.ConvTranspose2d)]
    assert len(layers) >= 4
    for layer in layers:
        assert float(layer.weight.detach().std()) == pytest.approx(0.02, rel=0.4)
        assert layer.bias is None or not layer.bias.any()


def pooled(trunk):
    return lambda x: adaptive_max_pool2d(trunk(2 * x - 1), 4).flatten(1)


FEATURES = {  # of images in [0, 1]; most networks have images in [-1, 1] as input
    GAN: lambda model: lambda x: model.discriminator.trunk(2 * x - 1),
    DCGAN: lambda model: pooled(model.discriminator.trunk),
    WGAN: lambda model: pooled(model.discriminator.trunk),
    ConditionalGAN: lambda model: pooled(model.discriminator.trunk),
    InfoGAN: lambda model: pooled(model.discriminator["body"].trunk),
    BiGAN: lambda model: lambda x: model.encoder(2 * x - 1),
    BEGAN: lambda model: model.discriminator[0],
    SemiSupervisedGAN: lambda model: lambda x: model.discriminator["trunk"](x.flatten(1)),
    StyleGAN: lambda model: pooled(model.discriminator.trunk),
}


@every_gan
def test_features_are_those_of_images_in_the_range_of_training(cls):
    model, x = small(cls).eval(), torch.rand(5, *SHAPE)
    with torch.no_grad():
        torch.testing.assert_close(model.features(x), FEATURES[cls](model)(x))


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
