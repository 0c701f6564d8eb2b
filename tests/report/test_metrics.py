"""Formats and best values of metrics."""

import math

import pytest

from latentlab.report.metrics import BY_KEY, METRICS, Row, best_of, decimals_of, text_of


def rows(key, values):
    return [Row(f"m{i}", f"M{i}", "AE", {key: value}) for i, value in enumerate(values)]


def test_values_that_are_not_finite_are_shown_and_never_best(root, read, edit_json):
    edit_json(root / "results" / "dcgan" / "metrics.json", lambda m: m.update(fid=float("nan")))
    edit_json(root / "results" / "vae" / "metrics.json", lambda m: m.update(fid=float("inf")))
    comparison = read(root)
    assert best_of(BY_KEY["fid"], comparison.rows) == 16.4
    texts = {row.name: text_of(BY_KEY["fid"], row.values.get("fid"), 1) for row in comparison.rows}
    assert texts["dcgan"] == "NaN"
    assert texts["vae"] == "∞"
    assert texts["pixels"] == "–"


def test_the_best_value_follows_the_direction_of_the_metric():
    assert best_of(BY_KEY["fid"], rows("fid", [3.0, 1.0, 2.0])) == 1.0
    assert best_of(BY_KEY["ssim"], rows("ssim", [0.3, 0.1, 0.2])) == 0.3
    assert best_of(BY_KEY["latent_dim"], rows("latent_dim", [3.0, 1.0])) is None
    assert best_of(BY_KEY["fid"], rows("fid", [3.0])) is None, "one model is no comparison"


def test_baselines_other_than_real_images_have_no_influence_on_the_decimals():
    kid = BY_KEY["kid"]
    models = rows("kid", [0.0123, 0.0234, 0.0345])
    noise = Row("noise", "Uniform noise", "", {"kid": 5000.0})
    assert decimals_of(kid, [*models, noise]) == decimals_of(kid, models) == 4
    assert decimals_of(kid, rows("kid", [math.nan])) == 2


@pytest.mark.parametrize(
    ("key", "value", "decimals", "text"),
    [
        ("probe_accuracy", 0.9876, 1, "98.8"),
        ("kid", -0.0002, 4, "−0.0002"),
        ("num_parameters", 652_824.0, 0, "653k"),
        ("fid", -math.inf, 1, "−∞"),
    ],
)
def test_a_value_is_printed_with_factor_and_sign(key, value, decimals, text):
    assert text_of(BY_KEY[key], value, decimals) == text


def test_metrics_have_different_keys_and_labels():
    assert len({metric.key for metric in METRICS}) == len(METRICS)
    assert len({metric.label for metric in METRICS}) == len(METRICS)
