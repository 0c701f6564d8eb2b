"""Models side by side: values, differences, configs, formats."""

import json
import re

import numpy as np
import pytest

from latentlab.report.difference_intervals import Measured
from latentlab.report.differences import FORMATS, config_differences, side_by_side
from latentlab.report.metrics import Row

N = 400


def one(row, **stored):
    return Measured(row, {0: row.values}, **stored)


@pytest.fixture
def result():
    rng = np.random.default_rng(1)
    a = rng.gamma(2.0, 1.0, N)
    b = a - 0.5 + 0.01 * rng.standard_normal(N)
    first = Row("vae", "VAE", "VAE", {"fid": 20.0, "reconstruction_sse": a.mean(), "ssim": 0.5})
    other = Row("my_vae", "Mine", "VAE", {"fid": 18.0, "reconstruction_sse": b.mean()})
    configs = [{"model": {"beta": 1, "lr": 0.1}}, {"model": {"beta": 4, "lr": 0.1, "new": [1]}}]
    models = [
        one(first, arrays={"reconstruction_sse": a}),
        one(other, arrays={"reconstruction_sse": b}),
    ]
    return side_by_side(models, configs, ["a note"])


def test_a_difference_is_the_other_model_minus_the_first(result):
    rows = {row.metric.key: row for row in result.rows}
    assert rows["fid"].differences["my_vae"].value == -2.0
    assert rows["fid"].differences["my_vae"].interval is None
    assert rows["ssim"].differences == {}, "the other model has no such value"
    sse = rows["reconstruction_sse"].differences["my_vae"]
    assert sse.interval is not None
    assert sse.interval[0] < sse.value < sse.interval[1]
    assert (sse.over, sse.counts) == ("images", (N,))


def test_pairs_make_the_interval_short(result):
    """Both models make large errors for the same images: a difference of 0.5 is clear."""
    rows = {row.metric.key: row for row in result.rows}
    low, high = rows["reconstruction_sse"].differences["my_vae"].interval
    assert high - low < 0.01


def test_only_different_settings_are_listed():
    found = config_differences(
        [{"a": {"b": 1, "c": [1]}, "title": "x"}, {"a": {"b": 2, "c": [1]}, "d": None}]
    )
    assert found == {"a.b": [1, 2]}


def test_likelihoods_of_different_kinds_are_not_subtracted():
    values = {"a": -100.0, "b": 500.0}
    models = [one(Row(n, n, "VAE", {"likelihood/elbo_nats": v})) for n, v in values.items()]
    (row,) = side_by_side(models, [{}, {}]).rows
    assert row.values == {"a": -100.0, "b": 500.0}
    assert row.differences == {}


def test_text_has_values_intervals_notes_and_settings(result):
    text = FORMATS["text"](result)
    line = next(line for line in text.splitlines() if line.startswith("SSE ↓"))
    assert "[−0.50" in line
    assert line.endswith("400 images")
    assert "n = 400 test images" in text
    assert "No interval: " in text, "FID was measured once"
    assert "a note" in text
    assert text.splitlines()[-1].split() == ["model.new", "–", "[1]"]
    assert "model.lr" not in text


def test_markdown_and_latex_have_equal_rows(result):
    tables = FORMATS["markdown"](result).split("\n\n")
    for table in (tables[0], tables[2]):
        assert len({line.count("|") for line in table.splitlines()}) == 1
    latex = FORMATS["latex"](result)
    rows = [line for line in latex.splitlines() if line.endswith(r"\\")]
    assert len({row.count(" & ") for row in rows}) == 2, "two tables"
    assert r"my\_vae" in latex
    assert not {"−", "↓", "–"} & set(latex)
    assert latex.count(r"\begin{tabular}") == latex.count(r"\end{tabular}") == 2


def test_json_has_full_precision(result):
    content = json.loads(FORMATS["json"](result))
    assert content["reference"] == "vae"
    sse = next(m for m in content["metrics"] if m["key"] == "reconstruction_sse")
    difference = sse["differences"]["my_vae"]
    assert (difference["over"], difference["counts"], difference["paired"]) == ("images", [N], True)
    expected = sse["values"]["my_vae"] - sse["values"]["vae"]
    assert difference["difference"] == pytest.approx(expected, rel=1e-12)
    assert content["config"]["model.beta"] == {"vae": 1, "my_vae": 4}


def test_three_models_have_two_differences():
    values = {"a": 1.0, "b": 2.0, "c": 4.0}
    models = [one(Row(name, name, "AE", {"fid": fid})) for name, fid in values.items()]
    text = FORMATS["text"](side_by_side(models, [{}] * 3))
    assert "b − a" in text
    assert "c − a" in text
    assert text.splitlines()[2].split()[-1] == "+3.0"


def test_several_trainings_are_shown_as_mean_and_deviation():
    """The differences are 1.9 and 2.1: their mean has a standard error of 0.1, times t = 12.7."""
    rows = [
        Row(name, name, "AE", {"fid": fid, "fid_std": 0.25, "num_trainings": 2})
        for name, fid in (("a", 10.0), ("b", 12.0))
    ]
    models = [
        Measured(row, {s: {"fid": row.values["fid"] + d} for s, d in ((0, -gap), (1, gap))})
        for row, gap in zip(rows, (0.1, 0.2), strict=True)
    ]
    text = FORMATS["text"](side_by_side(models, [{}, {}]))
    line = next(line for line in text.splitlines() if line.startswith("FID"))
    cells = ["10.0 ± 0.2", "12.0 ± 0.2", "+2.0", "[+0.7, +3.3]", "2 trainings"]
    assert re.split(r"  +", line) == ["FID ↓", *cells]
    assert "It contains the spread over trainings." in text


def test_the_test_of_right_answers_is_a_note():
    correct = np.array([1.0] * 90 + [0.0] * 10)
    models = [
        one(
            Row(name, name, "AE", {"probe_accuracy": values.mean()}),
            arrays={"probe_accuracy": values},
        )
        for name, values in (("a", correct), ("b", np.ones(100)))
    ]
    text = FORMATS["text"](side_by_side(models, [{}, {}]))
    assert (
        "McNemar's exact test that both are right equally often: Probe % of b: p = 0.002." in text
    )
