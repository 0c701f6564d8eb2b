"""Alternating steps, learning rates and frozen networks, in Lightning and in plain PyTorch."""

import copy
from types import SimpleNamespace

import pytest
import torch
from lightning import Trainer
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from latentlab.models.dcgan import DCGAN
from latentlab.models.gan import GAN
from latentlab.models.wgan import WGAN
from latentlab.networks.mlp import FlatDiscriminator, FlatGenerator
from latentlab.networks.regularization import DiscriminatorRegularization
from latentlab.optim.adversarial import (
    AdversarialOptim,
    AdversarialSteps,
    discriminator_probabilities,
    frozen,
    train_gan,
)
from latentlab.samplers import StandardNormal

SHAPE = (1, 8, 8)
pytestmark = pytest.mark.filterwarnings(
    "ignore::lightning.fabric.utilities.warnings.PossibleUserWarning"
)


def small(cls, **settings):
    torch.manual_seed(0)
    sizes = {"hidden": [12]} if cls is GAN else {"width": 4}
    return cls(SHAPE, prior=StandardNormal(), latent_dim=5, **sizes, **settings)


def train(model, x, epochs=1):
    """Train on batches x (N, B, C, H, W). Return (network, weights before, after) of each step."""
    steps = []
    configure = model.configure_optimizers

    def weights():
        nets = {"G": model.generator, "D": model.discriminator}
        return {k: [p.detach().clone() for p in net.parameters()] for k, net in nets.items()}

    def configure_with_hooks():
        optimizers, schedulers = configure()
        for name, optimizer in zip("GD", optimizers, strict=True):
            before = []
            optimizer.register_step_pre_hook(lambda *_, b=before: b.append(weights()))
            optimizer.register_step_post_hook(
                lambda *_, b=before, n=name: steps.append((n, b.pop(), weights()))
            )
        return optimizers, schedulers

    model.configure_optimizers = configure_with_hooks
    silent = ("logger", "enable_checkpointing", "enable_progress_bar", "enable_model_summary")
    trainer = Trainer(accelerator="cpu", max_epochs=epochs, **dict.fromkeys(silent, False))
    trainer.fit(model, DataLoader(TensorDataset(x, torch.zeros(len(x))), batch_size=None))
    return steps


def same(a, b):
    return all(torch.equal(x, y) for x, y in zip(a, b, strict=True))


@pytest.mark.parametrize("cls", [GAN, DCGAN, WGAN])
def test_d_is_updated_at_every_batch_and_g_at_every_third(cls):
    model = small(cls, optim=AdversarialOptim(linear_decay=True, discriminator_steps=3))
    steps = train(model, torch.rand(5, 6, *SHAPE), epochs=2)  # 10 batches; counted over epochs
    assert [name for name, *_ in steps] == list("DDDGDDDGDDDGD")
    for name, before, after in steps:
        other = {"D": "G", "G": "D"}[name]
        assert same(before[other], after[other])
        assert not same(before[name], after[name])
    assert all(p.requires_grad for p in model.parameters())


def test_learning_rates_fall_linearly_over_the_steps_of_each_network():
    optim = AdversarialOptim(
        generator_lr=1.0, discriminator_lr=2.0, linear_decay=True, discriminator_steps=3
    )
    model = small(DCGAN, optim=optim)
    model._trainer = SimpleNamespace(estimated_stepping_batches=12)
    optimizers, schedulers = model.configure_optimizers()
    rates = []
    for optimizer, scheduler, steps in zip(optimizers, schedulers, (4, 12), strict=True):
        rates.append([])
        for _ in range(steps):
            rates[-1].append(optimizer.param_groups[0]["lr"])
            optimizer.step()
            scheduler.step()
    assert rates[0] == pytest.approx([1 - step / 4 for step in range(4)])
    assert rates[1] == pytest.approx([2 * (1 - step / 12) for step in range(12)])


def test_without_decay_the_learning_rates_and_betas_are_those_of_the_block():
    optim = AdversarialOptim(generator_lr=1e-3, discriminator_lr=2e-3, betas=(0.1, 0.9))
    model = small(DCGAN, optim=optim)
    model._trainer = SimpleNamespace(estimated_stepping_batches=12)
    optimizers, schedulers = model.configure_optimizers()
    groups = [optimizer.param_groups[0] for optimizer in optimizers]
    assert [group["lr"] for group in groups] == [1e-3, 2e-3]
    assert [group["betas"] for group in groups] == [(0.1, 0.9)] * 2
    assert schedulers == []
    assert optimizers[0].param_groups[0]["params"] == list(model.generator.parameters())
    assert optimizers[1].param_groups[0]["params"] == list(model.discriminator.parameters())


def test_less_than_one_discriminator_step_is_refused():
    for name in ("generator_lr", "discriminator_lr"):
        for rate in (0.0, -1e-3, float("inf"), float("nan")):
            with pytest.raises(ValueError, match=f"{name} is {rate}: a learning rate must be > 0"):
                AdversarialOptim(**{name: rate})
    with pytest.raises(ValueError, match="discriminator_steps is 0: it must be ≥ 1"):
        AdversarialOptim(discriminator_steps=0)


@pytest.mark.parametrize("cls", [GAN, DCGAN, WGAN])
def test_instance_noise_gets_the_progress_of_the_training(cls):
    regularization = DiscriminatorRegularization(instance_noise_std=0.1)
    model, progress = small(cls, regularization=regularization), []
    augment = DiscriminatorRegularization.augment
    spy = copy.copy(regularization)
    object.__setattr__(
        spy, "augment", lambda x, p: progress.append(p) or augment(regularization, x, p)
    )
    model.regularization = spy
    train(model, torch.rand(2, 6, *SHAPE), epochs=2)
    assert sorted(set(progress)) == [0, 0.25, 0.5, 0.75], "of the training, not of an epoch"


def test_gradients_pass_through_a_frozen_network_and_leave_its_weights_alone():
    network, x = nn.Linear(3, 1), torch.rand(2, 3, requires_grad=True)
    with frozen(network):
        network(x).sum().backward()
    assert network.weight.grad is None
    torch.testing.assert_close(x.grad, network.weight.expand(2, 3))
    with pytest.raises(RuntimeError, match="stop"), frozen(network):
        raise RuntimeError("stop")
    assert all(p.requires_grad for p in network.parameters())


def test_discriminator_probabilities_are_means_of_sigmoids():
    real, fake = torch.tensor([0.0, 2.0]), torch.tensor([-1.0, 1.0])
    got = discriminator_probabilities(real, fake)
    assert float(got["d_prob_real"]) == pytest.approx((0.5 + 1 / (1 + 2.718281828**-2)) / 2)
    assert float(got["d_prob_fake"]) == pytest.approx(0.5)


@pytest.mark.parametrize(
    ("loss", "regularization", "expected"),
    [
        ("least_squares", {}, (0.9, 0.1)),
        ("hinge", {}, (0.95, 0.55)),
        ("non_saturating", {"real_label": 0.9}, (0.7899, 0.5834)),  # σ(0.9) / 0.9, σ(0.1) / 0.9
    ],
)
def test_curves_of_a_model_follow_its_loss(loss, regularization, expected):
    steps = AdversarialSteps()
    steps.setup_training(
        None,
        latent_dim=2,
        loss=loss,
        optim=AdversarialOptim(),
        regularization=DiscriminatorRegularization(**regularization),
    )
    got = steps.probabilities(torch.tensor([0.9]), torch.tensor([0.1]))
    assert list(map(float, got.values())) == pytest.approx(expected, abs=1e-4)


def smoothed_with_lazy_r1(d, x, fake, step):
    """−0.8 log D(x) − 0.2 log(1 − D(x)) − log(1 − D(fake)), and at even steps 2 · 0.3/2 ‖∇D‖²."""
    x = x.clone().requires_grad_()
    p_real, p_fake = d(x).sigmoid(), d(fake).sigmoid()
    loss = -(0.8 * p_real.log() + 0.2 * (1 - p_real).log()).mean() - (1 - p_fake).log().mean()
    slope = torch.autograd.grad(d(x).sum(), x, create_graph=True)[0]
    penalty = 0.3 * slope.square().sum() / len(x)
    return loss + penalty if step % 2 == 0 else loss


def plain(d, x, fake, step):
    return -d(x).sigmoid().log().mean() - (1 - d(fake).sigmoid()).log().mean()


@pytest.mark.parametrize(
    ("regularization", "loss"),
    [({}, plain), ({"real_label": 0.8, "r1_gamma": 0.3, "r1_interval": 2}, smoothed_with_lazy_r1)],
    ids=["plain", "regularized"],
)
def test_train_gan_equals_a_loop_in_plain_pytorch(regularization, loss):
    torch.manual_seed(0)
    generator = FlatGenerator(SHAPE, latent_dim=3, hidden=[6])
    discriminator = FlatDiscriminator(SHAPE, hidden=[6])
    g, d = copy.deepcopy((generator, discriminator))
    batches, codes = torch.rand(4, 5, *SHAPE), torch.randn(4, 5, 3)
    next_batch, next_codes = iter(batches), iter(codes)
    train_gan(
        generator,
        discriminator,
        real=lambda: next(next_batch).clone(),
        codes=lambda: next(next_codes),
        loss="non_saturating",
        regularization=DiscriminatorRegularization(**regularization),
        steps=4,
        lr=0.01,
    )
    opt_g, opt_d = (torch.optim.Adam(n.parameters(), lr=0.01, betas=(0.5, 0.999)) for n in (g, d))
    for step, (x, z) in enumerate(zip(batches, codes, strict=True)):
        for optimizer in (opt_g, opt_d):
            optimizer.param_groups[0]["lr"] = 0.01 * (1 - step / 4)
        fake = g(z)
        opt_d.zero_grad()
        loss(d, x, fake.detach(), step).backward()
        opt_d.step()
        opt_g.zero_grad()
        (-d(fake).sigmoid().log().mean()).backward()
        opt_g.step()
    for expected, got in ((g, generator), (d, discriminator)):
        for a, b in zip(expected.parameters(), got.parameters(), strict=True):
            torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("decay", [True, False])
@pytest.mark.parametrize("kind", [GAN, WGAN])
def test_the_rates_of_both_players_fall_to_0_in_a_training(kind, decay):
    rates = {"generator_lr": 0.01, "discriminator_lr": 0.02}
    optim = AdversarialOptim(**rates, linear_decay=decay, discriminator_steps=2)
    model = small(kind, optim=optim)
    train(model, torch.rand(4, 6, *SHAPE))
    found = [optimizer.param_groups[0]["lr"] for optimizer in model.trainer.optimizers]
    assert found == pytest.approx([0, 0] if decay else [0.01, 0.02])
