"""The GAN on the line against scipy's integrals, and the theorem that names its end."""

import math
from types import SimpleNamespace

import pytest
import torch
from scipy.integrate import quad
from scipy.stats import norm
from torch.distributions import Normal

from latentlab.contracts import LatentlabError
from latentlab.tasks.one_dimension import (
    Affine,
    Frame,
    OneDimension,
    best_logits,
    numbers_of,
    value,
)

DATA = Normal(1.0, 0.5)
GRID = torch.linspace(-10, 10, 4001, dtype=torch.float64)


def test_the_best_discriminator_is_the_share_of_the_data():
    p_g = Normal(-0.5, 1.2)
    x = GRID.numpy()
    data, fake = norm(1, 0.5).pdf(x), norm(-0.5, 1.2).pdf(x)
    near = data + fake > 1e-12
    expected = torch.from_numpy(data[near] / (data + fake)[near])
    torch.testing.assert_close(best_logits(GRID, DATA, p_g).sigmoid()[near], expected)


def test_its_value_is_minus_log_four_plus_twice_the_jensen_shannon_divergence():
    p, q = norm(1, 0.5).pdf, norm(-0.5, 1.2).pdf

    def kl_to_middle(a, b):
        return quad(lambda x: a(x) * math.log(2 * a(x) / (a(x) + b(x))), -8, 8)[0]

    jsd = (kl_to_middle(p, q) + kl_to_middle(q, p)) / 2
    p_g = Normal(-0.5, 1.2)
    found = value(GRID, best_logits(GRID, DATA, p_g), DATA, p_g)
    assert found == pytest.approx(-math.log(4) + 2 * jsd, abs=1e-6)


def test_at_the_optimum_the_value_is_minus_log_four_and_every_other_d_has_less():
    best = best_logits(GRID, DATA, DATA)
    assert value(GRID, best, DATA, DATA) == pytest.approx(-math.log(4))
    for other in (best + 0.1, best - 0.1, best + 0.2 * GRID.sin()):
        assert value(GRID, other, DATA, DATA) < -math.log(4) - 1e-4


def test_numbers_of_a_frame_whose_discriminator_is_the_best_one():
    p_g = Normal(0.0, 1.0)
    found = numbers_of(Frame(3, p_g, GRID, best_logits(GRID, DATA, p_g)), DATA)
    assert (found["generator_mean"], found["generator_scale"]) == (0, 1)
    assert found["d_error"] == 0
    assert found["value"] == found["best_value"]
    flat = numbers_of(Frame(3, DATA, GRID, torch.full_like(GRID, math.log(0.7 / 0.3))), DATA)
    assert flat["d_error"] == pytest.approx(0.2)  # D = 0.7 where D* = 0.5
    assert flat["value"] == pytest.approx(math.log(0.7) + math.log(0.3))


def test_the_affine_generator_has_the_density_it_claims():
    z = torch.randn(200_000)
    generator = Affine(-0.7, 1.5)
    x, density = generator(z).detach(), generator.density()
    assert float(x.mean()) == pytest.approx(float(density.mean), abs=0.01)
    assert float(x.std()) == pytest.approx(float(density.stddev), abs=0.01)


def test_the_game_ends_where_the_theorem_says(tmp_path):
    task = OneDimension(mean=1.0, start=-0.5, steps=250, d_steps=2, batch_size=128, lr=0.02)
    finding = task.run(SimpleNamespace(seed=0))
    assert next(iter(finding.table)) == "step 0"
    assert list(finding.table)[-1] == "step 250"
    assert finding.numbers["final_value"] == pytest.approx(-math.log(4), abs=0.02)
    assert finding.numbers["final_generator_mean"] == pytest.approx(1, abs=0.1)
    assert finding.numbers["final_generator_scale"] == pytest.approx(0.5, abs=0.1)
    finding.pictures[0].draw(tmp_path / "frames.png")
    assert (tmp_path / "frames.png").read_bytes().startswith(b"\x89PNG")


def test_its_seed_is_its_own():
    task = OneDimension(steps=2, frames=2)
    first = task.run(SimpleNamespace(seed=1))
    state = torch.get_rng_state()
    again = task.run(SimpleNamespace(seed=1))
    assert torch.equal(state, torch.get_rng_state())
    assert first.numbers == again.numbers != task.run(SimpleNamespace(seed=2)).numbers


@pytest.mark.parametrize("key", ["steps", "d_steps", "batch_size"])
def test_impossible_settings_are_refused(key):
    with pytest.raises(LatentlabError, match=f"{key} is 0: it must be ≥ 1"):
        OneDimension(**{key: 0})
    with pytest.raises(LatentlabError, match=r"scale is -1\.0, a standard deviation"):
        OneDimension(scale=-1.0)


@pytest.mark.parametrize(
    ("mean", "scale", "start"), [(60.0, 0.5, 58.5), (1.0, 30.0, -4.0), (0.1, 0.01, 0.0)]
)
def test_integrals_run_over_wherever_the_settings_put_the_data(mean, scale, start, tmp_path):
    task = OneDimension(mean=mean, scale=scale, start=start, steps=1, d_steps=1, frames=2)
    grid = task.grid()
    for centre, deviation in ((mean, scale), (start, 1.0)):
        assert grid[0] <= centre - 6 * deviation
        assert grid[-1] >= centre + 6 * deviation
        assert float(grid.diff().max()) <= deviation / 20
    p, q = norm(mean, scale), norm(start, 1)

    def kl_to_middle(a, b):
        share = lambda x: a.pdf(x) * math.log(2 / (1 + math.exp(b.logpdf(x) - a.logpdf(x))))  # noqa: E731
        return quad(
            share,
            a.mean() - 7 * a.std(),
            a.mean() + 7 * a.std(),
            limit=500,
            points=[c for c in (p.mean(), q.mean()) if abs(c - a.mean()) < 6 * a.std()],
        )[0]

    finding = task.run(SimpleNamespace(seed=0))
    jsd = (kl_to_middle(p, q) + kl_to_middle(q, p)) / 2
    expected = pytest.approx(-math.log(4) + 2 * jsd, abs=1e-4)
    assert finding.table["step 0"]["best_value"] == expected
    finding.pictures[0].draw(tmp_path / "frames.png")


@pytest.mark.parametrize(
    "settings", [{"mean": 1e6}, {"scale": 1e-9}, {"scale": 1e9}, {"start": math.inf}]
)
def test_settings_that_no_grid_holds_are_refused(settings):
    with pytest.raises(LatentlabError, match="more than the 1,000,000 places"):
        OneDimension(**settings)
