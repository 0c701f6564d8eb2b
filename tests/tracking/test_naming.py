"""The names of runs, in a store with earlier runs."""

from __future__ import annotations

import pytest

PARAMS = {
    "seed": 0,
    "model": {"class_path": "latentlab.models.vae.VAE", "init_args": {"lr": 0.002, "beta": 1.0}},
    "evaluation": {"seed": 0},
}


def with_values(**values):
    """PARAMS with other arguments of the model."""
    model = {**PARAMS["model"], "init_args": {**PARAMS["model"]["init_args"], **values}}
    return {**PARAMS, "model": model}


def name_of(store, run) -> str:
    return store.client.get_run(run.id).info.run_name


@pytest.fixture
def finished(store):
    run = store.open_run(params=PARAMS)
    assert name_of(store, run) == "vae"
    run.finish()
    return store


def test_a_run_with_the_same_params_has_the_name_only(finished) -> None:
    assert name_of(finished, finished.open_run(params=PARAMS)) == "vae"
    evaluation = {**PARAMS, "evaluation": {"seed": 7}, "title": "VAE"}
    assert name_of(finished, finished.open_run(params=evaluation)) == "vae", "equal training"


def test_changed_params_are_named(finished) -> None:
    run = finished.open_run(params=with_values(lr=0.001, beta=4.0))
    assert name_of(finished, run) == "vae · lr=0.001, beta=4.0"
    run.finish()
    again = finished.open_run(params=with_values(lr=0.001, beta=4.0))
    assert name_of(finished, again) == "vae · lr=0.001, beta=4.0", "compared with the first run"
    other = finished.open_run(name="gan", params=with_values(lr=9))
    assert name_of(finished, other) == "gan", "there is no earlier run of this name"


def test_at_most_three_changes_and_long_values_are_cut(finished) -> None:
    values = {"lr": 1, "beta": 2, "hidden": list(range(20)), "x": 1, "y": 2}
    name = name_of(finished, finished.open_run(params=with_values(**values)))
    assert name == "vae · lr=1, beta=2, hidden=[0, 1, 2, 3, 4, 5, 6, 7…, +2 more"


def test_classes_equal_last_parts_and_params_that_are_gone(finished) -> None:
    params = {
        "seed": 0,
        "model": {"class_path": "mine.Other", "init_args": {"lr": 0.002, "beta": 1.0}},
        "sampler": {"init_args": {"lr": 0.1}},
        "optim": {"lr": 0.2},
    }
    name = name_of(finished, finished.open_run(params=params))
    assert name == "vae · model=Other, sampler.lr=0.1, optim.lr=0.2"
    gone = {**PARAMS, "model": {**PARAMS["model"], "init_args": {"lr": 0.002}}}
    assert name_of(finished, finished.open_run(params=gone)) == "vae · beta=none"


def test_runs_that_did_not_finish_are_not_compared(finished) -> None:
    run = finished.open_run(name="gan", params=PARAMS)
    run.finish("FAILED")
    other = finished.open_run(name="gan", params=with_values(lr=1))
    assert name_of(finished, other) == "gan"
