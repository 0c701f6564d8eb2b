"""Intervals of differences, against SciPy and against simulated sampling."""

import numpy as np
import pytest
from scipy import stats

from latentlab.report.difference_intervals import (
    Difference,
    Measured,
    common,
    difference,
    mcnemar,
    method_notes,
    over_half_samples,
)
from latentlab.report.metrics import Row

RNG = np.random.default_rng(0)


def measured(name, values, *, seeds=None, **stored):
    """A model whose trainings have these values of one metric: {key: (values of the trainings)}."""
    count = len(next(iter(values.values())))
    trainings = {
        seed: {key: each[i] for key, each in values.items()}
        for i, seed in enumerate(seeds or range(count))
    }
    means = {key: float(np.mean(each)) for key, each in values.items()}
    return Measured(Row(name, name, "AE", means), trainings, **stored)


A, B = np.array([20.0, 22.5, 19.0]), np.array([17.5, 20.5, 16.0])


def test_equal_seeds_give_the_paired_t_interval():
    found = difference("fid", measured("a", {"fid": A}), measured("b", {"fid": B}))
    expected = stats.ttest_rel(B, A).confidence_interval(0.95)
    assert found.value == pytest.approx((B - A).mean())
    assert found.interval == pytest.approx((expected.low, expected.high), rel=1e-9)
    assert (found.over, found.counts, found.paired) == ("trainings", (3, 3), True)


@pytest.mark.parametrize("b", [B, np.array([17.5, 20.5, 16.0, 18.0, 30.0])])
def test_other_seeds_give_welchs_interval(b):
    other = measured("b", {"fid": b}, seeds=range(5, 5 + len(b)))
    found = difference("fid", measured("a", {"fid": A}), other)
    expected = stats.ttest_ind(b, A, equal_var=False).confidence_interval(0.95)
    assert found.interval == pytest.approx((expected.low, expected.high), rel=1e-9)
    assert (found.counts, found.paired) == ((3, len(b)), False)


def test_trainings_count_before_images_and_one_training_does_not():
    """A training more changes what the interval is about: of two trainings there is a spread."""
    images = {"reconstruction_sse": RNG.random(50)}
    several = measured("a", {"reconstruction_sse": A}, arrays=images)
    other = measured("b", {"reconstruction_sse": B}, arrays=images)
    assert difference("reconstruction_sse", several, other).over == "trainings"
    one = measured("b", {"reconstruction_sse": B[:1]}, arrays=images)
    assert difference("reconstruction_sse", several, one).over == "images"
    failed = measured("b", {"reconstruction_sse": [17.5, np.nan, 16.0]}, arrays=images)
    assert difference("reconstruction_sse", several, failed).over == "images"


def test_values_that_do_not_vary_have_no_interval():
    """Numbers of the config, and recalls of 0: an interval of width 0 would claim certainty."""
    one = measured("a", {"latent_dim": [20.0, 20.0]})
    other = measured("b", {"latent_dim": [32.0, 32.0]})
    assert difference("latent_dim", one, other) == Difference(12.0)
    ends = {"recall": [0.0], "recall_low": [0.0], "recall_high": [0.0]}
    assert difference("recall", measured("a", ends), measured("b", ends)) == Difference(0.0)


def test_models_are_compared_on_the_images_that_both_have():
    """The second model was measured on rows 30, 10 and 20, in this order."""
    all_rows = {"ssim": np.arange(40.0)}
    some = {"ssim": np.array([31.0, 12.0, 23.0]), "image_index": np.array([30, 10, 20])}
    a, b = common("ssim", all_rows, some)
    assert a.tolist() == [10.0, 20.0, 30.0]
    assert b.tolist() == [12.0, 23.0, 31.0]
    one = measured("a", {"ssim": [19.5]}, arrays=all_rows)
    found = difference("ssim", one, measured("b", {"ssim": [22.0]}, arrays=some))
    assert found.value == (2 + 3 + 1) / 3, "of these images, not 22 − 19.5"
    assert found.counts == (3,)


def test_without_an_index_the_images_are_the_first_ones():
    """Also of an array of all images beside those of a part, which have an index."""
    a, b = common("ssim", {"ssim": np.arange(40.0)}, {"ssim": np.arange(3.0)})
    assert a.tolist() == b.tolist() == [0, 1, 2]
    arrays = {"probe_accuracy": np.ones(40), "image_index": np.array([3, 5])}
    a, b = common("probe_accuracy", arrays, {"probe_accuracy": np.zeros(40)})
    assert len(a) == len(b) == 40


@pytest.mark.parametrize("other", [{}, {"ssim": np.array([1.0, np.nan, 2])}, {"ssim": np.ones(1)}])
def test_without_pairs_there_is_a_difference_and_no_interval(other):
    one = measured("a", {"ssim": [5.0]}, arrays={"ssim": np.arange(6.0)})
    assert difference("ssim", one, measured("b", {"ssim": [7.5]}, arrays=other)) == Difference(2.5)


def test_mcnemar_is_the_exact_binomial_test():
    """Only the 12 + 4 images count that one model alone gets right."""
    both, only_a, only_b, none = 70, 12, 4, 14
    a = np.repeat([1, 1, 0, 0], [both, only_a, only_b, none])
    b = np.repeat([1, 0, 1, 0], [both, only_a, only_b, none])
    expected = stats.binomtest(only_b, only_a + only_b, 0.5).pvalue
    assert mcnemar(a, b) == pytest.approx(expected, rel=1e-12)
    assert mcnemar(b, a) == pytest.approx(expected, rel=1e-12)
    assert mcnemar(a, a) == 1.0
    first = measured("a", {"probe_accuracy": [a.mean()]}, arrays={"probe_accuracy": a})
    other = measured("b", {"probe_accuracy": [b.mean()]}, arrays={"probe_accuracy": b})
    found = difference("probe_accuracy", first, other)
    assert found.p_value == pytest.approx(expected)
    assert found.value == pytest.approx(-0.08)


def test_half_samples_estimate_the_error_of_the_whole_sample():
    """Of a mean over 400 images, whose standard error is known: σ / √400.

    So the interval has a half width of 1.96 σ/20. Divided by √30 it would be five times too short.
    """
    images = RNG.normal(0.0, 3.0, 400)
    halves = np.array([RNG.permutation(images)[:200].mean() for _ in range(2000)])
    one = measured("a", {"fid": [10.0]}, arrays={"fid_halves": np.zeros(2000)})
    other = measured("b", {"fid": [12.0]}, arrays={"fid_halves": halves + 2.0})
    found = over_half_samples("fid", one, other)
    low, high = found.interval
    assert (high - low) / 2 == pytest.approx(1.96 * images.std(ddof=1) / 20, rel=0.05)
    assert (high + low) / 2 == pytest.approx(found.value) == 2.0


def test_the_draws_of_samples_add_their_error_to_that_of_the_half_samples():
    """Here the half-samples agree, so only the standard errors of the means over draws are left."""
    draws = (np.array([1.0, 2.0, 3.0, 6.0]), np.array([5.0, 5.5]))
    halves = np.arange(30.0)
    models = [
        measured(name, {"fid": [each.mean()]}, arrays={"fid_halves": halves, "fid_draws": each})
        for name, each in zip("ab", draws, strict=True)
    ]
    low, high = over_half_samples("fid", *models).interval
    errors = [stats.sem(each) for each in draws]
    assert (high - low) / 2 == pytest.approx(1.96 * np.hypot(*errors), rel=1e-4)


def test_half_samples_are_for_fid_alone_and_of_equal_number():
    halves = {"fid_halves": np.arange(30.0)}
    one = measured("a", {"fid": [10.0], "kid": [1.0]}, arrays=halves)
    other = measured("b", {"fid": [10.0], "kid": [1.0]}, arrays={"fid_halves": np.arange(20.0)})
    assert over_half_samples("fid", one, other) is None
    assert over_half_samples("kid", one, one) is None
    assert over_half_samples("fid", one, one).interval == (0.0, 0.0), "equal errors cancel"


def test_the_intervals_of_two_models_add_as_independent_errors():
    one = measured("a", {"kid": [2.0], "kid_low": [-1.0], "kid_high": [5.0]})
    other = measured("b", {"kid": [7.0], "kid_low": [3.0], "kid_high": [11.0]})
    found = difference("kid", one, other)
    assert found == Difference(5.0, (0.0, 10.0), "own intervals")
    assert difference("kid", one, measured("b", {"kid": [7.0]})) == Difference(5.0)


def test_notes_explain_the_kinds_of_intervals_that_are_there():
    paired = Difference(1.0, (0.5, 1.5), "trainings", (3, 3), True)
    images = Difference(1.0, (0.5, 1.5), "images", (1000,), True)
    notes = method_notes([paired, images, Difference(1.0)])
    assert [note.split(":")[0] for note in notes] == ["trainings", "images"]
    assert "n = 1,000 test images" in notes[1]
    assert method_notes([Difference(1.0)]) == []
