"""The score of a known mixture, and a denoiser that must find it."""

import math

import pytest
import torch
from PIL import Image
from torch.distributions import Categorical, Independent, MixtureSameFamily, Normal

from latentlab.config import EvaluationSettings
from latentlab.contracts import LatentlabError, Split
from latentlab.data.prepared import Meta
from latentlab.evaluation import Yardsticks
from latentlab.tasks import Context
from latentlab.tasks.score import Score, agree, mixture_score, save_field, spiral, walk


def posterior_mean(centres, scale):
    """E[x | x̃] of points with equal weights: the best denoiser there is, by a loop."""

    def denoise(noisy):
        means = []
        for point in noisy.flatten(1):
            odds = torch.exp(-(centres - point).square().sum(1) / (2 * scale**2))
            means.append((odds[:, None] * centres).sum(0) / odds.sum())
        return torch.stack(means).view_as(noisy)

    return denoise


def test_mixture_score_is_the_gradient_of_torch_s_log_density():
    torch.manual_seed(0)
    centres, scale = torch.randn(7, 3, dtype=torch.float64), 0.4
    x = torch.randn(5, 3, dtype=torch.float64, requires_grad=True)
    mixture = MixtureSameFamily(
        Categorical(torch.ones(7)), Independent(Normal(centres, scale, validate_args=False), 1)
    )
    (gradient,) = torch.autograd.grad(mixture.log_prob(x).sum(), x)
    assert torch.allclose(mixture_score(x.detach(), centres, scale), gradient)


def test_the_best_denoiser_moves_by_the_score():
    """Tweedie's formula: (E[x | x̃] − x̃) / σ² = ∇ log p_σ(x̃), exactly."""
    curve = spiral(40).double()
    agreement = agree(posterior_mean(curve, 0.2), curve, 0.2, count=50)
    assert agreement["cosine"] == pytest.approx(1, abs=1e-6)
    assert agreement["relative_error"] == pytest.approx(0, abs=1e-5)


def test_a_wrong_denoiser_disagrees():
    curve = spiral(40)
    assert agree(lambda x: x + 1, curve, 0.2, count=400)["cosine"] < 0.3
    half = posterior_mean(curve, 0.2)
    shrunk = agree(lambda x: x + (half(x) - x) / 2, curve, 0.2, count=50)
    assert shrunk["cosine"] == pytest.approx(1, abs=1e-5)
    assert shrunk["relative_error"] == pytest.approx(0.5, abs=1e-4)


def test_walking_the_best_denoiser_ends_at_the_data():
    """Two points far apart: every walk ends at one of them, and both are found."""
    torch.manual_seed(0)
    points = torch.tensor([[0.2, 0.2], [0.8, 0.8]])
    chain = walk(posterior_mean(points, 0.1), torch.rand(60, 2), 0.1, 12)
    assert list(chain) == [0, 1, 2, 3, 5, 10, 12]
    distances = torch.cdist(chain[12], points)
    assert float(distances.amin(1).max()) < 0.01
    assert set(distances.argmin(1).tolist()) == {0, 1}


def test_spiral_stays_in_its_square():
    curve = spiral(200)
    assert float(curve.abs().max()) <= 1
    assert float((curve[1:] - curve[:-1]).norm(dim=1).max()) < 0.1  # one curve, no jump


def test_field_is_drawn_the_same_each_time(tmp_path):
    curve = spiral(30)
    for name in ("a", "b"):
        save_field(posterior_mean(curve, 0.1), curve, 0.1, tmp_path / name)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    with Image.open(tmp_path / "a") as picture:
        assert picture.size == (720, 720)


def test_task_learns_the_score_and_walks_to_the_data(tmp_path):
    """Images of two kinds, all dark and all bright: from noise, walks end at both."""
    kinds = torch.tensor([40, 215], dtype=torch.uint8).repeat(40)[:, None, None, None]
    split = Split(kinds.expand(-1, 1, 4, 4).contiguous())
    meta = Meta("two", (1, 4, 4), None, {"train": 80, "val": 1, "test": 80}, (), 0, "0" * 64)
    settings = EvaluationSettings()
    yard = Yardsticks(meta, split, split, lambda x: x.flatten(1) + 0.0, None, settings)
    project = type("Project", (), {"seed": 0})()
    task = Score(steps=700, hidden=64, image_steps=150, image_hidden=16, walk=5)
    finding = task.run(Context(project, meta, yard, split, None))
    assert finding.numbers["curve_cosine"] > 0.9
    assert finding.numbers["images_cosine"] > 0.9
    fids = [row["fid"] for row in finding.table.values()]
    assert fids[-1] == finding.numbers["walk_fid"]
    assert [picture.name for picture in finding.pictures] == ["field", "chain", "samples"]
    for picture in finding.pictures:
        picture.draw(tmp_path / f"{picture.name}.png")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"scale": 0.0}, "scale is 0.0: a noise level must be > 0"),
        ({"image_scale": math.inf}, "image_scale is inf"),
        ({"walk": 0}, "walk is 0: at least one step"),
    ],
)
def test_impossible_settings_are_refused(settings, message):
    with pytest.raises(LatentlabError, match=message):
        Score(**settings)
