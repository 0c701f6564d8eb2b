"""The two-player models: who moves when, what is clipped, what a critic's score comes to."""

import copy
import math

import pytest
import torch
from lightning import Trainer
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from latentlab.cures import Cures
from latentlab.models.dcgan import DCGAN
from latentlab.models.gan import GAN
from latentlab.models.wgan import WGAN
from latentlab.priors import StandardNormal, Uniform

SHAPE = (1, 8, 8)
pytestmark = pytest.mark.filterwarnings(
    "ignore::lightning.fabric.utilities.warnings.PossibleUserWarning"
)


def play(model, x, epochs=1):
    """Train on batches x (N, B, C, H, W) by Lightning; [(player, weights before, after)]."""
    moves = []
    configure = model.configure_optimizers

    def weights():
        nets = {"G": model.generator, "D": model.discriminator}
        return {k: [p.detach().clone() for p in net.parameters()] for k, net in nets.items()}

    def watched():
        made = configure()
        for player, optimizer in zip("GD", made[0], strict=True):
            before = []
            optimizer.register_step_pre_hook(lambda *_, b=before: b.append(weights()))
            optimizer.register_step_post_hook(
                lambda *_, b=before, p=player: moves.append((p, b.pop(), weights()))
            )
        return made

    model.configure_optimizers = watched
    trainer = Trainer(
        accelerator="cpu",
        max_epochs=epochs,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(model, DataLoader(TensorDataset(x, torch.zeros(len(x))), batch_size=None))
    return moves


def same(a, b):
    return all(torch.equal(x, y) for x, y in zip(a, b, strict=True))


def small(kind, **settings):
    torch.manual_seed(0)
    sizes = {"hidden": [12]} if kind is GAN else {"width": 4}
    return kind(SHAPE, prior=StandardNormal(), latent_dim=5, **sizes, **settings)


@pytest.mark.parametrize(
    ("kind", "settings"), [(GAN, {"d_steps": 3}), (WGAN, {"n_critic": 3, "clip": 0.01})]
)
def test_the_discriminator_moves_at_every_batch_the_generator_at_every_third(kind, settings):
    model = small(kind, **settings)
    moves = play(model, torch.rand(5, 6, *SHAPE), epochs=2)  # 10 batches: the count goes on
    assert [player for player, *_ in moves] == list("DDDGDDDGDDDGD")
    for player, before, after in moves:
        other = {"D": "G", "G": "D"}[player]
        assert same(before[other], after[other])
        assert not same(before[player], after[player])
    assert all(p.requires_grad for p in model.parameters())


def test_gan_is_goodfellows_algorithm_1_in_plain_pytorch():
    """One step each, written in probabilities; fresh codes for each player."""
    model = small(GAN)
    codes = iter(torch.randn(2, 6, 5))
    model.prior.sample = lambda shape, generator=None: next(codes).clone()
    saved = [*codes]
    codes = iter(saved)
    generator, discriminator = copy.deepcopy((model.generator, model.discriminator))
    adam = {"lr": 2e-4, "betas": (0.5, 0.999)}
    opt_g = torch.optim.Adam(generator.parameters(), **adam)
    opt_d = torch.optim.Adam(discriminator.parameters(), **adam)
    x = torch.rand(1, 6, *SHAPE)
    play(model, x)
    d_real = torch.sigmoid(discriminator(2 * x[0] - 1))
    d_fake = torch.sigmoid(discriminator(torch.tanh(generator(saved[0])).detach()))
    (-(d_real.log().mean() + (1 - d_fake).log().mean())).backward()
    opt_d.step()
    opt_g.zero_grad()
    (-torch.sigmoid(discriminator(torch.tanh(generator(saved[1])))).log().mean()).backward()
    opt_g.step()
    for expected, got in ((generator, model.generator), (discriminator, model.discriminator)):
        for a, b in zip(expected.parameters(), got.parameters(), strict=True):
            torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-6)


def test_clipped_weights_stay_in_their_box():
    model = small(WGAN, clip=0.003, lr=0.1)
    before = max(float(p.detach().abs().max()) for p in model.discriminator.parameters())
    play(model, torch.rand(2, 6, *SHAPE))
    after = max(float(p.detach().abs().max()) for p in model.discriminator.parameters())
    assert before > 0.003
    assert after == pytest.approx(0.003)


class Point(nn.Module):
    """A generator that draws one image, whatever the code."""

    def __init__(self, logits):
        super().__init__()
        self.logits = nn.Parameter(logits)

    def forward(self, z):
        return self.logits.expand(len(z), *SHAPE)


def test_a_linear_critic_of_two_points_comes_to_the_slope_of_the_closed_form():
    """Data at a, fakes at b, d = ‖a − b‖: −c d + λ(c − 1)² is least at c = 1 + d / (2λ)."""
    model = small(WGAN, n_critic=10**6, gp_weight=10.0, lr=0.02)
    a, b = torch.rand(2, *SHAPE) * 0.2 + 0.4
    model.generator = Point((2 * b - 1).atanh())
    model.discriminator = nn.Sequential(nn.Flatten(), nn.Linear(64, 1), nn.Flatten(0))
    play(model, a.expand(400, 4, *SHAPE))
    d = float((2 * a - 2 * b).norm())
    slope = model.discriminator[1].weight.detach().norm()
    assert float(slope) == pytest.approx(1 + d / 20, rel=1e-3)
    with torch.no_grad():
        terms = model.validation_step((a.expand(4, *SHAPE), None), 0)
    assert float(terms["wasserstein"]) == pytest.approx(d * (1 + d / 20), rel=1e-3)


def test_the_penalised_critic_judges_each_image_alone():
    critic = small(WGAN).discriminator.train()
    x = torch.randn(4, *SHAPE)
    torch.testing.assert_close(critic(x)[:1], critic(x[:1]))
    kinds = {type(m) for m in DCGAN((1, 16, 16), prior=StandardNormal(), width=4).modules()}
    assert nn.BatchNorm2d in kinds


def test_packed_discriminators_see_packs_and_describe_single_images():
    model = DCGAN(SHAPE, prior=StandardNormal(), latent_dim=5, width=4, cures=Cures(packing=3))
    x = torch.rand(7, *SHAPE)
    assert model.score_real(x, torch.zeros(7)).shape == (3,)
    assert len(model.features(x)) == 7
    play(model, torch.rand(2, 6, *SHAPE))


@pytest.mark.parametrize("kind", [GAN, DCGAN, WGAN])
def test_instance_noise_falls_with_the_batches(kind):
    cures = Cures(instance_noise=0.1)
    model, seen = small(kind, cures=cures), []
    view = type(cures).view
    spy = copy.copy(cures)
    object.__setattr__(spy, "view", lambda x, p: seen.append(p) or view(cures, x, p))
    model.cures = spy
    play(model, torch.rand(4, 6, *SHAPE))
    assert sorted(set(seen)) == [0, 0.25, 0.5, 0.75]


@pytest.mark.parametrize(
    ("kind", "settings", "complaint"),
    [
        (GAN, {"d_steps": 0}, "d_steps is 0"),
        (GAN, {"loss": "wasserstone"}, "unknown loss 'wasserstone': choose one of minimax"),
        (DCGAN, {"loss": "hing"}, "unknown loss 'hing'"),
        (DCGAN, {"loss": "hinge", "cures": Cures(real_label=0.9)}, "no labels"),
        (WGAN, {"n_critic": 0}, "n_critic is 0: the critic needs at least 1"),
        (WGAN, {"clip": 0.0}, "clip is 0.0: it must be > 0, or null"),
        (WGAN, {"gp_weight": -1.0}, "gp_weight is -1.0"),
        (WGAN, {"cures": Cures(fake_label=0.1)}, "no labels"),
    ],
)
def test_impossible_settings_are_refused(kind, settings, complaint):
    with pytest.raises(ValueError, match=complaint):
        small(kind, **settings)


@pytest.mark.parametrize("prior", [Uniform(), StandardNormal()], ids=["uniform", "normal"])
def test_dcgan_at_the_papers_full_size(prior):
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
