"""Logging the model of a run."""

from __future__ import annotations

from pathlib import Path


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
