"""Studies of the VAE family: arcs, directions, samplers and likelihoods on what is known."""

import math
from types import SimpleNamespace

import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from torch.distributions import Bernoulli, MultivariateNormal, Normal

from latentlab.contracts import Split, to_float
from latentlab.models.conditional_vae import ConditionalVAE
from latentlab.models.iwae import IWAE
from latentlab.models.vae import VAE
from latentlab.models.vq_vae import VQVAE
from latentlab.studies import (
    arithmetic,
    interpolation,
    likelihood,
    samplers,
    style_and_class,
    symbols,
    units,
)


def test_an_arc_turns_evenly_and_keeps_the_length():
    a, b = torch.randn(2, 6, 5, dtype=torch.float64)
    a, b = (3 * v / v.norm(dim=1, keepdim=True) for v in (a, b))
    t = torch.linspace(0, 1, 9, dtype=torch.float64)
    arc = interpolation.slerp(a, b, t)
    torch.testing.assert_close(arc.norm(dim=2), torch.full((6, 9), 3.0, dtype=torch.float64))
    torch.testing.assert_close(arc[:, 0], a)
    torch.testing.assert_close(arc[:, -1], b)
    angle = (a * b).sum(1).div(9).arccos()
    turned = (arc * a[:, None]).sum(2).div(9).clamp(-1, 1).arccos()
    torch.testing.assert_close(turned, angle[:, None] * t, atol=1e-6, rtol=0)


def test_an_arc_between_parallel_codes_is_the_straight_line():
    a = torch.randn(3, 4)
    t = torch.linspace(0, 1, 5)
    torch.testing.assert_close(interpolation.slerp(a, 2 * a, t), interpolation.linear(a, 2 * a, t))
    torch.testing.assert_close(interpolation.linear(a, -a, t)[:, 2], torch.zeros(3, 4))


def test_bold_minus_thin_is_the_difference_of_the_outer_thirds():
    x = torch.linspace(0, 1, 9)[torch.randperm(9)].view(9, 1, 1, 1).expand(9, 1, 2, 2)
    codes = torch.stack([10 * x[:, 0, 0, 0], torch.ones(9)], 1)
    torch.testing.assert_close(arithmetic.bold_minus_thin(x, codes), torch.tensor([7.5, 0.0]))


def test_exchanging_class_means_moves_the_mean_of_a_class_onto_the_others():
    labels = torch.tensor([2, 2, 5, 5, 5, 9])
    z = torch.randn(6, 3, dtype=torch.float64)
    means, present = arithmetic.class_means(z, labels)
    assert present.tolist() == [2, 5, 9]
    moved = arithmetic.moved_to(z, labels, means, present)
    for k in range(3):
        torch.testing.assert_close(moved[k, 2:5].mean(0), z[labels == present[k]].mean(0))
    torch.testing.assert_close(moved[1, 2:5], z[2:5])


class Identity:
    """A model whose code is the image: 2×2 pixels, four numbers."""

    family, codes_are_normal, latent_dim = "VAE", True, 4

    def encode(self, x):
        return x.flatten(1)


def stand_in(module):
    return SimpleNamespace(
        module=module,
        encode=module.encode,
        decode=lambda z: z.clamp(0, 1).unflatten(1, (1, 2, 2)),
        reconstruct=lambda x: x,
    )


def yard_of(images):
    split = Split(images)
    settings = SimpleNamespace(seed=0)
    return SimpleNamespace(
        train=split, test=split, eyes=lambda x: x.flatten(1), judge=None, settings=settings
    )


def two_heaps(count=400):
    heap = torch.randint(2, (count, 1)) * 140 + 50
    noise = torch.randint(-20, 20, (count, 4))
    return (heap + noise).to(torch.uint8).view(count, 1, 2, 2)


def test_samplers_are_ranked_by_how_well_they_know_the_codes(monkeypatch):
    known = {name: make for name, make in samplers.samplers(400).items() if name != "second VAE"}
    monkeypatch.setattr(samplers, "samplers", lambda codes: known)
    found = samplers.study(stand_in(Identity()), yard_of(two_heaps()))
    fid = {name: row["FID"] for name, row in found.table.items()}
    assert fid["reconstructions"] == pytest.approx(0, abs=1e-6)
    assert fid["one Gaussian"] < 0.05 * fid["prior N(0, I)"]
    assert fid["mixture of 20"] < 0.05 * fid["prior N(0, I)"]
    assert found.numbers["fid_prior_n_0_i"] == fid["prior N(0, I)"]


def test_a_mixture_has_no_more_components_than_there_are_codes(monkeypatch):
    monkeypatch.setattr(samplers, "TwoStage", samplers.StandardNormal)
    found = samplers.study(stand_in(Identity()), yard_of(two_heaps(8)))
    assert math.isfinite(found.numbers["fid_mixture_of_8"])


@pytest.mark.parametrize(("count", "pairs"), [(7, 3), (9, 4), (40, 5)])
def test_test_images_are_joined_in_pairs_however_few_there_are(count, pairs, tmp_path):
    finding = interpolation.study(stand_in(Identity()), yard_of(two_heaps(count)))
    finding.pictures[0].draw(tmp_path / "paths.png")
    with Image.open(tmp_path / "paths.png") as picture:
        assert picture.height == 32 * (2 * pairs * 3 - 1)  # images of 2 pixels, a gap of 1, × 32


def test_studies_apply_to_what_they_ask_about():
    vae, vq = VAE((1, 8, 8), latent_dim=2, hidden=[4]), VQVAE((1, 8, 8), width=2)
    for study in (interpolation, arithmetic, samplers, likelihood):
        assert study.applies(vae)
        assert not study.applies(vq)


def test_likelihood_of_the_split_is_its_elbo_and_the_gap_of_some(monkeypatch):
    """A linear-Gaussian model, whose log p(x) is known."""
    torch.manual_seed(0)
    model = VAE((1, 2, 2), latent_dim=2, hidden=[], likelihood="gaussian", scale=0.3)
    model.pixels.mean = lambda outputs: outputs
    images = two_heaps(300)
    weight = model.decoder[0].weight.detach()
    covariance = weight @ weight.T + 0.09 * torch.eye(4)
    x = to_float(images).flatten(1)
    exact = MultivariateNormal(model.decoder[0].bias.detach(), covariance).log_prob(x).mean()
    monkeypatch.setattr(likelihood, "BUDGET", 1000 * 4 * 150)
    found = likelihood.study(stand_in(model), yard_of(images)).numbers
    assert found["num_gap_images"] == 150
    assert found["elbo_nats"] < found["log_px_nats"]
    error = 4 * found["gap_standard_error_nats"] + 0.1
    assert found["log_px_nats"] == pytest.approx(float(exact), abs=error)
    assert math.isclose(found["gap_nats"], found["log_px_nats"] - found["elbo_nats"], rel_tol=1e-5)


@pytest.mark.parametrize("shares", [None, torch.empty(0), torch.tensor([0.7, 0.2, 0.1])])
def test_the_likelihood_of_a_conditional_model_is_the_sum_over_its_classes(shares):
    """log p(x) and log p(x|y) of all binary images of 2×2, against integrals over the one code."""
    torch.manual_seed(0)
    model = ConditionalVAE((1, 2, 2), 3, noise_dim=1, hidden=[6])
    with torch.no_grad():
        model.decoder[0].weight[:, 1:] *= 12  # so that the class says much
    bits = torch.arange(48) % 16
    x = (bits[:, None] >> torch.arange(4) & 1).view(48, 1, 2, 2)
    grid = torch.linspace(-8, 8, 801)[:, None]
    log_p = torch.empty(48, 3)  # log p(x|k)
    for k in range(3):
        codes = torch.cat([grid, F.one_hot(torch.tensor(k), 3).expand(801, 3)], 1)
        each = Bernoulli(model.decode(codes).detach()[:, None]).log_prob(x.float()).sum((2, 3, 4))
        joint = each + Normal(0.0, 1.0).log_prob(grid)
        log_p[:, k] = joint.logsumexp(0) + math.log(16 / 800)
    p_y = shares if shares is not None and len(shares) else torch.full((3,), 1 / 3)
    log_px, y = (log_p + p_y.log()).logsumexp(1).mean(), log_p.argmax(1)
    given = log_p.gather(1, y[:, None]).mean()
    split = Split((255 * x).to(torch.uint8), y)
    trained = stand_in(model)
    trained.sampler = SimpleNamespace() if shares is None else SimpleNamespace(shares=shares)
    found = likelihood.study(trained, SimpleNamespace(test=split, settings=SimpleNamespace(seed=0)))
    assert given - log_px > 0.3, "to be told the class is an advantage"
    assert found.numbers["log_px_nats"] == pytest.approx(float(log_px), abs=0.03)
    assert found.numbers["log_px_given_class_nats"] == pytest.approx(float(given), abs=0.03)
    assert found.numbers["elbo_nats"] < float(log_px)


def test_a_likelihood_without_classes_is_given_none(monkeypatch):
    monkeypatch.setattr(likelihood, "BUDGET", 0)
    model = VAE((1, 2, 2), latent_dim=2, hidden=[], binarize="dynamic")
    found = likelihood.study(stand_in(model), yard_of(two_heaps(30)))
    assert "log_px_given_class_nats" not in found.numbers


def test_a_conditional_model_costs_no_more_than_another(monkeypatch):
    drawn = {}
    for model in (
        VAE((1, 2, 2), latent_dim=2, hidden=[]),
        ConditionalVAE((1, 2, 2), 3, noise_dim=2, hidden=[4]),
    ):
        asked = []
        weights = model.log_weights

        def counted(x, y, samples, weights=weights, asked=asked):
            asked.append(len(x) * samples)
            return weights(x, y, samples)

        model.log_weights = counted
        monkeypatch.setattr(likelihood, "BUDGET", 1000 * 4 * 100)
        split = Split(two_heaps(300), torch.arange(300) % 3)
        trained = stand_in(model)
        trained.sampler = None
        yard = SimpleNamespace(test=split, settings=SimpleNamespace(seed=0))
        likelihood.study(trained, yard)
        drawn[type(model)] = sum(asked)
    assert drawn[ConditionalVAE] == pytest.approx(drawn[VAE], rel=0.01)


@pytest.mark.parametrize("binary", [True, False])
def test_units_are_asked_about_images_as_in_training(binary):
    """600 equal images of grey 0.3: binary pixels are drawn, anew in each batch."""
    model = IWAE((1, 8, 8), latent_dim=2, hidden=[4], binarize="dynamic" if binary else None)
    seen = []
    posterior = model.posterior
    model.posterior = lambda x: seen.append(x) or posterior(x)
    trained = SimpleNamespace(module=model, decode=lambda z: torch.zeros(len(z), 1, 8, 8))
    units.study(trained, yard_of(torch.full((600, 1, 8, 8), 77, dtype=torch.uint8)))
    x = torch.cat(seen)
    assert float(x.mean()) == pytest.approx(77 / 255, abs=0.01)
    assert set(x.unique().tolist()) == ({0.0, 1.0} if binary else {float(x[0, 0, 0, 0])})
    assert torch.equal(x[0], x[500]) is not binary


@pytest.mark.parametrize("module", [likelihood, symbols])
def test_no_more_than_the_first_test_images_are_held(module, monkeypatch):
    torch.manual_seed(0)
    images = two_heaps(90)
    if module is likelihood:
        trained = stand_in(VAE((1, 2, 2), latent_dim=2, hidden=[]))
    else:
        trained = stand_in(SimpleNamespace(symbols=2, encode=lambda x: x.flatten(1) > 0.5))
    expected = module.study(trained, yard_of(images[:40]))
    monkeypatch.setattr(module, "MOST_TEST_IMAGES", 40)
    found = module.study(trained, yard_of(images))
    assert (found.numbers, found.text) == (expected.numbers, expected.text)


def test_arithmetic_moves_ink_where_the_code_is_the_image():
    model = Identity()
    model.posterior = lambda x: (x.flatten(1), x.flatten(1))
    assert arithmetic.applies(model)
    numbers = arithmetic.study(stand_in(model), yard_of(two_heaps())).numbers
    assert numbers["ink_at_-2"] < numbers["ink_at_-1"] < numbers["ink_at_1"]


def test_an_image_moved_to_its_own_class_proves_nothing():
    """A judge that always says 0: right for the images of class 1 that were to become 0."""
    split = Split(two_heaps(40), torch.arange(40) // 30)
    yard = yard_of(split.images)
    yard.train = yard.test = split
    yard.judge = lambda x: torch.tensor([1.0, 0.0]).expand(len(x), 2)
    numbers = arithmetic.study(stand_in(Identity()), yard).numbers
    assert numbers["class_moved_share"] == pytest.approx(10 / 40)
    yard.train = yard.test = split.first(20)  # one class: there is nowhere to move to
    assert "class_moved_share" not in arithmetic.study(stand_in(Identity()), yard).numbers


def test_every_noise_meets_every_class():
    noise = torch.randn(3, 2)
    codes = style_and_class.with_classes(noise, 4)
    assert torch.equal(codes[2, 1], torch.tensor([*noise[2].tolist(), 0, 1, 0, 0]))
    assert codes.shape == (3, 4, 6)


def test_requested_classes_are_counted_by_the_judge():
    """A decoder that draws its class as the bright pixel, but class 3 as class 0."""
    module = SimpleNamespace(noise_dim=1, num_classes=4, latent_dim=5, decode=len)
    assert style_and_class.applies(module)
    drawn = lambda z: (z[:, 1:] @ torch.eye(4)[[0, 1, 2, 0]]).view(-1, 1, 2, 2)  # noqa: E731
    yard = SimpleNamespace(settings=SimpleNamespace(seed=0), judge=lambda x: x.flatten(1))
    found = style_and_class.study(SimpleNamespace(module=module, decode=drawn), yard)
    assert found.numbers["requested_class_accuracy"] == pytest.approx(0.75)


def test_bits_of_symbols_are_the_entropy_of_scipy():
    from scipy.stats import entropy

    counts = torch.tensor([[3, 1, 0], [2, 2, 2]])
    expected = [entropy(row) for row in counts.numpy()]
    assert symbols.entropy(counts).tolist() == pytest.approx(expected)


def test_book_of_symbols_counts_what_is_used():
    module = SimpleNamespace(symbols=8, latent_dim=4, look_up=len)
    assert symbols.applies(module)
    assert not symbols.applies(VAE((1, 8, 8), latent_dim=2, hidden=[4]))
    trained = SimpleNamespace(
        module=module,
        encode=lambda x: (x.flatten(1) > 0.4).float() + 2 * (torch.arange(4) == 0),
        decode=lambda z: torch.zeros(len(z), 1, 2, 2),
    )
    numbers = symbols.study(trained, yard_of(two_heaps(4000))).numbers
    assert numbers["symbols_used"] == 4
    assert numbers["bits_per_image"] == pytest.approx(4, abs=0.02)
    assert numbers["bits_per_image_at_most"] == 12
