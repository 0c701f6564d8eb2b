"""The processes of a stage, on systems without process groups."""

import os
import pwd
import signal
import subprocess
import sys

import psutil
import pytest

from latentlab.pipeline.job import _signal_group, environment

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
