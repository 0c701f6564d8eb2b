"""The differences on the page against those of `latentlab compare`."""

import json
from dataclasses import replace
from itertools import combinations

import numpy as np
import pytest

from latentlab.report import pairs
from latentlab.report.differences import side_by_side
from latentlab.report.metrics import BY_KEY, decimals_of
from latentlab.report.pairs import METHODS, pairs_of
from latentlab.report.ties import measured

NUM_TEST, NUM_FEW = 360, 72


@pytest.fixture
def stored(root, edit_json):
    """The root of a project whose GAN has reconstructions of the first test images only."""
    rng = np.random.default_rng(0)
    for index, name in enumerate(("linear_ae", "vae", "dcgan", "stacked_ae")):
        size = NUM_FEW if name == "dcgan" else NUM_TEST
        arrays = {"reconstruction_mse": rng.gamma(2, 0.01 + index / 100, size)}
        arrays["classifier_accuracy"] = (rng.random(size) < 0.9 - index / 50).astype(float)
        arrays["fid_halves"] = rng.normal(20 - index, 0.3, 30)
        if name != "stacked_ae":
            np.savez(root / "results" / name / "per_image.npz", **arrays)
        values = {key: float(arrays[key].mean()) for key in arrays if key != "fid_halves"}
        values |= {"num_reconstructed": size, "ci95": {"kid": 0.002, "recall": 0.01}}
        edit_json(root / "results" / name / "metrics.json", lambda m, v=values: m.update(v))
    return root


def cli(comparison, first, other):
    """Key → the difference that `latentlab compare first other` prints."""
    models = {model.row.name: measured(model) for model in comparison.models}
    result = side_by_side([models[first], models[other]], [{}, {}])
    return {row.metric.key: row.differences.get(other) for row in result.rows}


def test_the_page_has_the_differences_of_the_command(stored, read):
    comparison = read(stored)
    names = [model.row.name for model in comparison.models]
    rows = {row.name: row.values for row in comparison.rows}
    found, seen = pairs_of(comparison), set()
    for number, (first, other) in enumerate(combinations(names, 2)):
        for key, expected in cli(comparison, first, other).items():
            entry = found[key][number] if key in found else 0
            if expected is None or not entry:
                apart = rows[other].get(key, 0) - rows[first].get(key, 0)
                assert expected is None or expected.value == pytest.approx(apart), (key, number)
                assert expected is None or expected.interval is None
                continue
            metric = BY_KEY[key]
            half = 0.501 * 10 ** -decimals_of(metric, comparison.rows) / metric.factor
            numbers = np.array(entry[:3]) / metric.factor
            assert numbers == pytest.approx([expected.value, *expected.interval], abs=half)
            assert METHODS[entry[3]] == expected.over
            assert entry[4:] == (list(expected.counts) if expected.over == "images" else [])
            seen.add(expected.over)
    assert seen == {"images", "half-samples", "own intervals"}
    at = list(combinations(names, 2)).index(("vae", "dcgan"))
    assert found["classifier_accuracy"][at][4] == NUM_FEW


def test_several_trainings_come_before_images(stored, read):
    comparison = read(stored)
    models = []
    for model in comparison.models:
        other = replace(model.row, values={k: v * 1.1 for k, v in model.row.values.items()})
        trainings = {model.row.name: model.row, f"{model.row.name}@1": other}
        models.append(replace(model, trainings=trainings))
    entries = pairs_of(replace(comparison, models=models))["reconstruction_mse"]
    assert {METHODS[entry[3]] for entry in entries} == {"trainings"}


def test_many_models_and_many_images_are_no_burden(stored, read, monkeypatch):
    comparison = read(stored)
    expected = json.dumps(pairs_of(comparison))
    monkeypatch.setattr(pairs, "MAX_BYTES", 100)
    assert json.dumps(pairs_of(comparison)) == expected, "resampled in parts"
    monkeypatch.setattr(pairs, "MAX_MODELS", 3)
    assert pairs_of(comparison) == {}
