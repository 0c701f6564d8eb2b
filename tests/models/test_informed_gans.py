"""GANs that know more than images: classes, codes, a few labels, an autoencoder, an encoder."""

import math
from types import SimpleNamespace

import pytest
import torch
from torch.distributions import Bernoulli

from latentlab.contracts import LatentlabError, Split
from latentlab.corruption import warp
from latentlab.losses.adversarial import discriminator_loss
from latentlab.losses.semi_supervised import disagreement, real_logit
from latentlab.models import semi_supervised_gan
from latentlab.models.began import BEGAN
from latentlab.models.bigan import BiGAN
from latentlab.models.conditional_gan import ConditionalGAN
from latentlab.models.infogan import InfoGAN
from latentlab.models.semi_supervised_gan import SemiSupervisedGAN
from latentlab.nets.noisy import GaussianNoise
from latentlab.priors import Coded, Conditional, StandardNormal, Uniform

SHAPE = (1, 8, 8)


def conditional(classes=4, lr=(2e-4, 2e-4)):
    torch.manual_seed(0)
    settings = {"num_classes": classes, "noise_dim": 5, "width": 4, "lr": lr}
    return ConditionalGAN(SHAPE, prior=Conditional(), **settings)


def semi_supervised(**given):
    torch.manual_seed(0)
    sizes = {"hidden": [12, 6], "generator_hidden": [8], "latent_dim": 5, "labelled_batch": 4}
    return SemiSupervisedGAN(SHAPE, prior=Uniform(), num_classes=3, **{**sizes, **given})


def under_training(model, split=None):
    """The model with what a Trainer would lend it for a few steps."""
    model._trainer = SimpleNamespace(
        estimated_stepping_batches=10,
        lr_scheduler_configs=[],
        fit_loop=SimpleNamespace(total_batch_idx=0),
        datamodule=SimpleNamespace(split=lambda name: split),
        strategy=SimpleNamespace(
            backward=lambda loss, optimizer: loss.backward(),
            reduce=lambda value, reduce_op: value,
        ),
    )
    players, _ = model.configure_optimizers()
    model.optimizers = lambda: players
    return model.train()


# --- conditional GAN


def test_the_class_reaches_both_networks_of_a_conditional_gan():
    model = conditional().eval()
    z = model.prior.sample((6, model.latent_dim))
    asked = [model.decode(model.condition(z, torch.full((6,), k))) for k in (0, 1)]
    assert not torch.equal(*asked)
    x = torch.rand(6, *SHAPE)
    told = [model.discriminate(x, torch.full((6,), k)) for k in (0, 1)]
    assert not torch.equal(*told)


def test_fakes_are_of_the_classes_of_the_batch():
    model, y = conditional(), torch.tensor([3, 1, 1, 0])
    z = model.sample_prior(torch.zeros(4, *SHAPE), y)
    assert z.shape == (4, 9)
    assert z[:, 5:].argmax(1).tolist() == [3, 1, 1, 0]


def test_a_conditional_gan_learns_which_class_is_bright():
    model = under_training(conditional(classes=2, lr=(2e-3, 2e-3)))
    y = torch.arange(32) % 2
    x = (0.1 + 0.8 * y[:, None, None, None]).expand(32, *SHAPE)
    for step in range(100):
        model.training_step((x, y), step)
    model.eval()
    z = model.prior.sample((16, model.latent_dim))
    with torch.no_grad():
        dark, bright = (model.decode(model.condition(z, torch.full((16,), k))) for k in (0, 1))
    assert float(bright.mean() - dark.mean()) > 0.3


@pytest.mark.parametrize("classes", [0, 1])
def test_a_conditional_gan_needs_labels(classes):
    with pytest.raises(ValueError, match="needs labels of two classes or more"):
        conditional(classes)


def test_conditional_models_refuse_a_sampler_without_classes():
    with pytest.raises(ValueError, match=r"name latentlab\.priors\.Conditional"):
        ConditionalGAN(SHAPE, prior=StandardNormal(), num_classes=4)
    with pytest.raises(ValueError, match=r"name latentlab\.priors\.Coded"):
        InfoGAN(SHAPE, prior=Conditional())
    with pytest.raises(ValueError, match="at least 2 categories"):
        InfoGAN(SHAPE, prior=Coded(), categories=1)


# --- InfoGAN


def test_infogan_reads_each_code_at_its_place():
    model = InfoGAN(SHAPE, prior=Coded(), categories=3, continuous=2, noise_dim=4, width=4)
    z = model.prior.sample((40, model.latent_dim), torch.Generator().manual_seed(0))
    sigma = 0.25
    logvar = torch.full((40, 2), 2 * math.log(sigma))
    about_y, about_c = model.information(torch.cat([50 * z[:, -3:], z[:, 4:6], logvar], 1), z)
    assert float(about_y) == pytest.approx(math.log(3), rel=1e-5)
    peak = -math.log(sigma * (2 * math.pi) ** 0.5)  # of each Normal, where mu is c itself
    assert float(about_c) == pytest.approx(2 * (math.log(2) + peak), rel=1e-5)


def test_each_player_of_infogan_is_moved_by_its_own_step():
    model = under_training(InfoGAN(SHAPE, prior=Coded(), noise_dim=4, width=4))
    for group in model.optimizers()[1].param_groups:
        group["lr"] = 0.0
    before = {name: value.clone() for name, value in model.named_parameters()}
    terms = model.training_step((torch.rand(16, *SHAPE), None), 0)
    moved = {name for name, value in model.named_parameters() if not value.equal(before[name])}
    assert moved
    assert all(name.startswith("generator") for name in moved)
    assert terms["category_nats"].item() < math.log(10)
    assert all(parameter.requires_grad for parameter in model.parameters())


def test_q_reads_the_category_through_a_warp_and_the_continuous_codes_as_they_are():
    torch.manual_seed(0)
    model = InfoGAN(SHAPE, prior=Coded(), categories=3, noise_dim=4, width=4, warp=0.3).eval()
    x = 2 * torch.rand(5, *SHAPE) - 1
    logits, said = model.look(x)
    torch.manual_seed(1)
    asked_logits, asked = model.ask(x)
    torch.manual_seed(1)
    through = model.look(warp(x, 0.3))[1]
    torch.testing.assert_close(asked_logits, logits)
    torch.testing.assert_close(asked, torch.cat([through[:, :3], said[:, 3:]], 1))
    assert not torch.equal(through[:, :3], said[:, :3])
    model.warp = 0.0
    torch.testing.assert_close(model.ask(x)[1], said)


def test_noise_scale_makes_the_noise_fainter_and_no_code():
    torch.manual_seed(0)
    plain = InfoGAN(SHAPE, prior=Coded(), categories=3, noise_dim=4, width=4).eval()
    faint = InfoGAN(SHAPE, prior=Coded(), categories=3, noise_dim=4, width=4, noise_scale=0.25)
    faint.eval().load_state_dict(plain.state_dict())
    z = plain.prior.sample((6, plain.latent_dim))
    scaled = torch.cat([0.25 * z[:, :4], z[:, 4:]], 1)
    torch.testing.assert_close(faint.decode(z), plain.decode(scaled))


@pytest.mark.parametrize("given", [{"warp": -0.1}, {"warp": 1.0}, {"noise_scale": 0.0}])
def test_an_infogan_without_noise_or_with_an_impossible_warp_is_refused(given):
    with pytest.raises(ValueError, match="must be"):
        InfoGAN(SHAPE, prior=Coded(), **given)


# --- semi-supervised GAN


def test_the_optimal_discriminator_of_k_plus_one_classes_is_the_ratio_of_densities():
    """On 4 values of x: exp l_k(x) = p(x, y = k) / p_g(x) minimises the loss (section 5)."""
    g = torch.Generator().manual_seed(0)
    p = torch.rand(4, 3, generator=g, dtype=torch.float64)
    p, p_g = p / p.sum(), torch.tensor([0.1, 0.2, 0.3, 0.4], dtype=torch.float64)
    logits = torch.zeros(4, 3, dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.LBFGS([logits], max_iter=300, line_search_fn="strong_wolfe")

    def closure():
        optimizer.zero_grad()
        classes = -(p * logits.log_softmax(1)).sum()
        being_real = real_logit(logits)
        players = [
            discriminator_loss(being_real[i : i + 1], being_real[j : j + 1]) * p[i].sum() * p_g[j]
            for i in range(4)
            for j in range(4)
        ]
        loss = classes + sum(players)
        loss.backward()
        return loss

    optimizer.step(closure)
    torch.testing.assert_close(logits.detach().exp(), p / p_g[:, None], rtol=1e-3, atol=1e-4)


def test_too_few_labels_of_a_class_are_refused():
    images, labels = torch.zeros(60, *SHAPE, dtype=torch.uint8), torch.arange(60) % 3
    labels[:3] = torch.tensor([1, 1, 2])
    model = under_training(semi_supervised(labels_per_class=20), Split(images, labels))
    with pytest.raises(LatentlabError, match="class 0 has 19 training images"):
        model.on_fit_start()


def test_only_the_chosen_labels_are_ever_looked_at():
    images = (255 * torch.rand(60, *SHAPE)).to(torch.uint8)
    labels = torch.arange(60) % 3
    few = Split(images, labels).balanced(12, seed=0)
    assert few.labels.bincount().tolist() == [4, 4, 4]
    weights = []
    for told in (labels, torch.full_like(labels, -1)):
        model = under_training(semi_supervised(labels_per_class=4), Split(images, labels))
        model.on_fit_start()
        assert torch.equal(model.labelled_x, few.images.flatten(1))
        torch.manual_seed(5)
        for step in range(3):
            model.training_step((images[:20] / 255, told[:20]), step)
        weights.append(torch.cat([value.detach().flatten() for value in model.parameters()]))
    assert torch.equal(*weights)


def test_warps_are_pulled_to_the_sharpened_answer_of_their_image():
    """The cross entropy is least, and its gradient nothing, where p(· | x′) = p(· | x)² / Σ p²."""
    g = torch.Generator().manual_seed(0)
    logits = torch.randn(5, 3, generator=g, dtype=torch.float64)
    p = logits.softmax(1)
    q = p**2 / (p**2).sum(1, keepdim=True)
    warped = torch.randn(5, 3, generator=g, dtype=torch.float64, requires_grad=True)
    loss = disagreement(logits, warped)
    assert loss.item() == pytest.approx(-(q * warped.log_softmax(1)).sum(1).mean().item())
    answer = q.log().requires_grad_()
    logits.requires_grad_()
    disagreement(logits, answer).backward()
    assert answer.grad.abs().max() < 1e-12
    assert logits.grad is None
    entropy = -(q * q.log()).sum(1).mean()
    assert disagreement(logits, answer).item() == pytest.approx(entropy.item())


def test_consistency_weighs_the_real_images_alone_and_rises_over_the_first_fifth(monkeypatch):
    """With warps that change nothing and no noise, H(q, p(· | x)) of the batch joins D's loss."""
    monkeypatch.setattr(semi_supervised_gan, "warp", lambda x, strength: x)
    images = (255 * torch.rand(60, *SHAPE)).to(torch.uint8)
    split, x = Split(images, torch.arange(60) % 3), images[:20] / 255

    def class_loss(consistency, step):
        given = {"labels_per_class": 4, "noise": (0.0, 0.0), "warp": 0.2}
        model = under_training(semi_supervised(**given, consistency=consistency), split)
        model.trainer.fit_loop.total_batch_idx = step  # of 10
        model.on_fit_start()
        logits = model.classify(x).detach()
        torch.manual_seed(5)
        return model.training_step((x, torch.zeros(20)), 0)["class_loss"].item(), logits

    without, logits = class_loss(0.0, 5)
    p = logits.softmax(1)
    q = p**2 / (p**2).sum(1, keepdim=True)
    term = -(q * p.log()).sum(1).mean().item()
    for step, weight in ((0, 0.0), (1, 1.5), (2, 3.0), (5, 3.0)):
        found = class_loss(3.0, step)[0]
        assert found - without == pytest.approx(weight * term, abs=1e-5)


@pytest.mark.parametrize(
    "given", [{"consistency": 1.0}, {"consistency": -1.0, "warp": 0.1}, {"warp": 1.0}]
)
def test_a_consistency_without_a_warp_and_impossible_ones_are_refused(given):
    with pytest.raises(ValueError, match="warp"):
        semi_supervised(**given)


def test_classifier_error_is_the_share_of_wrong_classes():
    model = semi_supervised().eval()
    x = torch.rand(10, *SHAPE)
    predicted = model.classify(x).argmax(1)
    y = torch.where(torch.arange(10) < 7, predicted, (predicted + 1) % 3)
    assert float(model.validation_step((x, y), 0)["classifier_error"]) == pytest.approx(0.3)


def test_noise_is_there_in_training_only():
    noise, x = GaussianNoise(0.5), torch.zeros(20_000)
    assert float(noise(x).std()) == pytest.approx(0.5, rel=0.03)
    assert torch.equal(noise.eval()(x), x)


def test_a_semi_supervised_gan_needs_labels():
    with pytest.raises(ValueError, match="at least 1 label of at least 2 classes"):
        semi_supervised(labels_per_class=0)


# --- GANs with an autoencoder inside


def test_began_moves_its_balance_by_proportional_control():
    torch.manual_seed(0)
    settings = {"latent_dim": 3, "width": 4, "gamma": 0.5, "balance_rate": 0.2}
    model = under_training(BEGAN(SHAPE, prior=Uniform(), **settings))
    k = 0.0
    for step in range(5):
        terms = model.training_step((torch.rand(8, *SHAPE), None), step)
        gap = 0.5 * terms["real_error"].item() - terms["g_loss"].item()
        k = min(max(k + 0.2 * gap, 0.0), 1.0)
        assert terms["balance"].item() == pytest.approx(k, abs=1e-6)
        measure = terms["real_error"].item() + abs(gap)
        assert terms["convergence"].item() == pytest.approx(measure, rel=1e-5)
    assert "balance" in model.state_dict(), "a resumed training goes on from it"


def test_began_measures_grey_levels_per_pixel():
    model = BEGAN(SHAPE, prior=Uniform(), latent_dim=3, width=4).eval()
    x = torch.rand(5, *SHAPE)
    rebuilt = model.discriminator(x).sigmoid()
    assert model.errors(x).mean().item() == pytest.approx(
        ((x - rebuilt).abs().sum() / (5 * 64)).item(), rel=1e-5
    )
    with pytest.raises(ValueError, match=r"gamma must lie in \(0, 1\]"):
        BEGAN(SHAPE, prior=Uniform(), gamma=1.5)


def test_bigan_gives_generator_and_encoder_the_labels_exchanged():
    torch.manual_seed(0)
    model = under_training(BiGAN(SHAPE, prior=StandardNormal(), latent_dim=5, width=4))
    for optimizer in model.optimizers():
        optimizer.param_groups[0]["lr"] = 0.0
    x = torch.rand(16, *SHAPE)
    torch.manual_seed(1)
    terms = model.training_step((x, None), 0)
    torch.manual_seed(1)
    z = model.sample_prior(x)
    real = model.discriminate(2 * x - 1, model.encode(x))
    fake = model.discriminate(model.generate(z), z)
    one, zero = torch.ones(16), torch.zeros(16)
    d_loss = -(Bernoulli(logits=real).log_prob(one) + Bernoulli(logits=fake).log_prob(zero)).mean()
    ge_loss = -(Bernoulli(logits=real).log_prob(zero) + Bernoulli(logits=fake).log_prob(one)).mean()
    assert terms["d_loss"].item() == pytest.approx(d_loss.item(), rel=1e-4)
    assert terms["ge_loss"].item() == pytest.approx(ge_loss.item(), rel=1e-4)


def test_bigan_s_cycle_asks_the_encoder_for_the_code_of_a_fake_and_moves_both():
    build = {"prior": StandardNormal(), "latent_dim": 5, "width": 4}
    with pytest.raises(ValueError, match="cycle is -1"):
        BiGAN(SHAPE, cycle=-1, **build)
    model = BiGAN(SHAPE, cycle=3.0, **build).eval()
    x, z = torch.rand(4, *SHAPE), torch.randn(4, 5)
    _, with_cycle = model.losses(x, None, z)
    model.cycle = 0.0
    _, without = model.losses(x, None, z)
    wanted = 3 * (model.encode(model.decode(z)) - z).square().mean()
    assert (with_cycle - without).item() == pytest.approx(wanted.item(), rel=1e-3)
    model.cycle = 1.0
    model.undoing(model.generate(z), z).backward()
    assert model.encoder.head.weight.grad.norm() > 0
    assert model.generator.project.weight.grad.norm() > 0


def test_bigan_judges_pairs_and_not_images_alone():
    model = BiGAN(SHAPE, prior=StandardNormal(), latent_dim=5, width=4).eval()
    x, z = torch.rand(4, *SHAPE), torch.randn(4, 5)
    assert not torch.equal(model.discriminate(x, z), model.discriminate(x, -z))
    assert not torch.equal(model.discriminate(x, z), model.discriminate(1 - x, z))
    sse = (model.decode(model.encode(x)) - x).square().sum((1, 2, 3)).mean()
    assert model.validation_step((x, None), 0)["sse"].item() == pytest.approx(sse.item(), rel=1e-5)
