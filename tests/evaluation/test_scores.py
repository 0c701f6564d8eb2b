"""Means over draws with their intervals."""

import pytest
import torch

from latentlab.evaluation import scores as module
from latentlab.evaluation.scores import Scores, class_space_scores, sample_scores
from latentlab.metrics.fid.frechet import fid
from latentlab.metrics.fid.spread import extrapolated_fid, half_sample_fids
from latentlab.metrics.intervals import draws_half_width
from latentlab.metrics.kid import kernel_distance
from latentlab.metrics.prdc import prdc


def features(count, seed, *, scale=1.0, size=6):
    return scale * torch.randn(count, size, generator=torch.Generator().manual_seed(seed))


def test_each_metric_is_the_mean_over_draws_with_students_interval():
    real, draws = features(80, 0), [features(60, seed, scale=0.8) for seed in (1, 2, 3)]
    found = sample_scores(real, draws, seed=0)
    rows = [{"kid": kernel_distance(real, draw), **prdc(real, draw)} for draw in draws]
    for key in ("kid", "precision", "recall", "density", "coverage"):
        values = [row[key] for row in rows]
        assert found.metrics[key] == pytest.approx(sum(values) / 3)
        assert found.ci95[key] == pytest.approx(draws_half_width(values))
    fids = [fid(real, draw) for draw in draws]
    assert found.metrics["fid"] == pytest.approx(sum(fids) / 3)
    assert found.arrays["fid_draws"].tolist() == pytest.approx(fids)
    halves = half_sample_fids(real, torch.cat(draws), splits=15, seed=0)
    assert torch.equal(found.arrays["fid_halves"], halves)
    by_both = draws_half_width(fids, other_std=float(halves.std()))
    assert found.ci95["fid"] == pytest.approx(by_both)
    assert found.metrics["fid_infinity"] < found.metrics["fid"]


def test_one_draw_has_values_and_no_interval():
    found = sample_scores(features(80, 0), [features(120, 1)], seed=0)
    assert not {key for key, half in found.ci95.items() if half == half}
    assert "ci95" not in found.content()
    assert not found.arrays
    assert "fid_infinity" not in found.metrics


def test_large_features_have_no_extrapolation_and_fewer_halves():
    real, draws = features(60, 0, size=600), [features(60, n, size=600) for n in (1, 2)]
    found = sample_scores(real, draws, seed=0)
    assert "fid_infinity" not in found.metrics
    assert len(found.arrays["fid_halves"]) == 8


def test_the_class_space_has_a_name_of_its_own():
    real, draws = features(50, 0), [features(50, 1), features(50, 2)]
    found = class_space_scores(real, draws)
    values = [fid(real, draw) for draw in draws]
    assert found.metrics == pytest.approx({"class_fid": sum(values) / 2})
    assert found.ci95 == pytest.approx({"class_fid": draws_half_width(values)})


def test_scores_are_joined_and_become_plain_data():
    joined = Scores({"a": 1.0}, {"a": 0.1}) | Scores({"b": 2.0}, {"b": float("nan")})
    assert joined.content() == {"a": 1.0, "b": 2.0, "ci95": {"a": 0.1}}


@pytest.mark.parametrize(
    ("count", "size", "has"), [(49, 3, False), (50, 3, True), (50, 513, False)]
)
def test_the_extrapolation_needs_100_samples_and_few_features(count, size, has):
    real, draws = features(60, 0, size=size), [features(count, n, size=size) for n in (1, 2)]
    found = sample_scores(real, draws, seed=3).metrics
    assert ("fid_infinity" in found) == has
    if has:
        assert found["fid_infinity"] == extrapolated_fid(real, torch.cat(draws), seed=3)


def test_kid_uses_the_first_images_of_many(monkeypatch):
    real, fake = features(60, 0), features(60, 1)
    monkeypatch.setattr(module, "MAX_KID_IMAGES", 20)
    found = sample_scores(real, [fake], seed=0).metrics
    assert found["kid"] == kernel_distance(real[:20], fake[:20])
    assert found["precision"] == prdc(real, fake)["precision"]
