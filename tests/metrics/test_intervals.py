"""Intervals, compared with scipy and by coverage."""

import math

import numpy as np
import pytest
import torch
from scipy import stats

from latentlab.metrics.intervals import draws_half_width, fraction_half_width, mean_half_width


def test_the_interval_of_a_mean_is_that_of_a_bootstrap_by_scipy():
    values = torch.randn(400, generator=torch.Generator().manual_seed(0)).exp()
    found = mean_half_width(values)
    reference = stats.bootstrap(
        (values.numpy(),),
        np.mean,
        method="percentile",
        n_resamples=4000,
        rng=np.random.default_rng(0),
    ).confidence_interval
    assert found == pytest.approx((reference.high - reference.low) / 2, rel=0.06)
    assert math.isnan(mean_half_width(values[:1]))


def test_the_blocks_of_the_bootstrap_change_nothing_but_the_order(monkeypatch):
    values = torch.randn(50, generator=torch.Generator().manual_seed(1))
    whole = mean_half_width(values, seed=3)
    assert mean_half_width(values, seed=3) == whole
    monkeypatch.setattr("latentlab.metrics.intervals._BLOCK", 50 * 300)
    assert mean_half_width(values, seed=3) == pytest.approx(whole, rel=0.15)


@pytest.mark.parametrize(("right", "count"), [(0, 20), (20, 20), (7, 20), (950, 1000)])
def test_the_interval_of_a_fraction_is_wilsons(right, count):
    correct = torch.arange(count) < right
    reference = stats.binomtest(right, count).proportion_ci(0.95, method="wilson")
    assert fraction_half_width(correct) == pytest.approx((reference.high - reference.low) / 2)
    assert fraction_half_width(correct) > 0


def test_the_interval_of_draws_is_students():
    values = [3.0, 5.0, 4.0, 8.0]
    low, high = stats.t.interval(0.95, 3, np.mean(values), stats.sem(values))
    assert draws_half_width(values) == pytest.approx((high - low) / 2)
    both = draws_half_width(values, other_std=2.0)
    assert both == pytest.approx(math.hypot((high - low) / 2, 1.959964 * 2), rel=1e-6)
    assert math.isnan(draws_half_width([3.0]))
    low, high = stats.t.interval(0.95, 1, 4, 1)
    assert draws_half_width([3.0, 5.0]) == pytest.approx((high - low) / 2)


@pytest.mark.parametrize("count", [2, 30])
def test_the_bootstrap_has_a_thousand_means(count):
    values = torch.randn(count, generator=torch.Generator().manual_seed(2))
    rows = torch.randint(count, (1000, count), generator=torch.Generator().manual_seed(9))
    means = values.double().numpy()[rows.numpy()].mean(1)
    low, high = np.percentile(means, [2.5, 97.5])
    assert mean_half_width(values, seed=9) == pytest.approx((high - low) / 2, rel=1e-9)
