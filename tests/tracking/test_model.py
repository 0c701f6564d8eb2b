"""Logging the model of a run."""

from __future__ import annotations

from importlib.metadata import version
from pathlib import Path

import pytest


def test_model_is_logged_once_in_a_run(store, tmp_path: Path) -> None:
    """Running a command again, to send missing data, does not log a second model."""
    folder = tmp_path / "vae"
    folder.mkdir()
    (folder / "weights.pt").write_text("w")
    first = store.open_run()
    assert first.log_model(folder, image_shape=(1, 8, 8))
    run = store.continue_run(first.id)
    assert run.log_model(folder, image_shape=(1, 8, 8))
    assert len(store.client.get_run(run.id).outputs.model_outputs) == 1
    experiment = store.client.get_run(run.id).info.experiment_id
    assert len(store.client.search_logged_models([experiment])) == 1


def test_requirements_are_stored_and_not_looked_up_in_all_packages(
    store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mlflow.utils import requirements_utils

    def scan() -> None:
        raise AssertionError("MLflow reads the lists of files of all installed packages")

    monkeypatch.setattr(requirements_utils, "_init_packages_to_modules_map", scan)
    warnings: list[str] = []
    monkeypatch.setattr(requirements_utils._logger, "warning", warnings.append)
    folder = tmp_path / "vae"
    folder.mkdir()
    (folder / "weights.pt").write_text("w")
    run = store.open_run()
    assert run.log_model(folder, image_shape=(1, 8, 8))
    assert not warnings, "MLflow catches the error and warns"
    (output,) = store.client.get_run(run.id).outputs.model_outputs
    path = store.client.get_logged_model(output.model_id).artifact_location
    requirements = (Path(path.removeprefix("file://")) / "requirements.txt").read_text()
    assert f"torch=={version('torch').partition('+')[0]}" in requirements.splitlines()
