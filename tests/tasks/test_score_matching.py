"""The score of a known mixture, exact and learned denoisers, and the Markov chain."""

import math

import pytest
import torch
from PIL import Image
from torch.distributions import Categorical, Independent, MixtureSameFamily, Normal

from latentlab.config import EvaluationSettings
from latentlab.contracts import Split
from latentlab.data.prepared import DatasetInfo
from latentlab.evaluation.evaluator import Evaluator
from latentlab.tasks.common.context import Context
from latentlab.tasks.score_matching import (
    ScoreMatching,
    compare_scores,
    mixture_score,
    run_chain,
    spiral,
    vector_fields,
)
from latentlab.utils.errors import LatentlabError
from latentlab.visualization.panels import save_vector_fields


def posterior_mean(centers, noise_std):
    """E[x | x̃] of points with equal weights, the optimal denoiser, computed by a loop."""

    def denoise(noisy):
        means = []
        for point in noisy.flatten(1):
            weights = torch.exp(-(centers - point).square().sum(1) / (2 * noise_std**2))
            means.append((weights[:, None] * centers).sum(0) / weights.sum())
        return torch.stack(means).view_as(noisy)

    return denoise


def test_mixture_score_is_the_gradient_of_the_log_density_of_torch():
    torch.manual_seed(0)
    centers, scale = torch.randn(7, 3, dtype=torch.float64), 0.4
    x = torch.randn(5, 3, dtype=torch.float64, requires_grad=True)
    mixture = MixtureSameFamily(
        Categorical(torch.ones(7)), Independent(Normal(centers, scale, validate_args=False), 1)
    )
    (gradient,) = torch.autograd.grad(mixture.log_prob(x).sum(), x)
    assert torch.allclose(mixture_score(x.detach(), centers, scale), gradient)


def test_the_optimal_denoiser_gives_the_exact_score():
    """Tweedie's formula: (E[x | x̃] − x̃) / σ² = ∇ log p_σ(x̃), exactly."""
    curve = spiral(40).double()
    agreement = compare_scores(posterior_mean(curve, 0.2), curve, 0.2, count=50)
    assert agreement["cosine"] == pytest.approx(1, abs=1e-6)
    assert agreement["relative_error"] == pytest.approx(0, abs=1e-5)


def test_a_wrong_denoiser_has_a_small_cosine_or_a_large_error():
    curve = spiral(40)
    assert compare_scores(lambda x: x + 1, curve, 0.2, count=400)["cosine"] < 0.3
    half = posterior_mean(curve, 0.2)
    shrunk = compare_scores(lambda x: x + (half(x) - x) / 2, curve, 0.2, count=50)
    assert shrunk["cosine"] == pytest.approx(1, abs=1e-5)
    assert shrunk["relative_error"] == pytest.approx(0.5, abs=1e-4)


def test_the_chain_of_the_optimal_denoiser_ends_at_the_data():
    """Two distant points: every chain ends at one of them, and both are reached."""
    torch.manual_seed(0)
    points = torch.tensor([[0.2, 0.2], [0.8, 0.8]])
    chain = run_chain(posterior_mean(points, 0.1), torch.rand(60, 2), 0.1, 12)
    assert list(chain) == [0, 1, 2, 3, 5, 10, 12]
    distances = torch.cdist(chain[12], points)
    assert float(distances.amin(1).max()) < 0.01
    assert set(distances.argmin(1).tolist()) == {0, 1}


def test_the_spiral_is_one_curve_inside_the_square():
    curve = spiral(200)
    assert float(curve.abs().max()) <= 1
    assert float((curve[1:] - curve[:-1]).norm(dim=1).max()) < 0.1  # no gap


def test_the_figure_of_the_fields_is_deterministic(tmp_path):
    curve = spiral(30)
    for name in ("a", "b"):
        field = vector_fields(posterior_mean(curve, 0.1), curve, 0.1)
        save_vector_fields(*field, curve, tmp_path / name)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    with Image.open(tmp_path / "a") as image:
        assert image.size == (720, 720)


def test_the_task_learns_the_score_and_its_chain_reaches_the_data(tmp_path):
    """Dark and bright images: chains from noise end at both."""
    levels = torch.tensor([40, 215], dtype=torch.uint8).repeat(40)[:, None, None, None]
    split = Split(levels.expand(-1, 1, 4, 4).contiguous())
    dataset = DatasetInfo(
        "two", (1, 4, 4), None, {"train": 80, "val": 1, "test": 80}, (), 0, "0" * 64
    )
    settings = EvaluationSettings()
    evaluator = Evaluator(dataset, split, split, lambda x: x.flatten(1) + 0.0, None, settings)
    project = type("Project", (), {"seed": 0})()
    task = ScoreMatching(steps=700, hidden=64, image_steps=150, image_hidden=16, chain_length=5)
    result = task.run(Context(project, evaluator, split, None))
    assert result.metrics["curve_cosine"] > 0.9
    assert result.metrics["images_cosine"] > 0.9
    fids = [row["fid"] for row in result.table.values()]
    assert fids[-1] == result.metrics["chain_fid"]
    assert [figure.name for figure in result.figures] == ["field", "chain", "samples"]
    for figure in result.figures:
        figure.save(tmp_path / f"{figure.name}.png")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"noise_std": 0.0}, "noise_std is 0.0: it must be > 0 and finite"),
        ({"image_noise_std": math.inf}, "image_noise_std is inf"),
        ({"chain_length": 0}, "chain_length is 0: it must be ≥ 1"),
    ],
)
def test_impossible_settings_are_refused(settings, message):
    with pytest.raises(LatentlabError, match=message):
        ScoreMatching(**settings)
