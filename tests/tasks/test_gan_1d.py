"""The GAN in one dimension against integrals by scipy and the known optimum."""

import math
from types import SimpleNamespace

import pytest
import torch
from scipy.integrate import quad
from scipy.stats import norm
from torch.distributions import Normal

from latentlab.tasks.gan_1d import (
    GAN1D,
    Affine,
    Snapshot,
    measure,
    optimal_logits,
    value,
)
from latentlab.utils.errors import LatentlabError

DATA = Normal(1.0, 0.5)
GRID = torch.linspace(-10, 10, 4001, dtype=torch.float64)


def test_the_optimal_discriminator_is_the_fraction_of_the_data():
    p_g = Normal(-0.5, 1.2)
    x = GRID.numpy()
    data, fake = norm(1, 0.5).pdf(x), norm(-0.5, 1.2).pdf(x)
    near = data + fake > 1e-12
    expected = torch.from_numpy(data[near] / (data + fake)[near])
    torch.testing.assert_close(optimal_logits(GRID, DATA, p_g).sigmoid()[near], expected)


def test_the_optimal_value_is_minus_log_four_plus_twice_the_jensen_shannon_divergence():
    p, q = norm(1, 0.5).pdf, norm(-0.5, 1.2).pdf

    def kl_to_middle(a, b):
        return quad(lambda x: a(x) * math.log(2 * a(x) / (a(x) + b(x))), -8, 8)[0]

    jsd = (kl_to_middle(p, q) + kl_to_middle(q, p)) / 2
    p_g = Normal(-0.5, 1.2)
    measured = value(GRID, optimal_logits(GRID, DATA, p_g), DATA, p_g)
    assert measured == pytest.approx(-math.log(4) + 2 * jsd, abs=1e-6)


def test_the_value_at_the_optimum_is_minus_log_four_and_smaller_for_other_discriminators():
    best = optimal_logits(GRID, DATA, DATA)
    assert value(GRID, best, DATA, DATA) == pytest.approx(-math.log(4))
    for other in (best + 0.1, best - 0.1, best + 0.2 * GRID.sin()):
        assert value(GRID, other, DATA, DATA) < -math.log(4) - 1e-4


def test_the_optimal_discriminator_has_no_error():
    p_g = Normal(0.0, 1.0)
    measured = measure(Snapshot(3, p_g, GRID, optimal_logits(GRID, DATA, p_g)), DATA)
    assert (measured["generator_mean"], measured["generator_std"]) == (0, 1)
    assert measured["d_error"] == 0
    assert measured["value"] == measured["optimal_value"]
    flat = measure(Snapshot(3, DATA, GRID, torch.full_like(GRID, math.log(0.7 / 0.3))), DATA)
    assert flat["d_error"] == pytest.approx(0.2)  # D = 0.7 where D* = 0.5
    assert flat["value"] == pytest.approx(math.log(0.7) + math.log(0.3))


def test_samples_of_the_generator_have_its_density():
    z = torch.randn(200_000)
    generator = Affine(-0.7, 1.5)
    x, density = generator(z).detach(), generator.density()
    assert float(x.mean()) == pytest.approx(float(density.mean), abs=0.01)
    assert float(x.std()) == pytest.approx(float(density.stddev), abs=0.01)


def test_training_ends_at_the_optimum(tmp_path):
    task = GAN1D(mean=1.0, start=-0.5, steps=250, discriminator_steps=2, batch_size=128, lr=0.02)
    result = task.run(SimpleNamespace(seed=0))
    assert next(iter(result.table)) == "step 0"
    assert list(result.table)[-1] == "step 250"
    assert result.metrics["final_value"] == pytest.approx(-math.log(4), abs=0.02)
    assert result.metrics["final_generator_mean"] == pytest.approx(1, abs=0.1)
    assert result.metrics["final_generator_std"] == pytest.approx(0.5, abs=0.1)
    result.figures[0].save(tmp_path / "frames.png")
    assert (tmp_path / "frames.png").read_bytes().startswith(b"\x89PNG")


def test_the_result_depends_only_on_the_seed():
    task = GAN1D(steps=2, num_frames=2)
    first = task.run(SimpleNamespace(seed=1))
    state = torch.get_rng_state()
    again = task.run(SimpleNamespace(seed=1))
    assert torch.equal(state, torch.get_rng_state())
    assert first.metrics == again.metrics != task.run(SimpleNamespace(seed=2)).metrics


@pytest.mark.parametrize("key", ["steps", "discriminator_steps", "batch_size"])
def test_impossible_settings_are_refused(key):
    with pytest.raises(LatentlabError, match=f"{key} is 0: it must be ≥ 1"):
        GAN1D(**{key: 0})
    with pytest.raises(LatentlabError, match=r"std is -1\.0: a standard deviation must be > 0"):
        GAN1D(std=-1.0)


@pytest.mark.parametrize(
    ("mean", "std", "start"), [(60.0, 0.5, 58.5), (1.0, 30.0, -4.0), (0.1, 0.01, 0.0)]
)
def test_the_grid_covers_data_and_generator(mean, std, start, tmp_path):
    task = GAN1D(mean=mean, std=std, start=start, steps=1, discriminator_steps=1, num_frames=2)
    grid = task.grid()
    for center, deviation in ((mean, std), (start, 1.0)):
        assert grid[0] <= center - 6 * deviation
        assert grid[-1] >= center + 6 * deviation
        assert float(grid.diff().max()) <= deviation / 20
    p, q = norm(mean, std), norm(start, 1)

    def kl_to_middle(a, b):
        integrand = lambda x: a.pdf(x) * math.log(2 / (1 + math.exp(b.logpdf(x) - a.logpdf(x))))  # noqa: E731
        return quad(
            integrand,
            a.mean() - 7 * a.std(),
            a.mean() + 7 * a.std(),
            limit=500,
            points=[c for c in (p.mean(), q.mean()) if abs(c - a.mean()) < 6 * a.std()],
        )[0]

    result = task.run(SimpleNamespace(seed=0))
    jsd = (kl_to_middle(p, q) + kl_to_middle(q, p)) / 2
    expected = pytest.approx(-math.log(4) + 2 * jsd, abs=1e-4)
    assert result.table["step 0"]["optimal_value"] == expected
    result.figures[0].save(tmp_path / "frames.png")


@pytest.mark.parametrize(
    "settings", [{"mean": 1e6}, {"std": 1e-9}, {"std": 1e9}, {"start": math.inf}]
)
def test_settings_that_need_too_large_a_grid_are_refused(settings):
    with pytest.raises(LatentlabError, match="more than 1,000,000 points"):
        GAN1D(**settings)
