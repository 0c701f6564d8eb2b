"""Means and deviations over several trainings, against NumPy and by hand."""

import csv
import io
import json
import math
import shutil

import numpy as np
import pytest

from latentlab.cli.results import as_json, as_markdown
from latentlab.report.comparison import comparison_csv, read_comparison
from latentlab.report.facts import facts_of
from latentlab.report.metrics import BY_KEY, Row, decimals_of
from latentlab.report.page import render_page
from latentlab.report.seeds import (
    averaged,
    half_width,
    interval_of,
    spread_note,
    spreads,
    text_with_spread,
)
from latentlab.report.view import cell
from latentlab.utils.errors import LatentlabError

FIDS = (20.0, 23.0, 17.5)


def rows(*fids, **same):
    return [Row("vae", "VAE", "VAE", {"fid": fid, **same}) for fid in fids]


def test_the_deviation_is_that_of_one_training():
    spread = spreads([row.values for row in rows(*FIDS)])["fid"]
    assert spread.mean == pytest.approx(np.mean(FIDS))
    assert spread.std == pytest.approx(np.std(FIDS, ddof=1)), "n − 1, not divided by √n"
    assert spread.n == 3
    assert spreads([{"fid": 1.0}]) == {}


def test_a_failed_training_is_not_left_out():
    found = spreads([{"fid": 1.0, "kid": 2.0}, {"fid": math.nan}])
    assert list(found) == ["fid"], "KID was not measured in both"
    assert math.isnan(found["fid"].mean)
    assert math.isnan(found["fid"].std)


def test_the_interval_of_one_training_does_not_belong_to_the_mean():
    first, *others = rows(*FIDS, fid_low=19.0, fid_high=21.0, num_parameters=100.0)
    row = averaged(first, others)
    assert set(row.values) == {"fid", "fid_std", "num_parameters", "num_trainings"}
    assert row.values["num_trainings"] == 3
    assert text_with_spread(row, BY_KEY["fid"], 1) == "20.2 ± 2.8"
    assert text_with_spread(row, BY_KEY["num_parameters"], 0) == "100", "of the config"
    alone = averaged(first, [])
    assert text_with_spread(alone, BY_KEY["fid"], 1) == "20.0 ± 1.0"
    assert alone.values["num_trainings"] == 1


def test_equal_values_of_all_trainings_have_the_deviation_0():
    first, *others = rows(20.0, 20.0, latent_dim=8.0, num_samples=100.0)
    row = averaged(first, others)
    assert set(row.values) == {"fid", "fid_std", "latent_dim", "num_samples", "num_trainings"}
    assert text_with_spread(row, BY_KEY["fid"], 1) == "20.0 ± 0.0"
    assert text_with_spread(row, BY_KEY["latent_dim"], 0) == "8"
    assert "standard deviation" in spread_note([row], ["fid"])


def test_an_interval_is_given_by_its_ends_or_by_a_standard_deviation():
    given = {"fid": 2.0, "fid_low": 1.0, "fid_high": 4.0, "fid_std": 9.0}
    assert interval_of(given, "fid") == (1.0, 4.0)
    assert half_width(given, "fid") == 1.5
    assert interval_of({"fid": 2.0, "fid_std": 0.5}, "fid") == (1.5, 2.5)
    assert half_width({"fid": 2.0, "fid_std": 0.5}, "fid") == 0.5
    assert interval_of({"fid": 2.0, "fid_std": 0.0}, "fid") == (2.0, 2.0)
    for values in ({}, {"fid": 2.0}, {"fid_std": 0.5}):
        assert interval_of(values, "fid") is half_width(values, "fid") is None
    failed = {"fid": float("nan"), "fid_std": float("nan")}
    assert text_with_spread(Row("vae", "VAE", "VAE", failed), BY_KEY["fid"], 1) == "NaN"


def test_a_table_says_what_its_plus_minus_is():
    first, *others = rows(*FIDS, fid_low=19.0, fid_high=21.0)
    one, several = averaged(first, []), averaged(first, others)
    assert half_width(one.values, "fid") == 1.0
    assert "95 % interval" in spread_note([one], ["fid"])
    assert "standard deviation" in spread_note([several], ["fid"])
    both = spread_note([one, several], ["fid"])
    assert both.index("n > 1: the standard") < both.index("other ±: half of the 95 % interval")
    assert spread_note([one], ["kid"]) == ""


@pytest.fixture
def seeded(root, project_of):
    """The evaluated project with a second training of vae, whose FID is 4 larger."""
    folder = shutil.copytree(root / "results" / "vae", root / "results" / "vae@1")
    metrics = json.loads((folder / "metrics.json").read_text())
    (folder / "metrics.json").write_text(json.dumps({**metrics, "fid": metrics["fid"] + 4}))
    project = project_of(root)
    project.more_seeds = (1,)
    return project, folder


def test_the_row_of_a_model_has_the_mean_of_its_trainings(seeded):
    project, _ = seeded
    comparison = read_comparison(project, outdated=())
    vae = next(model for model in comparison.models if model.row.name == "vae")
    first = vae.trainings["vae"].values["fid"]
    assert list(vae.trainings) == ["vae", "vae@1"]
    assert vae.row.values["fid"] == first + 2
    assert vae.row.values["fid_std"] == pytest.approx(8**0.5)
    assert "dcgan@1" in comparison.pending, "not measured yet"
    facts = {name: (value, more) for name, value, more in facts_of(comparison)}
    assert facts["Seed of the training"][0] == "7, 1"
    assert facts["± with n > 1"][0] == "standard deviation"
    line = next(line for line in comparison_csv(comparison).splitlines() if line.startswith("vae,"))
    assert f",{first + 2!r}," in line


def test_a_metric_that_is_equal_in_all_trainings_has_plus_minus_0_in_every_format(seeded):
    comparison = read_comparison(seeded[0], outdated=())
    vae = comparison.models[list(seeded[0].models).index("vae")].row
    decimals = decimals_of(BY_KEY["kid"], comparison.rows)
    zero = f"{0:.{decimals}f}"
    assert vae.values["kid_std"] == 0
    assert cell(vae, BY_KEY["kid"], comparison)["spread"] == zero
    assert "spread" not in cell(vae, BY_KEY["latent_dim"], comparison)
    for text in (as_markdown(comparison, [BY_KEY["kid"]]), render_page(comparison)):
        assert f"± {zero}" in text
    rows_of_csv = csv.DictReader(io.StringIO(comparison_csv(comparison)))
    (row,) = [row for row in rows_of_csv if row["model"] == "vae"]
    assert row["kid_std"] == "0.0"
    (stored,) = [r for r in json.loads(as_json(comparison))["rows"] if r["name"] == "vae"]
    assert stored["metrics"]["kid_std"] == 0


def test_a_training_with_other_settings_is_not_averaged(seeded):
    """After `dvc repro evaluate@vae` with another config, vae@1 is from before the change."""
    project, folder = seeded
    card = json.loads((folder / "card.json").read_text())
    config = {**card.get("config", {}), "seed": 1}
    (folder / "card.json").write_text(json.dumps({**card, "config": config}))
    project.models = {"vae": ""}
    assert read_comparison(project, outdated=()).pending == [], "the seed may differ"
    (folder / "card.json").write_text(json.dumps({**card, "config": {**config, "beta": 9}}))
    assert read_comparison(project, outdated=()).pending == ["vae@1"]
    (folder / "card.json").write_text(json.dumps({**card, "features": "inception"}))
    comparison = read_comparison(project, outdated=())
    assert comparison.pending == ["vae@1"]
    assert comparison.models[0].row.values["num_trainings"] == 1
    with pytest.raises(LatentlabError, match=r"vae@1 .*: run `dvc repro evaluate_seed@vae-1`"):
        read_comparison(project)
