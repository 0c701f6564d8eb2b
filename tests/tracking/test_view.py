"""The view of an experiment: its tag, and the address that names the tag."""

from __future__ import annotations

import json
from urllib.parse import parse_qs, urlsplit

from latentlab.tracking.ui import newest_experiment
from latentlab.tracking.view import COLUMNS, TAG, view_address, view_tag


def test_the_address_names_the_tag_of_the_experiment(store) -> None:
    store.open_run()
    experiment = store.client.get_experiment_by_name("digits")
    assert newest_experiment(store.client) == [experiment.experiment_id]
    address = view_address("http://127.0.0.1:5000/", experiment.experiment_id)
    assert address.startswith(f"http://127.0.0.1:5000/#/experiments/{experiment.experiment_id}/")
    (key,) = parse_qs(urlsplit(urlsplit(address).fragment).query)["viewStateShareKey"]
    state = json.loads(experiment.tags[f"mlflow.sharedViewState.{key}"])
    assert state["selectedColumns"] == [f"metrics.`{name}`" for name in COLUMNS]
    assert (state["orderByKey"], state["orderByAsc"]) == ("metrics.`fid`", True)


def test_every_chart_stands_in_a_section() -> None:
    state = json.loads(view_tag()[TAG])
    sections = {section["uuid"] for section in state["compareRunSections"]}
    charts = state["compareRunCharts"]
    assert {chart["metricSectionId"] for chart in charts} == sections
    assert len({chart["uuid"] for chart in charts}) == len(charts)
    assert len(view_tag()[TAG]) <= 20_000, "MLflow's limit of an experiment's tag"


def test_an_experiment_of_an_earlier_version_gets_the_view(store) -> None:
    store.client.create_experiment("digits")
    assert newest_experiment(store.client) == []
    store.open_run()
    assert store.client.get_experiment_by_name("digits").tags[TAG] == view_tag()[TAG]
