"""Where the store is, and what happens to it on disk."""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import url2pathname

import pytest

from latentlab import tracking
from latentlab.contracts import LatentlabError


def test_store_lies_in_the_project_wherever_the_process_stands(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir("/")
    assert tracking.tracking_uri(tmp_path) == f"sqlite:///{tmp_path}/mlruns/mlflow.db"
    monkeypatch.setenv("DVC_ROOT", str(tmp_path / "other"))
    assert tracking.tracking_uri(tmp_path) == f"sqlite:///{tmp_path}/other/mlruns/mlflow.db"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://host:1")
    assert tracking.tracking_uri(tmp_path) == "http://host:1"


def test_a_relative_root_becomes_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert tracking.tracking_uri(Path(".")) == f"sqlite:///{tmp_path}/mlruns/mlflow.db"


@pytest.mark.parametrize("name", ["50%20off", "what?"])
def test_folder_names_that_sqlite_addresses_cannot_carry(tmp_path: Path, name: str) -> None:
    with pytest.raises(LatentlabError, match="no sqlite address can carry: rename the folder"):
        tracking.tracking_uri(tmp_path / name)


def test_heavy_libraries_are_imported_at_first_use() -> None:
    """At the top they would cost every stage, and --help, more than a second each."""
    code = """if True:
        import sys, latentlab.tracking
        print(*{"mlflow", "torch", "lightning", "numpy"} & {*sys.modules})
    """
    path = str(Path(tracking.__file__).parents[2])
    ran = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=True,
    )
    assert ran.stdout == "\n"


# --- on disk


def test_a_moved_project_keeps_its_artifacts(store, tmp_path: Path) -> None:
    from mlflow.tracking._tracking_service import utils

    text, folder = tmp_path / "x.txt", tmp_path / "vae"
    text.write_text("x")
    folder.mkdir()
    (folder / "weights.pt").write_text("w")
    run = store.open()
    run.log_artifact(text)
    run.log_model(folder, image_shape=(1, 8, 8))
    run.finish()

    new = tmp_path / "elsewhere, with a#b ü"
    shutil.move(store.root, new)
    utils._artifact_repos_cache.clear()  # as the next process would find it
    moved = type(store)(new)
    late = moved.go_on(run.id)
    text.write_text("y")
    late.log_artifact(text, "late")

    with closing(sqlite3.connect(new / "mlruns" / "mlflow.db")) as database:
        for table, column in tracking.embedded.LOCATIONS:
            for (place,) in database.execute(f"SELECT {column} FROM {table}"):
                assert str(store.root) not in place
    there = moved.client
    assert {f.path for f in there.list_artifacts(run.id)} == {"x.txt", "late"}
    (output,) = there.get_run(run.id).outputs.model_outputs
    model = there.get_logged_model(output.model_id)
    place = Path(url2pathname(urlsplit(model.artifact_location).path))
    assert place.is_relative_to(new)
    assert (place / "artifacts" / "vae" / "weights.pt").read_text() == "w"


def test_locations_of_others_are_left_alone(store) -> None:
    store.open()
    foreign = {"a": "s3://bucket/mlruns/artifacts", "b": f"file://{store.root}x/mlruns/artifacts2"}
    for name, place in foreign.items():
        store.client.create_experiment(name, artifact_location=place)
    store.open()
    for name, place in foreign.items():
        assert store.client.get_experiment_by_name(name).artifact_location == place


@pytest.mark.parametrize("case", ["garbage", "folder", "mlruns is a file"])
def test_a_store_that_cannot_be_opened_says_so_at_once(
    case: str, new_store, tmp_path: Path
) -> None:
    if case == "mlruns is a file":
        (tmp_path / "mlruns").touch()
    elif case == "folder":
        (tmp_path / "mlruns" / "mlflow.db").mkdir(parents=True)
    else:
        (tmp_path / "mlruns").mkdir()
        (tmp_path / "mlruns" / "mlflow.db").write_bytes(b"no database" * 100)
    with pytest.raises(LatentlabError, match=r"store sqlite:///.*mlflow\.db does not work: "):
        new_store.open()


def test_a_store_named_by_address_keeps_artifacts_in_the_project(
    store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "cwd").mkdir()
    monkeypatch.chdir(tmp_path / "cwd")
    shutil.copy(store.root / "mlruns" / "mlflow.db", tmp_path / "mine.db")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mine.db")
    (tmp_path / "x.txt").touch()
    run = store.open()
    run.log_artifact(tmp_path / "x.txt")
    assert (store.root / "mlruns" / "artifacts" / run.id / "artifacts" / "x.txt").exists()
    assert not any((tmp_path / "cwd").iterdir())
