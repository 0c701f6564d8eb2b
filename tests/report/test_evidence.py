"""The section of the page about the metrics themselves."""

import numpy as np
import pytest
from scipy.stats import spearmanr

from latentlab.report.comparison import Comparison, ModelResults
from latentlab.report.evidence import evidence_of, rank_correlation
from latentlab.report.metrics import Row

EVIDENCE = {
    "damages": {
        "blur": {"fid": [9.0, 20.0], "rises": {"fid": True, "kid": False}, "first_seen": 0.1},
        "shift": {"fid": [9.0], "rises": {"fid": True, "kid": True}, "first_seen": None},
    },
    "floor_fid": [6.0, 9.5],
    "noise": {"uniform noise": {"precision": 0.9, "density": 0.5}},
    "effective_dimension": 6.5,
    "num_images": 500,
    "unreliable": {"precision": "uniform noise has a precision of 0.90 on these images"},
}


def comparison(tmp_path, evidence):
    rng = np.random.default_rng(0)
    models = [
        ModelResults(
            Row(f"m{n}", "", "AE", {"fid": v, "class_fid": v**2, "pixel_fid": -v}),
            {},
            None,
            tmp_path,
        )
        for n, v in enumerate(rng.random(5).tolist())
    ]
    return Comparison(models, [], {}, tmp_path, evidence=evidence)


def test_the_section(tmp_path):
    found = evidence_of(comparison(tmp_path, EVIDENCE))
    assert found["sentences"][0].startswith("Precision cannot be trusted on these data: uniform")
    assert "below 8" in found["sentences"][-1]
    assert found["table"] == [
        ["blur", "9.0 · 20.0", "yes", "no", "10.0% of the side"],
        ["shift", "9.0", "yes", "yes", "none of these"],
    ]
    assert [row[1] for row in found["agreement"]] == ["1.00", "−1.00", "−1.00"]


def test_without_evidence_there_is_no_section(tmp_path):
    assert evidence_of(comparison(tmp_path, {})) is None


def test_the_rank_correlation_is_that_of_scipy():
    rng = np.random.default_rng(1)
    a, b = rng.integers(0, 6, 20), rng.integers(0, 6, 20)
    assert rank_correlation(a, b) == pytest.approx(spearmanr(a, b).statistic)
