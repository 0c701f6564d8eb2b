"""The address of the store, stores that do not work, and the check of a tracking server."""

from __future__ import annotations

import http.server
import os
import shutil
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from latentlab import tracking
from latentlab.tracking.store import log_dataset
from latentlab.utils.errors import LatentlabError


def test_store_is_in_the_project_for_any_working_directory(
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
def test_folder_name_that_sqlite_does_not_allow_raises(tmp_path: Path, name: str) -> None:
    with pytest.raises(LatentlabError, match="not allowed in an SQLite address: rename the folder"):
        tracking.tracking_uri(tmp_path / name)


def test_heavy_libraries_are_imported_at_first_use() -> None:
    """Imported at the top, each would add more than a second to every stage and to --help."""
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


def test_the_experiment_of_mlflows_variables_is_used(
    store, monkeypatch: pytest.MonkeyPatch
) -> None:
    with tracking.store.open_store(store.root) as client:
        own = tracking.store.experiment_id(client, store.root, "latentlab-digits")
        monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", "thesis")
        thesis = tracking.store.experiment_id(client, store.root, "latentlab-digits")
        assert client.get_experiment(thesis).name == "thesis"
        assert thesis != own
        monkeypatch.setenv("MLFLOW_EXPERIMENT_ID", own)
        assert tracking.store.experiment_id(client, store.root, "x") == thesis, "the name wins"
        monkeypatch.delenv("MLFLOW_EXPERIMENT_NAME")
        assert tracking.store.experiment_id(client, store.root, "x") == own
    monkeypatch.setenv("MLFLOW_EXPERIMENT_ID", "987")
    with (
        pytest.raises(LatentlabError, match="does not work: No Experiment with id=987 exists"),
        tracking.store.open_store(store.root) as client,
    ):
        tracking.store.experiment_id(client, store.root, "x")


def test_a_variable_that_is_not_used_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    tracking.check_store(tmp_path)
    assert capsys.readouterr().err == ""
    monkeypatch.setenv("MLFLOW_RUN_ID", "0123")
    tracking.check_store(tmp_path)
    assert capsys.readouterr().err.startswith("MLFLOW_RUN_ID is not used: ")


@pytest.mark.parametrize("uri", ["file:///data/mlruns", "/data/mlruns", "mlruns", r"C:\mlruns"])
def test_a_folder_of_files_is_refused_with_the_remedy(
    uri: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It worked before MLflow 3. MLflow itself refuses it during the training."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    with pytest.raises(LatentlabError, match=r"mlflow migrate-filestore.*MLFLOW_ALLOW_FILE_STORE"):
        tracking.check_store(tmp_path)
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    tracking.check_store(tmp_path)


@pytest.mark.parametrize("uri", ["ftp://host/x", "sqlite3:///x.db", "postgres://u:secret@host/x"])
def test_an_unknown_kind_of_store_is_an_error(
    uri: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    with pytest.raises(LatentlabError, match=r"no store with \w+://\. .*https, sqlite") as caught:
        tracking.check_store(tmp_path)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("uri", ["sqlite:///x.db", "postgresql+psycopg2://u@h/x", "databricks-uc"])
def test_other_stores_pass_without_a_request(
    uri: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    tracking.check_store(tmp_path)


def test_a_missing_driver_of_a_database_is_named(
    tmp_path: Path, new_store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "psycopg2", None)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "postgresql+psycopg2://u:secret@localhost/x")
    with pytest.raises(LatentlabError, match="`pip install psycopg2`") as caught:
        new_store.open_run()
    assert "secret" not in str(caught.value)


def test_a_message_of_mlflow_is_cut_between_words() -> None:
    """The remedy stands at its end: it must fit."""
    remedy = "set `MLFLOW_ALLOW_FILE_STORE=true` to opt out"
    long = f"{'The filesystem tracking backend is in maintenance mode. ' * 9}{remedy}"
    assert tracking.store.short_message(ValueError(long)) == long
    cut = tracking.store.short_message(ValueError("some words " * 99))
    assert len(cut) <= tracking.store.MAX_MESSAGE
    assert cut.endswith((" some …", " words …"))


@pytest.mark.parametrize(
    ("error", "remedy"),
    [
        (ValueError("Detected out-of-date database schema (found version 1)"), "mlflow db upgrade"),
        (ValueError("Can't locate revision identified by '1'"), "mlflow db upgrade"),
        (ValueError("unable to open database file"), "permissions and free disk space"),
    ],
)
def test_the_remedy_is_that_of_the_cause(error: Exception, remedy: str) -> None:
    assert remedy in tracking.store._remedy(error)


# --- stores on disk ---


@pytest.mark.parametrize("case", ["garbage", "folder", "mlruns is a file"])
def test_store_that_cannot_be_opened_raises(case: str, new_store, tmp_path: Path) -> None:
    if case == "mlruns is a file":
        (tmp_path / "mlruns").touch()
    elif case == "folder":
        (tmp_path / "mlruns" / "mlflow.db").mkdir(parents=True)
    else:
        (tmp_path / "mlruns").mkdir()
        (tmp_path / "mlruns" / "mlflow.db").write_bytes(b"no database" * 100)
    with pytest.raises(LatentlabError, match=r"store sqlite:///.*mlflow\.db does not work: "):
        new_store.open_run()


def test_store_in_the_environment_has_its_artifacts_in_the_project(
    store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "cwd").mkdir()
    monkeypatch.chdir(tmp_path / "cwd")
    shutil.copy(store.root / "mlruns" / "mlflow.db", tmp_path / "mine.db")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mine.db")
    (tmp_path / "x.txt").touch()
    run = store.open_run()
    run.log_artifact(tmp_path / "x.txt")
    assert (store.root / "mlruns" / "artifacts" / run.id / "artifacts" / "x.txt").exists()
    assert not any((tmp_path / "cwd").iterdir())


# --- check_store: one request to a tracking server ---


@contextmanager
def answering(status: int) -> Iterator[str]:
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status if self.path == "/health" else 500)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None: ...

    with http.server.HTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"127.0.0.1:{server.server_port}"
        server.shutdown()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.mark.parametrize("status", [200, 401, 404])
def test_server_that_answers_passes(
    status: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with answering(status) as address:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://me:secret@{address}/")
        tracking.check_store(tmp_path)


def test_error_names_the_server_without_its_password(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with answering(503) as address:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://me:secret@{address}")
        with pytest.raises(
            LatentlabError, match=rf"http://{address} .*503.*unset MLFLOW"
        ) as caught:
            tracking.check_store(tmp_path)
    assert "secret" not in str(caught.value)


def test_unreachable_server_raises(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{free_port()}")
    with pytest.raises(LatentlabError, match=r"cannot be reached .*refused.*: start it"):
        tracking.check_store(tmp_path)


def test_server_that_does_not_answer_raises(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tracking.address, "_PROBE_SECONDS", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as server:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{server.getsockname()[1]}")
        with pytest.raises(LatentlabError, match=r"cannot be reached \(.*timed out"):
            tracking.check_store(tmp_path)


def test_dns_server_that_does_not_answer_raises(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A DNS lookup has no timeout. `check_store` must not wait for it."""
    hang = threading.Event()

    def probe(uri: str) -> Iterator[str]:
        hang.wait(30)
        yield from ()

    monkeypatch.setattr(tracking.address, "_PROBE_SECONDS", -0.9)
    monkeypatch.setattr(tracking.address, "_probe", probe)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://nowhere.invalid")
    with pytest.raises(LatentlabError, match=r"\(no answer in"):
        tracking.check_store(tmp_path)
    hang.set()


@pytest.mark.parametrize("uri", ["postgresql://nowhere.invalid/db", "sqlite:////nowhere/x.db"])
def test_other_stores_are_not_probed(
    uri: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    tracking.check_store(tmp_path)


def test_error_names_the_store_without_its_password(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    address = f"127.0.0.1:{free_port()}"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://me:secret@{address}")
    with pytest.raises(LatentlabError, match=f"store http://{address} does not work") as caught:
        tracking.open_run(tmp_path, experiment="e", name="vae", params={}, tags={})
    assert "secret" not in str(caught.value)


def test_a_data_set_that_another_stage_inserts_at_the_same_time_is_no_error(
    store, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore
    from sqlalchemy.exc import IntegrityError

    run = store.open_run()
    log_inputs, calls = SqlAlchemyStore.log_inputs, []

    def racing(*args: object, **options: object) -> None:
        calls.append(args)
        if len(calls) == 1:
            raise IntegrityError("INSERT", {}, Exception("UNIQUE constraint failed: datasets.name"))
        log_inputs(*args, **options)

    monkeypatch.setattr(SqlAlchemyStore, "log_inputs", racing)
    dataset = {"name": "digits", "digest": "0" * 64, "source": "digits", "counts": {"train": 3}}
    log_dataset(store.client, run.id, dataset)
    (logged,) = store.client.get_run(run.id).inputs.dataset_inputs
    assert logged.dataset.name == "digits"

    def broken(*args: object, **options: object) -> None:
        raise IntegrityError("INSERT", {}, Exception("NOT NULL constraint failed"))

    monkeypatch.setattr(SqlAlchemyStore, "log_inputs", broken)
    with pytest.raises(IntegrityError):
        log_dataset(store.client, run.id, dataset)
