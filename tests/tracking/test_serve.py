"""`latentlab serve`: the address of the model. tests/test_docs.py starts the server."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from latentlab.cli import main
from latentlab.tracking.serve import ServedModel, find_model
from latentlab.utils.errors import LatentlabError


@pytest.fixture
def logged(store, tmp_path: Path):
    """A project with a run folder whose model is in the store."""
    folder = store.root / "runs" / "vae"
    folder.mkdir(parents=True)
    (folder / "weights.pt").write_text("w")
    run = store.open_run()
    assert run.log_model(folder, image_shape=(1, 8, 8))
    run.finish()
    (folder / "mlflow_run_id").write_text(run.id + "\n")
    return store


def test_the_model_is_that_of_the_run(logged) -> None:
    served = find_model(logged.root, "vae")
    assert served == find_model(logged.root, str(logged.root / "runs" / "vae"))
    run_id = (logged.root / "runs" / "vae" / "mlflow_run_id").read_text().strip()
    (output,) = logged.client.get_run(run_id).outputs.model_outputs
    assert served.model_uri == f"models:/{output.model_id}"
    assert served.store_uri == f"sqlite:///{logged.root}/mlruns/mlflow.db"


def test_the_line_of_the_shell_names_the_store_but_no_password() -> None:
    line = ServedModel("models:/m-1", "https://me:secret@host/path").shell_line(5001)
    assert line == (
        "MLFLOW_TRACKING_URI=https://host/path mlflow models serve --env-manager local"
        " --host 127.0.0.1 --port 5001 --model-uri models:/m-1"
    )


def test_the_command_becomes_the_server_with_the_store_of_the_project(
    logged, monkeypatch, capsys, tmp_path
) -> None:
    called = {}

    def execv(program: str, argv: list[str]) -> None:
        import os

        called.update(argv=argv, uri=os.environ["MLFLOW_TRACKING_URI"], cwd=Path.cwd())

    monkeypatch.setattr("os.execv", execv)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "")
    monkeypatch.setenv("PATH", "/bin")
    monkeypatch.chdir(tmp_path)
    (logged.root / "params.yaml").touch()
    main(["serve", "vae", "--port", "5400", "--project", str(logged.root)])
    assert called["argv"][:4] == [sys.executable, "-m", "mlflow", "models"]
    assert called["argv"][called["argv"].index("--host") + 1] == "127.0.0.1"
    assert called["uri"] == f"sqlite:///{logged.root}/mlruns/mlflow.db"
    assert "http://127.0.0.1:54" in capsys.readouterr().out
    assert not list(tmp_path.glob("*.db"))


def test_what_is_missing_is_named(logged) -> None:
    with pytest.raises(LatentlabError, match=r"unknown model 'vea': did you mean 'vae'\?"):
        find_model(logged.root, "vea")
    folder = logged.root / "runs" / "gan"
    folder.mkdir()
    (folder / "mlflow_run_id").write_text("\n")
    with pytest.raises(LatentlabError, match=r"has no such run \(no id\): run `dvc repro -f eval"):
        find_model(logged.root, "gan")
    (folder / "mlflow_run_id").write_text(logged.open_run().id)
    with pytest.raises(LatentlabError, match=r"has the run, but no model of it"):
        find_model(logged.root, "gan")
