"""The numbers that the page hands to its script."""

import json
import math
from dataclasses import replace

import numpy as np

from latentlab.config.goals import GOALS
from latentlab.report.pictures import Pictures
from latentlab.report.view import curves_of, presets_of, view_of
from latentlab.utils.files import write_arrays


def test_long_curves_are_thinned_but_keep_their_ends():
    long = [(float(i), 1.0 + i) for i in range(5000)]
    (chart,) = curves_of({"train/kl_nats": long, "val/kl_nats": long[:3]})
    assert chart["label"] == "KL (nats)"
    x, y = chart["lines"]["train"]
    assert len(x) == len(y) == 60
    assert (x[0], x[-1], y[-1]) == (0, 4999, 5000)
    assert chart["lines"]["val"] == [[0, 1, 2], [1, 2, 3]]


def test_values_that_are_not_finite_are_counted_and_not_plotted():
    (chart,) = curves_of({"train/loss": [(0.0, 1.0), (1.0, math.inf), (2.0, math.nan)]})
    assert chart["missing"] == 2
    assert chart["lines"]["train"] == [[0], [1]]


def test_the_numbers_are_valid_json_without_nan(root, read, edit_json):
    edit_json(root / "results" / "vae" / "metrics.json", lambda m: m.update(fid=math.nan))
    view = view_of(read(root), Pictures())
    json.dumps(view, allow_nan=False)
    vae = next(row for row in view["rows"] if row["name"] == "vae")
    assert vae["values"]["fid"] == {"v": None, "t": "NaN"}
    linear = next(row for row in view["rows"] if row["name"] == "linear_ae")
    assert linear["values"]["reconstruction_mse"]["beaten"] == "PCA-16"


def test_an_interval_is_part_of_a_value(root, read, edit_json):
    edit_json(root / "results" / "vae" / "metrics.json", lambda m: m.update(fid_std=0.4))
    view = view_of(read(root), Pictures())
    vae = next(row for row in view["rows"] if row["name"] == "vae")
    assert vae["values"]["fid"] == {"v": 9.8, "t": "9.8", "low": 9.4, "high": 10.2, "spread": "0.4"}


def test_a_goal_has_only_columns_that_the_table_has(root, read, edit_json):
    comparison = read(root)
    assert {"Overview", "Generate", "Compress"} <= {each["name"] for each in presets_of(comparison)}
    for row in comparison.rows:
        row.values.pop("likelihood/elbo_nats", None)
    compress = next(each for each in presets_of(comparison) if each["name"] == "Compress")
    assert "likelihood/elbo_nats" not in compress["keys"]
    assert compress["sort"] == "latent_dim"


def test_the_goal_of_the_project_comes_first(root, read):
    comparison = read(root)
    usual = [each["name"] for each in presets_of(comparison)]
    assert usual[0] == "Overview"
    first, *others = presets_of(replace(comparison, goal="reconstruct"))
    assert (first["name"], first["keys"][:2]) == ("Reconstruct", ["reconstruction_mse", "psnr_db"])
    assert [each["name"] for each in others] == [name for name in usual if name != "Reconstruct"]


def test_each_goal_is_a_choice_of_columns(root, read):
    shown = {each["name"]: each["keys"] for each in presets_of(read(root))}
    assert set(shown) == {"Overview", *(name.capitalize() for name in GOALS), "Cost"}
    assert shown["Generate"] == list(GOALS["generate"].columns)


def test_a_map_keeps_its_positions_and_range(root, read):
    points = np.array([[0, 1], [5, 3], [10, 2]], np.float32)
    write_arrays(
        root / "results" / "vae" / "images.npz", {"map": points, "map_is_code": np.array(1)}
    )
    view = view_of(read(root), Pictures())["models"]["vae"]
    assert view["map"] == {
        "x": [0, 500, 999],
        "y": [0, 999, 500],
        "range": [0, 10, 1, 3],
        "code": True,
    }
    assert "mapFigure" not in view
    write_arrays(root / "results" / "vae" / "images.npz", {"map": points * np.nan})
    assert "map" not in view_of(read(root), Pictures())["models"]["vae"]
