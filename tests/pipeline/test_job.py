"""The processes of a stage: children of the fork server, and without process groups."""

import contextlib
import os
import pwd
import signal
import subprocess
import sys
import time

import psutil
import pytest

from latentlab.pipeline.forking import job_variables
from latentlab.pipeline.job import LOST, Job, _signal_group, environment
from latentlab.utils.fork_client import Child

LINUX = pytest.mark.skipif(sys.platform != "linux", reason="the server needs Linux")

PARENT = """
import subprocess, sys
child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
print(child.pid, flush=True)
child.wait()
"""


def test_without_process_groups_a_process_and_its_descendants_are_ended(monkeypatch):
    monkeypatch.delattr(os, "killpg")
    command = [sys.executable, "-c", PARENT]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        child = psutil.Process(int(parent.stdout.readline()))
        _signal_group(parent.pid, None)
        assert parent.poll() is None
        assert child.is_running()
        _signal_group(parent.pid, signal.SIGTERM)
        parent.wait(timeout=30)
        psutil.wait_procs([child], timeout=30)
        assert not child.is_running() or child.status() == psutil.STATUS_ZOMBIE
        with pytest.raises(ProcessLookupError):
            _signal_group(parent.pid, None)


def test_dvc_gets_the_name_of_the_user_where_the_system_knows_none(monkeypatch):
    """DVC ends with an error for a user number without a name, as in some containers."""

    def unknown(number):
        raise KeyError(f"getpwuid(): uid not found: {number}")

    for name in ("LOGNAME", "USER", "LNAME", "USERNAME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(pwd, "getpwuid", unknown)
    assert environment()["LOGNAME"] == str(os.getuid())
    assert environment({"LOGNAME": "ada"})["LOGNAME"] == "ada"


@pytest.fixture
def start(pipeline):
    """Start a stage by its shell command, through the fork server or as a process of its own."""
    jobs = []

    def start(command, variables):
        root = pipeline({"stage": (command, [])})
        jobs.append(Job("stage", root, root / "stage.log", variables))
        return jobs[-1]

    yield start
    for job in jobs:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(job.process.pid, signal.SIGKILL)


@pytest.fixture(scope="module")
def server():
    with job_variables(gpus=False) as variables:
        yield variables


def finish(job):
    for _ in range(1200):
        if (code := job.poll()) is not None:
            return code
        time.sleep(0.05)
    raise AssertionError(f"the stage runs on: {job.tail()}")


def wait_for(path):
    for _ in range(1200):
        if path.exists():
            return
        time.sleep(0.05)
    raise AssertionError(f"no {path}")


@LINUX
@pytest.mark.parametrize(
    "command", ["echo said; echo error >&2; echo 1 > stage", "echo said; exit 7", "true"]
)
def test_dvc_in_a_forked_child_does_and_says_what_a_process_of_its_own_does(start, server, command):
    results = []
    for variables in ({}, server):
        job = start(command, variables)
        assert isinstance(job.process, Child) == bool(variables)
        code = finish(job)
        lock = job.root / "dvc.lock"
        results.append((code, job.tail(), job.has_run(), lock.exists() and lock.read_text()))
        for name in ("stage", "dvc.lock"):
            (job.root / name).unlink(missing_ok=True)
    assert results[0] == results[1]
    assert "said" in results[0][1] or command == "true"


@LINUX
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL])
def test_a_signal_ends_a_forked_dvc_and_its_command(start, server, number):
    job = start("echo $$ > pid; sleep 600", server)
    wait_for(job.root / "pid")
    time.sleep(0.2)  # until the number is in the file
    job.stop(number)
    assert finish(job) != 0
    pid = int((job.root / "pid").read_text())
    psutil.wait_procs([psutil.Process(pid)] if psutil.pid_exists(pid) else [], timeout=30)
    assert not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE


@LINUX
def test_a_stage_fails_if_the_server_is_killed_and_then_runs_again(start):
    with job_variables(gpus=False) as variables:
        job = start("touch begun; sleep 4; exit 1", variables)
        wait_for(job.root / "begun")
        psutil.Process(job.process.pid).parent().kill()
        assert finish(job) == 1
        assert LOST in job.tail()
        again = start("echo 1 > stage", variables)  # a process of its own
        assert finish(again) == 0, again.tail()
