"""Each decoder's distribution is one: it sums or integrates to 1, and its draws follow it."""

import math
import weakref

import pytest
import torch
from scipy import integrate, stats

from latentlab.losses.levels import (
    BernoulliPixels,
    CategoricalPixels,
    GaussianPixels,
    bits_per_dim,
    gaussian_log_mass,
    to_levels,
)
from latentlab.losses.likelihoods import gaussian_nll
from latentlab.models.stochastic_ae import StochasticAE

SHAPE = (1, 4, 5)
LEVELS = torch.arange(256)
KINDS = {
    "fixed": {"likelihood": "gaussian", "scale": 0.1},
    "shared": {"likelihood": "gaussian", "scale": "shared"},
    "pixel": {"likelihood": "gaussian", "scale": "pixel"},
    "bernoulli": {"likelihood": "bernoulli"},
    "categorical": {"likelihood": "categorical"},
}


def double(value):
    return torch.tensor(value, dtype=torch.float64)


def build(kind, **settings):
    torch.manual_seed(0)
    return StochasticAE(SHAPE, hidden=[12], latent_dim=3, **KINDS[kind], **settings)


@pytest.mark.parametrize("mean", [-0.2, 0.0, 0.31, 1.0])
@pytest.mark.parametrize("scale", [0.002, 0.05, 3.0])
def test_gaussian_masses_are_scipy_s_and_sum_to_one(mean, scale):
    edges = (LEVELS.double().numpy() + 0.5) / 255
    upper = stats.norm(mean, scale).cdf(edges)
    lower = stats.norm(mean, scale).cdf(edges - 1 / 255)
    upper[-1], lower[0] = 1, 0
    got = gaussian_log_mass(double(mean), double(math.log(scale)), LEVELS)
    assert got.exp().numpy() == pytest.approx(upper - lower, abs=1e-12)
    single = gaussian_log_mass(torch.tensor(mean), torch.tensor(scale).log(), LEVELS)
    assert float(single.exp().sum()) == pytest.approx(1, abs=1e-3)


def test_masses_of_a_half_precision_mean_are_as_exact_as_the_mean():
    torch.manual_seed(0)
    mean, level = torch.rand(200).bfloat16(), torch.randint(1, 255, (200,))
    log_scale = torch.tensor(-3.0, dtype=torch.bfloat16)
    got = gaussian_log_mass(mean, log_scale, level)
    pixel = stats.norm(mean.double().numpy(), math.exp(-3))
    edge = (level.double().numpy() + 0.5) / 255
    mass = pixel.cdf(edge) - pixel.cdf(edge - 1 / 255)
    clear = mass > 1e-6  # scipy's difference has lost the tails
    assert clear.sum() > 40
    assert got[clear].exp().numpy() == pytest.approx(mass[clear], rel=2e-3)


def test_far_from_the_mean_the_mass_is_that_of_the_tail():
    """At z = 60 standard deviations Φ is 0 in double precision, its logarithm is not."""
    level, mean, scale = 200, 0.1, 0.01
    got = gaussian_log_mass(double(mean), double(math.log(scale)), torch.tensor(level))
    low = ((level - 0.5) / 255 - mean) / scale
    high = ((level + 0.5) / 255 - mean) / scale
    tail = stats.norm.logsf(low) + math.log1p(
        -math.exp(stats.norm.logsf(high) - stats.norm.logsf(low))
    )
    assert float(got) == pytest.approx(tail, rel=1e-9)
    mean, log_scale = torch.tensor([0.1, 0.9, 0.5]), torch.tensor(-7.0)
    leaves = [mean.requires_grad_(), log_scale.requires_grad_()]
    mass = gaussian_log_mass(*leaves, torch.tensor([255, 0, 90]))
    assert all(g.isfinite().all() for g in torch.autograd.grad(mass.sum(), leaves))


@pytest.mark.parametrize(("mean", "scale"), [(0.3, 0.1), (0.9, 1.5)])
def test_gaussian_density_integrates_to_one(mean, scale):
    def density(x):
        value = torch.tensor([[x]], dtype=torch.float64)
        return float(torch.exp(-gaussian_nll(torch.full_like(value, mean), math.log(scale), value)))

    total, _ = integrate.quad(density, mean - 12 * scale, mean + 12 * scale, points=[mean])
    assert total == pytest.approx(1, abs=1e-7)


@pytest.mark.parametrize("kind", KINDS)
def test_every_pixel_of_every_decoder_has_total_mass_one(kind):
    model = build(kind)
    z = torch.randn(6, 3)
    (part,) = model.distributions(z)
    values = torch.tensor([0.0, 1.0]) if kind == "bernoulli" else LEVELS / 255
    total = sum(part.log_prob(torch.full((6, 20), float(v))).exp() for v in values)
    assert torch.allclose(total, torch.ones(6, 20), atol=1e-3)


def test_the_binary_images_of_a_bernoulli_sum_to_one():
    """All 2^6 images of six pixels, of one code."""
    torch.manual_seed(0)
    model = StochasticAE((1, 2, 3), likelihood="bernoulli", hidden=[5], latent_dim=2)
    with torch.no_grad():
        (part,) = model.distributions(torch.randn(1, 2))
    images = torch.cartesian_prod(*[torch.tensor([0.0, 1.0])] * 6)
    log_p = BernoulliPixels(part.logits.expand(64, -1)).log_prob(images).sum(1)
    assert float(log_p.exp().sum()) == pytest.approx(1, abs=1e-5)


def test_a_bernoulli_reads_grey_as_the_mean_over_binary_images():
    logits, x = torch.tensor([[0.7, -1.3]]), torch.tensor([[0.25, 0.6]])
    both = [BernoulliPixels(logits).log_prob(torch.full_like(x, v)) for v in (0.0, 1.0)]
    assert torch.allclose(BernoulliPixels(logits).log_prob(x), (1 - x) * both[0] + x * both[1])


@pytest.mark.parametrize(
    "part",
    [
        GaussianPixels(torch.tensor([[0.02, 0.4, 0.97]]), torch.tensor(-2.0)),
        BernoulliPixels(torch.tensor([[-1.0, 0.2, 2.0]])),
        CategoricalPixels(torch.randn(1, 3, 256, generator=torch.Generator().manual_seed(0))),
    ],
    ids=["gaussian", "bernoulli", "categorical"],
)
def test_draws_follow_the_masses(part):
    """Chi-squared of 4,000 draws per pixel over bins of the levels."""
    torch.manual_seed(0)
    draws = torch.cat([part.sample() for _ in range(4000)])  # (N, 3)
    values = torch.tensor([0.0, 1.0]) if isinstance(part, BernoulliPixels) else LEVELS / 255
    masses = torch.cat([part.log_prob(torch.full((1, 3), float(v))) for v in values]).exp()
    for pixel in range(3):
        seen = torch.bincount((draws[:, pixel] * (len(values) - 1)).round().long(), minlength=256)
        bins = min(len(values), 16)
        counted = seen[: len(values)].view(bins, -1).sum(1).double()
        expected = masses[:, pixel].double().view(bins, -1).sum(1)
        keep = expected * 4000 > 5
        rest = [1e-9 + float(t[~keep].sum()) for t in (counted, expected * 4000)]
        assert rest[0] <= rest[1] + 10 * math.sqrt(rest[1]) + 5
        observed, wanted = counted[keep], expected[keep] * 4000
        wanted = wanted * observed.sum() / wanted.sum()
        assert stats.chisquare(observed.numpy(), wanted.numpy()).pvalue > 1e-4


def test_moments_of_a_categorical_are_those_of_its_masses():
    logits = torch.randn(2, 3, 256, generator=torch.Generator().manual_seed(1))
    part = CategoricalPixels(logits)
    reference = [
        stats.rv_discrete(values=(range(256), row.softmax(-1).double().numpy()))
        for row in logits.double().flatten(0, 1)
    ]
    assert part.mean.flatten().tolist() == pytest.approx([r.mean() / 255 for r in reference])
    assert part.std.flatten().tolist() == pytest.approx(
        [r.std() / 255 for r in reference], rel=1e-4
    )


@pytest.mark.parametrize("kind", KINDS)
def test_scoring_a_share_of_the_pixels_is_unbiased(kind):
    model, x = build(kind), torch.rand(3, *SHAPE)
    exact = model.nll(x, torch.arange(20))
    each = torch.stack([model.nll(x, torch.tensor([place])) for place in range(20)])
    assert torch.allclose(each.mean(0), exact, rtol=1e-4)


def test_a_training_step_scores_the_share_that_was_asked_for():
    model = build("categorical", share=0.25)
    asked = []
    model.nll = lambda x, places: asked.append(places) or torch.zeros(len(x))
    x = torch.rand(2, *SHAPE)
    model.training_step((x, None), 0)
    model.validation_step((x, None), 0)
    assert [len(set(places.tolist())) for places in asked] == [5, 20]


def test_with_its_scale_fixed_the_gaussian_loss_is_the_squared_error():
    """σ far above a level: −log p = SSE / 2σ² + const, so differences between images agree."""
    model = StochasticAE(SHAPE, likelihood="gaussian", scale=0.5, latent_dim=3).double()
    x = 0.2 + 0.6 * to_levels(torch.rand(4, *SHAPE)).double() / 255
    x = to_levels(x).double() / 255
    x = x.clamp(1 / 255, 254 / 255)  # the outer levels hold the tails
    (part,) = model.distributions(model.encode(x))
    sse = (part.mean - x.flatten(1)).square().sum(1)
    nll = model.nll(x, torch.arange(20))
    constant = 20 * (math.log(0.5 * 255) + 0.5 * math.log(2 * math.pi))
    assert torch.allclose(nll, sse / (2 * 0.25) + constant, atol=1e-3)


def test_many_pixels_are_scored_and_drawn_in_parts_as_in_one():
    torch.manual_seed(0)
    model = StochasticAE((1, 16, 16), likelihood="categorical", hidden=[6], latent_dim=2)
    z, x = torch.randn(2, 2), torch.rand(2, 1, 16, 16)
    parts = model.distributions(z)
    assert [part.mean.shape[1] for part in parts] == [128, 128]
    outputs = model.decoder(z).unflatten(1, (256, -1))
    whole = model.distribution(outputs, torch.arange(256))
    assert torch.allclose(model.decode(z).flatten(1), whole.mean, atol=1e-6)
    by_hand = (
        -model.distribution(
            model.decoder(model.encode(x)).unflatten(1, (256, -1)), torch.arange(256)
        )
        .log_prob(x.flatten(1))
        .sum(1)
    )
    assert torch.allclose(model.nll(x, torch.arange(256)), by_hand, rtol=1e-5)


def test_the_logits_of_all_pixels_are_never_in_memory_together(monkeypatch):
    torch.manual_seed(0)
    model = StochasticAE((1, 32, 32), likelihood="categorical", hidden=[6], latent_dim=2)
    made, alive = model.distribution, weakref.WeakSet()
    together = []

    def watched(outputs, places):
        part = made(outputs, places)
        alive.add(part.logits)
        together.append(len(alive))
        return part

    model.distribution = watched
    with torch.inference_mode():
        for draw in (model.decode, model.decode_std, model.sample_pixels):
            draw(torch.randn(2, 2))
    assert len(together) == 3 * 1024 / 128
    assert max(together) <= 2, "the part at hand, and the next one while it is made"


def test_a_learned_scale_stays_above_the_least():
    model = StochasticAE(SHAPE, likelihood="gaussian", scale="pixel", least_scale=0.05)
    with torch.no_grad():
        model.log_scale -= 50
        std = model.decode_std(torch.randn(3, model.latent_dim))
    assert torch.allclose(std, torch.full_like(std, 0.05))


def test_bits_per_dim_of_uniform_levels_are_eight():
    nll = torch.tensor([20 * math.log(256)])
    assert float(bits_per_dim(nll, 20)) == pytest.approx(8)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"likelihood": "gaussian"}, "scale is None: a Gaussian needs"),
        ({"likelihood": "gaussian", "scale": -0.1}, "scale is -0.1: a Gaussian needs"),
        ({"likelihood": "gaussian", "scale": "none"}, "scale is 'none': a Gaussian needs"),
        ({"likelihood": "bernoulli", "scale": 0.1}, "a bernoulli pixel has none"),
        ({"likelihood": "gaussian", "scale": "pixel", "least_scale": 0.0}, "least_scale is 0.0"),
        ({"likelihood": "categorical", "share": 0.0}, r"share is 0.0: .* \(0, 1\]"),
    ],
)
def test_settings_that_no_distribution_has_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        StochasticAE(SHAPE, **settings)
