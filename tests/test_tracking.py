"""The run, read back through MLflow's own client or from the database's tables."""

from __future__ import annotations

import ast
import http.server
import json
import math
import multiprocessing
import os
import shutil
import socket
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import url2pathname

import pytest

from latentlab import tracking
from latentlab.contracts import LatentlabError

DESCRIBED = {
    "experiment": "digits",
    "name": "vae",
    "params": {"seed": 0},
    "tags": {"family": "vae"},
}


@pytest.fixture(scope="module")
def empty_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project whose store has its tables, made once: the migration takes a second."""
    root = tmp_path_factory.mktemp("template")
    with pytest.MonkeyPatch.context() as patch:
        for name in ("MLFLOW_TRACKING_URI", "DVC_ROOT"):
            patch.delenv(name, raising=False)
        with tracking._store(root):
            return root


@pytest.fixture
def root(empty_store: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(empty_store, tmp_path / "project"))


def client(root: Path):
    from mlflow import MlflowClient

    return MlflowClient(tracking_uri=f"sqlite:///{root}/mlruns/mlflow.db")


def data(root: Path, run: tracking.Run):
    return client(root).get_run(run.id).data


def history(root: Path, run: tracking.Run, key: str) -> list[tuple[int, float]]:
    return [(m.step, m.value) for m in client(root).get_metric_history(run.id, key)]


class Broken:
    """A store that is gone: every call fails as MLflow fails, until it is mended."""

    def __init__(self, real) -> None:
        self.real, self.mended, self.calls = real, False, 0

    def __getattr__(self, name: str):
        from mlflow.exceptions import MlflowException

        def call(*args, **kwargs):
            self.calls += 1
            if not self.mended:
                raise MlflowException("connection refused\nlong story")
            return getattr(self.real, name)(*args, **kwargs)

        return call


# --- where the store is


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


def test_mlflow_is_imported_at_first_use() -> None:
    """At the top it would cost every stage, and --help, more than a second."""
    for node in ast.parse(Path(tracking.__file__).read_text()).body:
        if isinstance(node, ast.Import | ast.ImportFrom):
            assert "mlflow" not in ast.unparse(node)


# --- the probe


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
def test_a_server_that_answers_passes(
    status: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with answering(status) as place:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://me:secret@{place}/")
        tracking.check_store(tmp_path)


def test_a_broken_gateway_is_named_without_its_password(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with answering(503) as place:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://me:secret@{place}")
        with pytest.raises(LatentlabError, match=rf"http://{place} .*503.*unset MLFLOW") as caught:
            tracking.check_store(tmp_path)
    assert "secret" not in str(caught.value)


def test_an_unreachable_server_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{free_port()}")
    with pytest.raises(LatentlabError, match=r"cannot be reached .*refused.*: start it"):
        tracking.check_store(tmp_path)


def test_a_silent_server_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tracking, "_PROBE_SECONDS", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as server:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{server.getsockname()[1]}")
        with pytest.raises(LatentlabError, match=r"cannot be reached \(.*timed out"):
            tracking.check_store(tmp_path)


def test_a_silent_name_server_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The look-up of a name knows no time-out: the probe must not wait for it."""
    hang = threading.Event()

    def probe(uri: str) -> Iterator[str]:
        hang.wait(30)
        yield from ()

    monkeypatch.setattr(tracking, "_PROBE_SECONDS", -0.9)
    monkeypatch.setattr(tracking, "_probe", probe)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://nowhere.invalid")
    with pytest.raises(LatentlabError, match="no answer"):
        tracking.check_store(tmp_path)
    hang.set()


@pytest.mark.parametrize("uri", ["postgresql://nowhere.invalid/db", "sqlite:////nowhere/x.db"])
def test_other_stores_are_not_probed(
    uri: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    tracking.check_store(tmp_path)


# --- a run


def test_a_run_holds_its_params_tags_and_place(root: Path) -> None:
    params = {
        "seed": 0,
        "model": {"class_path": "VAE", "init_args": {"beta": 1e-3, "hidden": [4, 2], "none": None}},
        "empty": {},
        "long": "x" * 7000,
        "odd*key": True,
    }
    run = tracking.open_run(root, **{**DESCRIBED, "params": params})
    stored = client(root).get_run(run.id)
    assert stored.data.params == {
        "seed": "0",
        "model.class_path": "VAE",
        "model.init_args.beta": "0.001",
        "model.init_args.hidden": "[4, 2]",
        "model.init_args.none": "None",
        "empty": "{}",
        "long": "x" * 5999 + "…",
        "odd_key": "True",
    }
    assert stored.data.tags["family"] == "vae"
    assert (stored.info.run_name, stored.info.status) == ("vae", "RUNNING")
    assert stored.info.artifact_uri == f"file://{root}/mlruns/artifacts/{run.id}/artifacts"
    assert not any(socket.gethostname() in value for value in stored.data.tags.values())


def test_more_params_than_one_request_takes(root: Path) -> None:
    params = {f"p{i}": i for i in range(250)}
    run = tracking.open_run(root, **{**DESCRIBED, "params": params})
    assert data(root, run).params == {key: str(value) for key, value in params.items()}


def test_numbers_wait_for_flush(root: Path) -> None:
    run = tracking.open_run(root, **DESCRIBED)
    for step in range(1100):  # more than one request takes
        run.log({"train/loss": 1 / (step + 1), "val/loss": float(step)}, step)
    assert data(root, run).metrics == {}
    assert run.flush()
    assert history(root, run, "train/loss") == [(i, 1 / (i + 1)) for i in range(1100)]
    assert history(root, run, "val/loss") == [(i, float(i)) for i in range(1100)]


def test_non_finite_values_stay_what_they_are(root: Path) -> None:
    run = tracking.open_run(root, **DESCRIBED)
    for step, value in enumerate([1.0, math.inf, -math.inf, math.nan]):
        run.log({"a": value, "b": value if step == 3 else 0.0}, step)
        run.flush()
    values = [value for _, value in history(root, run, "a")]
    assert values[0] == 1.0
    assert all(math.isnan(value) for value in values[1:])
    tags = data(root, run).tags
    assert tags["non_finite.a"] == "inf at step 1"
    assert tags["non_finite.b"] == "nan at step 3"


@pytest.mark.parametrize("name", ["", "/a", "a//b", "a/../b", "a*", "a\nb", "x" * 251])
def test_names_that_mlflow_would_refuse(root: Path, name: str) -> None:
    """Both refuse, we at once: a buffered bad name would hold up all the others."""
    from mlflow.exceptions import MlflowException

    run = tracking.open_run(root, **DESCRIBED)
    with pytest.raises(LatentlabError, match="cannot name a metric or tag: use letters"):
        run.log({name: 1.0}, 0)
    with pytest.raises(LatentlabError, match="cannot name a metric or tag"):
        run.set_tags({name: "value"})
    with pytest.raises(MlflowException):
        client(root).log_metric(run.id, name, 1.0)


def test_values_that_are_no_numbers(root: Path) -> None:
    run = tracking.open_run(root, **DESCRIBED)
    with pytest.raises(LatentlabError, match=r"metric 'test/sse' is \[1\], not a number"):
        run.log_final({"test": {"sse": [1]}})


def test_final_results_are_flattened(root: Path) -> None:
    run = tracking.open_run(root, **DESCRIBED)
    results = {"fid": 2.5, "kid": None, "test": {"sse": 3, "deep": {"x": True}}, "eyes": "judge"}
    assert run.log_final(results)
    stored = data(root, run)
    assert stored.metrics == {"fid": 2.5, "test/sse": 3.0, "test/deep/x": 1.0}
    assert stored.tags["eyes"] == "judge"


def test_artifacts_and_status(root: Path, tmp_path: Path) -> None:
    (tmp_path / "figures" / "deep").mkdir(parents=True)
    (tmp_path / "figures" / "deep" / "a.txt").write_text("a")
    (tmp_path / "b.txt").write_text("b")
    run = tracking.open_run(root, **DESCRIBED)
    assert run.log_artifact(tmp_path / "b.txt")
    assert run.log_artifact(tmp_path / "figures", "pictures")
    assert run.set_tags({"device": "cpu"})
    assert run.finish("KILLED")
    folder = root / "mlruns" / "artifacts" / run.id / "artifacts"
    found = sorted(str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file())
    assert found == ["b.txt", "pictures/deep/a.txt"]
    assert client(root).get_run(run.id).info.status == "KILLED"
    assert data(root, run).tags["device"] == "cpu"
    with pytest.raises(LatentlabError, match=r"nothing to track at .*absent"):
        run.log_artifact(tmp_path / "absent")


def test_a_deleted_experiment_is_restored(root: Path) -> None:
    tracking.open_run(root, **DESCRIBED)
    id_ = client(root).get_experiment_by_name("digits").experiment_id
    client(root).delete_experiment(id_)
    run = tracking.open_run(root, **DESCRIBED)
    assert client(root).get_run(run.id).info.experiment_id == id_
    assert client(root).get_experiment(id_).lifecycle_stage == "active"


# --- a run continued


def test_a_run_goes_on_where_it_stopped(root: Path, capsys: pytest.CaptureFixture) -> None:
    first = tracking.open_run(root, **DESCRIBED)
    first.log({"loss": 2.0}, 0)
    first.finish()
    again = {**DESCRIBED, "params": {"seed": 1, "more": 2}, "tags": {"stage": "evaluate"}}
    run = tracking.continue_run(root, first.id, **again)
    assert client(root).get_run(run.id).info.status == "RUNNING"
    run.log({"loss": 1.0}, 1)
    assert run.finish()
    assert run.id == first.id
    assert history(root, run, "loss") == [(0, 2.0), (1, 1.0)]
    stored = data(root, run)
    assert stored.params == {"seed": "0", "more": "2"}  # MLflow lets no param change
    assert stored.tags["changed.seed"] == "1"
    assert stored.tags["stage"] == "evaluate"
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("case", ["from elsewhere", "no id", "odd id", "deleted"])
def test_an_unknown_run_is_replaced_and_said(
    case: str, root: Path, capsys: pytest.CaptureFixture
) -> None:
    run_id = {"from elsewhere": "0" * 32, "no id": "", "odd id": "../x"}.get(case)
    if run_id is None:
        run_id = tracking.open_run(root, **DESCRIBED).id
        client(root).delete_run(run_id)
    run = tracking.continue_run(root, run_id, **DESCRIBED)
    assert run.id != run_id
    (line,) = capsys.readouterr().out.splitlines()
    assert line == f"vae: no run {run_id or '(none)'} in this MLflow store; opened {run.id}"
    assert data(root, run).params == {"seed": "0"}


# --- a store that fails while a training runs


def test_an_outage_is_one_warning_and_costs_no_number(
    root: Path, capsys: pytest.CaptureFixture
) -> None:
    run = tracking.open_run(root, **DESCRIBED)
    run._client = broken = Broken(run._client)
    for step in range(3):
        run._patience = 0  # as if time had passed
        run.log({"loss": float(step)}, step)
        assert not run.flush()
    err = capsys.readouterr().err
    assert err.count("\n") == 1
    assert (
        "MLflow did not take metrics: they are kept and offered again (connection refused)" in err
    )
    broken.mended, run._patience = True, 0
    assert run.finish()
    assert history(root, run, "loss") == [(0, 0.0), (1, 1.0), (2, 2.0)]
    assert not run.undelivered.exists()
    assert capsys.readouterr().err == ""


def test_a_store_that_fails_slowly_is_asked_seldom(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = tracking.open_run(root, **DESCRIBED)
    run._client = broken = Broken(run._client)
    clock = [100.0]

    def slow(*_: object, **__: object) -> None:
        broken.calls += 1
        clock[0] += 5
        raise OSError("timed out")

    broken.log_batch = slow
    monkeypatch.setattr(tracking.time, "monotonic", lambda: clock[0])
    run.log({"loss": 1.0}, 0)
    for _ in range(500):  # a flush a second; on 5 s of waiting follow 50 s of patience
        run.flush()
        clock[0] += 1
    assert broken.calls == 10


def test_what_stays_undelivered_is_kept_and_delivered_by_the_next_process(
    root: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    run = tracking.open_run(root, **DESCRIBED)
    run._client = Broken(run._client)
    run.log({"loss": 0.5, "kl": math.nan}, 7)
    run.set_tags({"device": "cpu"})
    run._patience = 0
    (tmp_path / "x.png").touch()
    assert not run.log_artifact(tmp_path / "x.png")
    assert not run.log_model(tmp_path, image_shape=(1, 8, 8))
    assert not run.finish()

    path = root / "mlruns" / f"undelivered-{run.id}.jsonl"
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    assert [(r["key"], r["value"], r["step"]) for r in rows[:2]] == [
        ("loss", 0.5, 7),
        ("kl", None, 7),
    ]
    assert {r["tag"] for r in rows[2:]} == {"device", "non_finite.kl"}
    last = capsys.readouterr().err.splitlines()[-1]
    assert str(path) in last
    assert "x.png" in last
    assert f"model {tmp_path.name}" in last
    assert "status FINISHED" in last

    again = tracking.continue_run(root, run.id, **DESCRIBED)
    assert not path.exists()
    assert history(root, again, "loss") == [(7, 0.5)]
    assert math.isnan(history(root, again, "kl")[0][1])
    assert data(root, again).tags["device"] == "cpu"


@pytest.mark.slow
def test_a_server_that_dies_in_mid_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    port = free_port()
    command = [
        *(sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port)),
        *("--backend-store-uri", f"sqlite:///{tmp_path}/server.db", "--workers", "1"),
        *("--artifacts-destination", str(tmp_path / "artifacts")),
    ]
    env = {**os.environ, **tracking._ENVIRONMENT}
    server = subprocess.Popen(command, env=env, cwd=tmp_path, start_new_session=True)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{port}")
    try:
        for _ in range(120):
            try:
                tracking.check_store(tmp_path)
                break
            except LatentlabError:
                time.sleep(0.5)
        run = tracking.open_run(tmp_path, **DESCRIBED)
        run.log({"loss": 1.0, "kl": math.nan}, 0)
        assert run.flush()
        assert run.log_artifact(Path(__file__), "code")
        with tracking._store(tmp_path) as there:
            assert [f.path for f in there.list_artifacts(run.id, "code")] == [
                f"code/{Path(__file__).name}"
            ]
            assert math.isnan(there.get_run(run.id).data.metrics["kl"])
    finally:
        os.killpg(server.pid, 9)
        server.wait()
    start = time.monotonic()
    run.log({"loss": 0.5}, 1)
    assert not run.flush()
    assert not run.finish()
    assert time.monotonic() - start < 60  # MLflow alone: 247 s a request
    assert run.undelivered.read_text().count("\n") == 1
    assert "metrics: they are kept" in capsys.readouterr().err
    with pytest.raises(LatentlabError, match=f"MLflow store http://127.0.0.1:{port} does not work"):
        tracking.open_run(tmp_path, **DESCRIBED)


# --- the store on disk


def test_a_moved_project_keeps_its_artifacts(root: Path, tmp_path: Path) -> None:
    from mlflow.tracking._tracking_service import utils

    text, folder = tmp_path / "x.txt", tmp_path / "vae"
    text.write_text("x")
    folder.mkdir()
    (folder / "weights.pt").write_text("w")
    run = tracking.open_run(root, **DESCRIBED)
    run.log_artifact(text)
    run.log_model(folder, image_shape=(1, 8, 8))
    run.finish()

    new = tmp_path / "elsewhere, with a#b ü"
    shutil.move(root, new)
    utils._artifact_repos_cache.clear()  # as the next process would find it
    late = tracking.continue_run(new, run.id, **DESCRIBED)
    text.write_text("y")
    late.log_artifact(text, "late")

    with closing(sqlite3.connect(new / "mlruns" / "mlflow.db")) as store:
        for table, column in tracking._LOCATIONS:
            for (place,) in store.execute(f"SELECT {column} FROM {table}"):
                assert str(root) not in place
    there = client(new)
    assert {f.path for f in there.list_artifacts(run.id)} == {"x.txt", "late"}
    (output,) = there.get_run(run.id).outputs.model_outputs
    model = there.get_logged_model(output.model_id)
    place = Path(url2pathname(urlsplit(model.artifact_location).path))
    assert place.is_relative_to(new)
    assert (place / "artifacts" / "vae" / "weights.pt").read_text() == "w"


def test_locations_of_others_are_left_alone(root: Path) -> None:
    tracking.open_run(root, **DESCRIBED)
    foreign = {"a": "s3://bucket/mlruns/artifacts", "b": f"file://{root}x/mlruns/artifacts2"}
    for name, place in foreign.items():
        client(root).create_experiment(name, artifact_location=place)
    tracking.open_run(root, **DESCRIBED)
    for name, place in foreign.items():
        assert client(root).get_experiment_by_name(name).artifact_location == place


def start_and_finish(root: Path, name: int, gate) -> None:
    gate.wait()
    run = tracking.open_run(root, **{**DESCRIBED, "name": str(name)})
    run.log({"loss": float(name)}, 0)
    sys.exit(not run.finish())


@pytest.mark.slow
def test_processes_that_start_at_once_share_a_new_store(tmp_path: Path) -> None:
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["latentlab.tracking", "mlflow", "mlflow.tracking"])
    gate = context.Barrier(4)
    processes = [
        context.Process(target=start_and_finish, args=(tmp_path, i, gate)) for i in range(4)
    ]
    for process in processes:
        process.start()
    for process in processes:
        process.join(120)
    assert [process.exitcode for process in processes] == [0] * 4
    there = client(tmp_path)
    runs = there.search_runs([there.get_experiment_by_name("digits").experiment_id])
    assert {run.info.run_name: run.data.metrics["loss"] for run in runs} == {
        str(i): float(i) for i in range(4)
    }


@pytest.mark.parametrize("case", ["garbage", "folder", "mlruns is a file"])
def test_a_store_that_cannot_be_opened_says_so_at_once(case: str, tmp_path: Path) -> None:
    if case == "mlruns is a file":
        (tmp_path / "mlruns").touch()
    elif case == "folder":
        (tmp_path / "mlruns" / "mlflow.db").mkdir(parents=True)
    else:
        (tmp_path / "mlruns").mkdir()
        (tmp_path / "mlruns" / "mlflow.db").write_bytes(b"no database" * 100)
    with pytest.raises(LatentlabError, match=r"store sqlite:///.*mlflow\.db does not work: "):
        tracking.open_run(tmp_path, **DESCRIBED)


def test_a_store_named_by_address_keeps_artifacts_in_the_project(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "cwd").mkdir()
    monkeypatch.chdir(tmp_path / "cwd")
    shutil.copy(root / "mlruns" / "mlflow.db", tmp_path / "mine.db")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mine.db")
    (tmp_path / "x.txt").touch()
    run = tracking.open_run(root, **DESCRIBED)
    run.log_artifact(tmp_path / "x.txt")
    assert (root / "mlruns" / "artifacts" / run.id / "artifacts" / "x.txt").exists()
    assert not any((tmp_path / "cwd").iterdir())


# --- what surrounds a run


def test_git_state(tmp_path: Path) -> None:
    def git(*command: str) -> str:
        who = ("-c", "user.name=x", "-c", "user.email=x@example.org", "-c", "core.hooksPath=")
        call = ["git", "-C", str(tmp_path), *who, *command]
        return subprocess.run(call, check=True, capture_output=True, text=True).stdout.strip()

    (tmp_path / "archive").mkdir()
    project = tmp_path / "project"
    (project / "results").mkdir(parents=True)
    assert tracking.run_tags(project) == {"git.commit": "none"}
    git("init")
    for name in ("code.py", "dvc.lock", "results/metrics.json"):
        (project / name).write_text("1")
    git("add", "project")
    git("commit", "-m", "x")
    clean = {"git.commit": git("rev-parse", "HEAD"), "git.dirty": "false"}
    assert tracking.run_tags(project) == clean
    (project / "dvc.lock").write_text("2")
    (project / "results" / "metrics.json").write_text("2")
    assert tracking.run_tags(project) == clean
    (project / "code.py").write_text("2")
    assert tracking.run_tags(project) == {**clean, "git.dirty": "true"}
    assert tracking.run_tags(tmp_path / "archive") == {"git.commit": "none"}


def test_no_git_program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert tracking.run_tags(tmp_path) == {"git.commit": "none"}


def test_the_interface_listens_to_this_machine_only(tmp_path: Path) -> None:
    command = tracking.ui_command(tmp_path, 5001)
    assert command[command.index("--host") + 1] == "127.0.0.1"
    assert command[command.index("--port") + 1] == "5001"
    assert command[command.index("--backend-store-uri") + 1] == tracking.tracking_uri(tmp_path)


def test_the_interface_of_a_server_is_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    (tmp_path / "params.yaml").touch()
    (tmp_path / "src").mkdir()
    monkeypatch.chdir(tmp_path / "src")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "https://me:secret@host/mlflow")
    tracking.main(["ui"])
    assert capsys.readouterr().out.endswith(": https://host/mlflow\n")


def test_the_interface_needs_a_project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(LatentlabError, match=r"no params\.yaml in .* or above it"):
        tracking.main(["ui"])


def test_a_taken_port_is_passed_over() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        taken = server.getsockname()[1]
        assert tracking._free_port(taken) > taken
