"""Trainings in processes of their own, killed at random moments. `make soak` kills a hundred."""

import subprocess
import sys

import pytest


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="forks, and sends POSIX signals")
@pytest.mark.timeout(300)
def test_a_killed_training_ends_as_if_nothing_had_happened(repo):
    command = [sys.executable, "tests/soak.py", "--kills", "4", "--cases", "vae", "dcgan"]
    soak = subprocess.run(command, cwd=repo, capture_output=True, text=True)
    assert soak.returncode == 0, soak.stdout + soak.stderr
    assert "4 kills" in soak.stdout
    assert soak.stdout.rstrip().endswith(" 0 with a lost or changed result")
