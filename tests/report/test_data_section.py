"""The section of the page about the data."""

import json

import numpy as np
import pytest
import torch

from latentlab.report.comparison import Comparison
from latentlab.report.data_section import MAX_CLASSES, data_of, read_summary
from latentlab.report.pictures import Pictures
from latentlab.visualization.grids import save_grid

SUMMARY = {
    "counts": {"train": 1500, "val": 5, "test": 10},
    "classes": {"cat": {"train": 1000, "val": 3, "test": 10}, "dog": {"train": 500, "val": 2}},
    "widths": [9, 20, 640],
    "heights": [9, 12, 480],
    "upscaled": 0,
    "frames_dropped": 540,
    "unreadable": 1,
    "near_black": 2,
    "near_white": 0,
    "duplicates": {"copies": 1234, "test": 3},
    "groups": 4,
    "sentences": ["3 test images equal a training image"],
}


@pytest.fixture
def comparison(tmp_path) -> Comparison:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "summary.json").write_text(json.dumps(SUMMARY))
    return Comparison([], [], {}, tmp_path)


def test_the_section(comparison) -> None:
    generator = torch.Generator().manual_seed(0)
    images = torch.rand(16, 3, 8, 8, generator=generator)
    save_grid(images, comparison.folder / "data" / "examples.png", columns=8)
    pictures = Pictures()
    found = data_of(comparison, pictures)
    assert found is not None
    assert found["columns"] == ["training", "validation", "test"]
    assert found["table"] == [
        ["all images", "1,500", "5", "10"],
        ["cat", "1,000", "3", "10"],
        ["dog", "500", "2", "0"],
    ]
    facts = dict(found["facts"])
    assert facts["Original size, median, px"] == "20 × 12"
    assert facts["Original widths"] == "9 to 640"
    assert facts["Original heights"] == "9 to 480"
    assert facts["Frames not used"] == "540"
    assert facts["Copies, equal pixels"] == "1,234"
    assert found["sentences"] == SUMMARY["sentences"]
    assert (found["figure"]["w"], found["figure"]["h"]) == (8 * 8 + 7, 2 * 8 + 1)
    assert found["figure"]["src"] in pictures.content


def test_many_classes_are_cut_and_counted(comparison) -> None:
    classes = {str(n): {"train": n} for n in np.arange(50).tolist()}
    content = SUMMARY | {"classes": classes, "widths": [8, 8, 8], "heights": [9, 9, 9]}
    (comparison.folder / "data" / "summary.json").write_text(json.dumps(content))
    found = data_of(comparison, Pictures())
    assert found is not None
    assert len(found["table"]) == 1 + MAX_CLASSES + 1
    assert found["table"][-1] == ["30 more classes", "…", "…", "…"]
    assert found["facts"][0] == ("Original size, px", "8 × 9")
    assert found["figure"] is None


@pytest.mark.parametrize("content", [None, "", "[]", "{}", "{"])
def test_without_a_summary_there_is_no_section(tmp_path, content) -> None:
    if content is not None:
        (tmp_path / "data").mkdir()
        (tmp_path / "data" / "summary.json").write_text(content)
    assert read_summary(tmp_path / "data") == {}
    assert data_of(Comparison([], [], {}, tmp_path), Pictures()) is None
