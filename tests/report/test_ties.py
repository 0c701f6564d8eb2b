"""Ties: paired intervals of differences, with an independent count by resampling."""

import numpy as np
import pytest
import scipy.stats

from latentlab.report.comparison import Comparison, ModelResults
from latentlab.report.difference_intervals import fid_half_width
from latentlab.report.metrics import BY_KEY, Row
from latentlab.report.ties import paired_difference, tied, ties_of


def model(tmp_path, name, values, arrays=None, trainings=None):
    folder = tmp_path / name
    folder.mkdir()
    if arrays:
        np.savez(folder / "per_image.npz", **arrays)
    row = Row(name, name, "VAE", values)
    return ModelResults(row, {}, None, folder, trainings=trainings or {})


def test_differences_on_the_same_images_have_a_small_interval(tmp_path):
    """Images differ by 10 in difficulty, models by 1: not paired, they would tie."""
    rng = np.random.default_rng(0)
    difficulty = rng.normal(50, 10, 400)
    first, second = difficulty, difficulty + 1 + rng.normal(0, 1, 400)
    key = "reconstruction_sse"
    gap, half = paired_difference(key, {key: first}, {key: second})
    assert gap == pytest.approx((second - first).mean())
    means = [rng.choice(second - first, 400).mean() for _ in range(2000)]
    assert half == pytest.approx(
        (np.quantile(means, 0.975) - np.quantile(means, 0.025)) / 2, rel=0.1
    )
    wide = {f"{key}_low": 48.0, f"{key}_high": 53.0}
    a = model(tmp_path, "a", {key: float(first.mean()), **wide}, {key: first})
    b = model(tmp_path, "b", {key: float(second.mean()), **wide}, {key: second})
    assert not tied(BY_KEY[key], a, b)
    c = model(tmp_path, "c", {key: float(first.mean()), **wide})
    assert tied(BY_KEY[key], a, c), "without values of images, overlapping intervals tie"


def test_a_model_without_encoder_is_compared_on_its_own_images(tmp_path):
    """The first 50 images are easier: the means over all images would tell another order."""
    key = "psnr_db"
    rng = np.random.default_rng(1)
    easy = np.r_[np.full(50, 30.0), np.full(200, 20.0)] + rng.normal(0, 0.5, 250)
    a = model(tmp_path, "a", {key: float(easy.mean())}, {key: easy})
    b = model(tmp_path, "b", {key: 30.0}, {key: easy[:50] + rng.normal(0, 0.1, 50)})
    assert tied(BY_KEY[key], a, b)


def test_fid_is_paired_over_half_samples_and_adds_the_spread_of_draws():
    rng = np.random.default_rng(2)
    real = rng.normal(0, 5, 30)  # what the choice of the real images does to both models
    first = {"fid_halves": real + 10, "fid_draws": np.array([10.0, 10.2, 9.8, 10.0])}
    second = {"fid_halves": real + 11, "fid_draws": np.array([11.0, 11.2, 10.8, 11.0])}
    expected = 1.959964 * np.sqrt(2 * np.var(first["fid_draws"], ddof=1) / 4)
    assert fid_half_width(first, second) == pytest.approx(expected, rel=1e-6)
    other = {**second, "fid_halves": second["fid_halves"][:8]}
    assert fid_half_width(first, other) is None


def test_few_images_are_not_paired():
    assert paired_difference("ssim", {"ssim": np.ones(29)}, {"ssim": np.ones(29)}) is None


def trained(tmp_path, name, key, values):
    """A model with a training for each value; the row has the mean and the deviation."""
    mean, spread = {key: float(np.mean(values))}, {f"{key}_std": float(np.std(values, ddof=1))}
    rows = {
        name if seed == 0 else f"{name}@{seed}": Row(name, name, "AE", {key: value})
        for seed, value in enumerate(values)
    }
    return model(tmp_path, name, mean | spread, {key: np.full(100, values[0])}, rows)


def test_several_trainings_tie_by_the_interval_over_them(tmp_path):
    """Values of images, which differ without noise, and ranges, which overlap, do not count."""
    key = "reconstruction_sse"
    a_values, b_values = np.array([5.0, 6.0, 7.0, 8.0]), np.array([5.5, 6.4, 7.6, 8.5])
    a, b = trained(tmp_path, "a", key, a_values), trained(tmp_path, "b", key, b_values)
    interval = scipy.stats.ttest_rel(b_values, a_values).confidence_interval()
    assert interval.low > 0, "paired by seed, b is always larger"
    assert not tied(BY_KEY[key], a, b)
    c_values = np.array([6.0, 5.0, 8.0, 9.0])
    interval = scipy.stats.ttest_rel(c_values, a_values).confidence_interval()
    assert interval.low < 0 < interval.high
    assert tied(BY_KEY[key], a, trained(tmp_path, "c", key, c_values))
    d_values = np.array([6.9, 7.0, 7.1])  # another number of seeds: Welch's interval
    interval = scipy.stats.ttest_ind(d_values, a_values, equal_var=False).confidence_interval()
    assert interval.low < 0 < interval.high
    assert tied(BY_KEY[key], a, trained(tmp_path, "d", key, d_values))


def test_one_training_ties_with_several_if_the_intervals_overlap(tmp_path):
    key = "reconstruction_sse"
    several = trained(tmp_path, "a", key, np.array([5.0, 6.0, 7.0]))
    near = model(tmp_path, "b", {key: 7.5, f"{key}_low": 6.9, f"{key}_high": 8.1})
    far = model(tmp_path, "c", {key: 7.7, f"{key}_low": 7.1, f"{key}_high": 8.3})
    assert tied(BY_KEY[key], several, near)
    assert not tied(BY_KEY[key], several, far)


def test_ties_of_a_comparison_are_mutual(tmp_path):
    bounds = {"fid_low": 9.0, "fid_high": 11.0}
    models = [
        model(tmp_path, "a", {"fid": 10.0, **bounds}),
        model(tmp_path, "b", {"fid": 10.5, "fid_low": 10.0, "fid_high": 11.5}),
        model(tmp_path, "c", {"fid": 20.0, "fid_low": 19.0, "fid_high": 21.0}),
        model(tmp_path, "d", {"fid": float("nan")}),
    ]
    assert ties_of(Comparison(models, [], {}, tmp_path)) == {"fid": {"a": ["b"], "b": ["a"]}}
