"""The view of an experiment in MLflow's web page: its columns, its order and its first charts.

MLflow reads a shared view from a tag of the experiment. The address names the tag.
"""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import urlencode

KEY = "latentlab"
TAG = f"mlflow.sharedViewState.{KEY}"
COLUMNS = ("fid", "kid", "reconstruction_mse", "probe_accuracy")
CURVES = ("train/loss", "val/loss")
_HEADLINES, _SAMPLES, _CURVES = "headline metrics", "samples during training", "curves"


def view_tag() -> dict[str, str]:
    """Return the tag of an experiment that holds the view.

    The runs are sorted by FID. The charts compare the visible runs: bars of the metrics in the
    columns, the samples during training, curves on common axes.
    """
    bars = [_chart("BAR", _HEADLINES, name, metricKey=name) for name in COLUMNS]
    # the step of an image is the percentage of the training
    images = _chart(
        "IMAGE", _SAMPLES, "samples", imageKeys=["samples"], step=100, showRunParams=False
    )
    lines = [_line(name) for name in CURVES]
    state = {
        "orderByKey": _metric("fid"),
        "orderByAsc": True,
        "selectedColumns": [_metric(name) for name in COLUMNS],
        "compareRunCharts": [*bars, images, *lines],
        "isAccordionReordered": True,  # otherwise the sections are sorted by name
        "compareRunSections": [_section(name) for name in (_HEADLINES, _SAMPLES, _CURVES)],
    }
    return {TAG: json.dumps(state)}


def view_address(server: str, experiment_id: str) -> str:
    """Return the address of an experiment's runs with this view. `server`: http://…"""
    query = urlencode({"viewStateShareKey": KEY})
    return f"{server.rstrip('/')}/#/experiments/{experiment_id}/runs?{query}"


def _metric(name: str) -> str:
    return f"metrics.`{name}`"


def _section(name: str) -> dict[str, Any]:
    state = {"display": True, "isReordered": False, "deleted": False, "isGenerated": False}
    return {"uuid": name, "name": name, **state}


def _chart(kind: str, section: str, name: str, **settings: Any) -> dict[str, Any]:
    state = {"deleted": False, "isGenerated": False, "runsCountToCompare": 10}
    place = {"uuid": f"{kind} {name}", "type": kind, "metricSectionId": section}
    return {**place, "displayName": name, **state, **settings}


def _line(name: str) -> dict[str, Any]:
    return _chart(
        "LINE",
        _CURVES,
        name,
        metricKey=name,
        selectedMetricKeys=[name],
        lineSmoothness=0,
        xAxisScaleType="linear",
        scaleType="linear",
        range={},
        xAxisKey="step",
        selectedXAxisMetricKey="",
        yAxisKey="metric",
        yAxisExpressions=[],
        ignoreOutliers=False,
        useGlobalXaxisKey=True,
        useGlobalLineSmoothing=True,
    )
