"""A stage in a child of the fork server does what a process of its own does."""

import contextlib
import json
import os
import selectors
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pytest

from latentlab.pipeline.fork_server import DVC_MODULES, PRELOADED, WAKE, Server
from latentlab.pipeline.forking import job_variables
from latentlab.utils import fork_client
from latentlab.utils.fork_client import ADDRESS, PACKAGE

REPO_SOURCES = Path(__file__).resolve().parents[2] / "src"
STARTED: list[subprocess.Popen[str]] = []
pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the server needs Linux")


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """The variables of a running server."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OMP_NUM_THREADS", "1")
        with job_variables(gpus=False) as variables:
            yield variables


def stage(project, variables, *argv) -> subprocess.Popen[str]:
    sources = project.root / "src"
    if not sources.is_symlink():  # a copy would run its own code, in a process of its own
        shutil.rmtree(sources)
        sources.symlink_to(REPO_SOURCES)
    environment = {**project.environment(), "OMP_NUM_THREADS": "1", **variables}
    environment["PYTHONPATH"] = str(REPO_SOURCES)
    process = subprocess.Popen(
        [sys.executable, "-m", "latentlab.stages", *argv],
        cwd=project.root,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    STARTED.append(process)
    return process


@pytest.fixture(autouse=True)
def _no_process_stays():
    """A failed test kills what it started: the server waits for its children."""
    yield
    for process in STARTED:
        process.kill()
        process.communicate()
    STARTED.clear()


def finish(process) -> tuple[int, str, str]:
    output, errors = process.communicate(timeout=120)
    return process.returncode, output, errors


def without_bars(text: str) -> list[str]:
    return [line for line in text.replace("\r", "\n").splitlines() if "step/s" not in line]


def children_of(process) -> list[int]:
    """The children of the fork server that work for `process`: they have its folder."""
    folder = os.readlink(f"/proc/{process.pid}/cwd")
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            command = (entry / "cmdline").read_bytes()
            if b"fork_server" in command and os.readlink(entry / "cwd") == folder:
                found.append(int(entry.name))
    return sorted(found)


def is_alive(number: int) -> bool:
    with contextlib.suppress(OSError):
        return "\nState:\tZ" not in Path(f"/proc/{number}/status").read_text()
    return False


def wait_until(condition) -> None:
    for _ in range(2400):  # a busy machine needs a minute to start a training
        if condition():
            return
        time.sleep(0.05)
    raise AssertionError("nothing happened for two minutes")


@pytest.fixture
def long_training(fork):
    """A project whose training of vae takes minutes."""
    fork.edit("configs/vae.yaml", trainer__total_images=10**9, trainer__max_epochs=None)
    fork.edit("params.yaml", hardware__checkpoint_interval_seconds=1)
    return fork


def started(process, project) -> None:
    wait_until(lambda: list(project.root.glob(".checkpoints/vae/*/*.ckpt")) or process.poll())
    assert process.poll() is None, finish(process)


def test_the_weights_curves_and_messages_are_those_of_a_process_of_its_own(
    fork, server, tmp_path
) -> None:
    results = {}
    for name, variables in (("own", {}), ("forked", server)):
        shutil.rmtree(fork.root / "runs" / "vae")
        code, output, errors = finish(stage(fork, variables, "train", "vae"))
        assert code == 0, errors
        run = fork.root / "runs" / "vae"
        results[name] = (
            (run / "weights.pt").read_bytes(),
            (run / "history.csv").read_text(),
            output,
            without_bars(errors),
        )
    assert results["own"] == results["forked"]


@pytest.mark.parametrize(
    "argv", [("train",), ("train", "no_such_model"), ("evaluate", "vae", "gan"), ("bake",)]
)
def test_an_error_has_the_same_code_and_the_same_words(fork, server, argv) -> None:
    own, forked = (finish(stage(fork, variables, *argv)) for variables in ({}, server))
    assert own == forked
    assert own[0] == 2


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_reaches_the_training_which_then_continues(
    long_training, server, number, code
) -> None:
    process = stage(long_training, server, "train", "vae")
    started(process, long_training)
    check_children(process)
    process.send_signal(number)
    assert finish(process)[0] == code
    assert list(long_training.root.glob(".checkpoints/vae/*/*.ckpt"))


def check_children(process) -> None:
    """The server works for `process`: a child in a session of its own. It has one thread."""
    (child, *workers) = children_of(process)
    assert len(workers) == 1  # the tracking worker is forked, too
    assert os.getsid(child) != os.getsid(process.pid)
    parent = int(Path(f"/proc/{child}/stat").read_text().rsplit(")")[1].split()[1])
    wait_until(lambda: "libarrow" in Path(f"/proc/{parent}/maps").read_text())
    time.sleep(0.5)
    assert len(os.listdir(f"/proc/{parent}/task")) == 1


def test_a_killed_client_kills_its_child(long_training, server) -> None:
    process = stage(long_training, server, "train", "vae")
    started(process, long_training)
    child, worker = children_of(process)
    process.kill()
    process.wait()
    wait_until(lambda: not is_alive(child))
    wait_until(lambda: not is_alive(worker))  # it has closed the run
    with contextlib.closing(sqlite3.connect(long_training.root / "mlruns/mlflow.db")) as store:
        statuses = store.execute("SELECT status FROM runs ORDER BY start_time").fetchall()
    assert statuses[-1] == ("KILLED",)


def test_a_killed_child_is_a_killed_process_and_harms_no_other(long_training, server) -> None:
    process = stage(long_training, server, "train", "vae")
    started(process, long_training)
    other = stage(long_training, server, "evaluate", "linear_ae")
    os.kill(children_of(process)[0], signal.SIGKILL)
    assert finish(process)[0] == -signal.SIGKILL
    assert finish(other)[0] == 0


def test_a_killed_server_takes_its_children_with_it(long_training) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OMP_NUM_THREADS", "1")
        with job_variables(gpus=False) as variables:
            process = stage(long_training, variables, "train", "vae")
            try:
                started(process, long_training)
                child = children_of(process)[0]
                parent = int(Path(f"/proc/{child}/stat").read_text().rsplit(")")[1].split()[1])
                os.kill(parent, signal.SIGKILL)
                code, _, errors = finish(process)
            finally:
                process.kill()  # else a server that is alive waits for its training
    assert code == 1
    assert "the fork server has exited: run the command again" in errors
    wait_until(lambda: not is_alive(child))


def test_a_server_that_stops_turns_clients_away(tmp_path, monkeypatch) -> None:
    """A client that waits for an answer would wait for ever: DVC, a child of the server, for it."""
    read, write = os.pipe()
    with (
        socket.socket(socket.AF_UNIX) as listener,
        socket.socket(socket.AF_UNIX) as client,
    ):
        listener.bind(str(tmp_path / "socket"))
        listener.listen()
        client.connect(str(tmp_path / "socket"))
        server = Server(listener, [])
        server.stopping, server.children = True, {1: client}
        monkeypatch.setattr(server, "_handle_signals", lambda: None)
        monkeypatch.setattr(server, "_collect", server.children.clear)  # the last child exits
        server.selector.register(read, selectors.EVENT_READ, data=WAKE)
        os.write(write, b"x")
        assert server.serve() is None
        assert [key.fd for key in server.selector.get_map().values()] == [read]
        client.settimeout(10)
        with contextlib.suppress(ConnectionResetError):
            assert client.recv(1) == b""
    os.close(read)
    os.close(write)


@pytest.mark.parametrize("command", ["stages", "dvc"])
def test_a_failed_fork_leaves_the_command_to_its_client(tmp_path, monkeypatch, command) -> None:
    def fails() -> int:
        raise BlockingIOError("Resource temporarily unavailable")

    monkeypatch.setattr(os, "fork", fails)
    with socket.socket(socket.AF_UNIX) as listener, socket.socket(socket.AF_UNIX) as client:
        listener.bind(str(tmp_path / "socket"))
        listener.listen()
        client.connect(str(tmp_path / "socket"))
        request = {"command": command, "argv": [], "folder": ".", "path": [], "package": PACKAGE}
        line = json.dumps({**request, "environment": dict(os.environ)}).encode() + b"\n"
        socket.send_fds(client, [line], [0, 1, 2])
        server = Server(listener, [])
        assert server._accept() is None
        server.selector.close()
        assert server.children == {}
        client.settimeout(10)
        assert json.loads(client.recv(100)) == {"pid": 0}
        assert client.recv(100) == b""


# the client leaves its socket to the end of the process
@pytest.mark.filterwarnings("ignore::ResourceWarning")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("variables", [{"OMP_NUM_THREADS": "2"}, {ADDRESS: "/nowhere/socket"}])
def test_without_a_fitting_server_a_command_is_left_to_its_own_process(
    server, variables, monkeypatch
) -> None:
    """The client then returns; after a fork, it exits like the child."""
    exited: list[int] = []
    monkeypatch.setattr(fork_client, "_exit_like", exited.append)
    monkeypatch.setattr(fork_client, "SIGNALS", ())  # no handlers of this process
    monkeypatch.setattr(sys, "argv", ["stages", "bake"])
    for changes, expected in (({}, [2]), (variables, [2])):
        for name, value in {**server, **changes}.items():
            monkeypatch.setenv(name, value)
        fork_client.run_in_fork("stages")
        assert exited == expected


def test_nothing_that_dvc_watches_is_preloaded() -> None:
    assert not any(name.startswith("latentlab") for name in (*DVC_MODULES, *PRELOADED))
    code = "import sys, latentlab.pipeline.fork_server; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    names = {name for name in done.stdout.split() if name.startswith("latentlab.")}
    folders = {name.split(".")[1] for name in names - {"latentlab.models"}}  # models() only
    assert folders <= {"utils", "pipeline"}
    watched = (Path(__file__).parents[2] / "dvc.yaml").read_text()
    assert not any(f"src/latentlab/{folder}" in watched for folder in folders)
