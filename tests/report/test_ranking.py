"""Best models, ties, intervals, and baselines that are better."""

from dataclasses import replace
from pathlib import Path

import pytest

from latentlab.report.comparison import Comparison, ModelResults
from latentlab.report.metrics import BY_KEY, Row
from latentlab.report.ranking import beaten_by, best_names, eligible, headlines


@pytest.fixture
def change(root, edit_json):
    """Change values in metrics.json of a model."""

    def apply(name, **values):
        edit_json(root / "results" / name / "metrics.json", lambda m: m.update(values))

    return apply


def best(comparison, key):
    (found,) = [each for each in headlines(comparison) if each.key == key]
    return found


def model_of(comparison, name):
    return next(model for model in comparison.models if model.row.name == name)


def test_headlines_leave_out_models_that_a_baseline_beats(root, read):
    comparison = read(root)
    assert best(comparison, "fid").best.row.name == "dcgan"
    # PCA-16 has 0.0119: of the models with an encoder only stacked_ae is better
    mse = best(comparison, "reconstruction_mse")
    assert (mse.best.row.name, mse.value, mse.baseline) == ("stacked_ae", "0.0092", "PCA-16 0.0119")
    probe = best(comparison, "probe_accuracy")
    assert (probe.best.row.name, probe.baseline) == ("dcgan", "raw pixels 95.7")


def test_no_headline_if_a_baseline_beats_every_model(root, read, change):
    for name in ("linear_ae", "stacked_ae", "vae", "dcgan"):
        change(name, probe_accuracy=0.5)
    assert "probe_accuracy" not in [each.key for each in headlines(read(root))]


def test_a_code_as_large_as_the_image_is_no_best_reconstruction(root, read, change):
    change("stacked_ae", latent_dim=64, reconstruction_mse=1e-6)
    comparison = read(root)
    stacked = model_of(comparison, "stacked_ae")
    assert not eligible(stacked, BY_KEY["reconstruction_mse"], comparison)
    assert eligible(stacked, BY_KEY["fid"], comparison), "samples do not profit from a large code"
    assert "stacked_ae" not in [each.best.row.name for each in headlines(comparison)]


def test_the_weakest_baseline_that_is_better_is_named(root, read, change):
    change("vae", fid=700.0)
    comparison = read(root)
    vae = model_of(comparison, "vae")
    assert beaten_by(vae, BY_KEY["fid"], comparison).name == "noise"
    assert beaten_by(vae, BY_KEY["probe_accuracy"], comparison).name == "PCA-16"
    assert beaten_by(vae, BY_KEY["train_seconds"], comparison) is None
    linear = model_of(comparison, "linear_ae")
    assert beaten_by(linear, BY_KEY["fid"], comparison) is None, "real images are no baseline"


def test_a_difference_that_is_not_printed_does_not_count(root, read, change):
    change("vae", reconstruction_mse=0.01191)
    comparison = read(root)
    assert beaten_by(model_of(comparison, "vae"), BY_KEY["reconstruction_mse"], comparison) is None


def row(name, key, value, half):
    return Row(
        name, name, "AE", {key: value, f"{key}_low": value - half, f"{key}_high": value + half}
    )


def results_of(values, key):
    """Models without files: name → (value, half width) of one metric."""
    return [ModelResults(row(n, key, *v), {}, None, Path()) for n, v in values.items()]


@pytest.mark.parametrize(("pixels", "beaten"), [(0.958, False), (0.959, True)])
def test_a_difference_within_its_interval_does_not_count(pixels, beaten):
    """Two accuracies with ± 0.6 %: their difference has ± 0.85 %."""
    key = "probe_accuracy"
    (model,) = results_of({"vae": (0.95, 0.006)}, key)
    comparison = Comparison([model], [row("pixels", key, pixels, 0.006)], {}, Path())
    assert (beaten_by(model, BY_KEY[key], comparison) is not None) == beaten


def test_models_equal_in_the_printed_digits_or_intervals_are_named_together(root, read, change):
    change("vae", fid=4.13001)
    others = [model.row.name for model in best(read(root), "fid").others]
    assert others == ["vae"]
    change("vae", fid=4.9, fid_low=4.0, fid_high=5.8)
    assert best(read(root), "fid").others == [], "one value has no interval"
    change("dcgan", fid_std=0.2)
    assert [model.row.name for model in best(read(root), "fid").others] == ["vae"]


def test_the_best_models_are_marked_with_ties(tmp_path):
    bounds = [(9.0, 11.0), (10.0, 12.0), (20.0, 22.0)]
    models = [
        ModelResults(
            Row(name, name, "AE", {"fid": (low + high) / 2, "fid_low": low, "fid_high": high}),
            {},
            None,
            tmp_path,
        )
        for name, (low, high) in zip("abc", bounds, strict=True)
    ]
    comparison = Comparison(models, [], {}, tmp_path)
    assert best_names(BY_KEY["fid"], comparison) == {"a", "b"}
    broken = replace(comparison, evidence={"unreliable": {"fid": "it does not rise"}})
    assert best_names(BY_KEY["fid"], broken) == set()
    assert best_names(BY_KEY["fid"], replace(comparison, models=models[:1])) == set()
    assert best_names(BY_KEY["latent_dim"], comparison) == set()


def test_a_value_whose_interval_reaches_zero_is_not_among_the_best():
    """0.24 ± 0.62 of recall overlaps every interval: one of its draws was another."""
    models = results_of({"a": (0.708, 0.019), "b": (0.70, 0.02), "c": (0.241, 0.624)}, "recall")
    assert best_names(BY_KEY["recall"], Comparison(models, [], {}, Path())) == {"a", "b"}
