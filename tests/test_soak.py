"""A short run of soak.py: trainings that are killed at random times. `make soak` kills 100."""

import subprocess
import sys

import pytest


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="uses fork and POSIX signals")
@pytest.mark.timeout(300)
def test_killed_trainings_have_the_result_of_an_uninterrupted_one(repo):
    command = [sys.executable, "tests/soak.py", "--kills", "4", "--cases", "vae", "dcgan"]
    soak = subprocess.run(command, cwd=repo, capture_output=True, text=True)
    assert soak.returncode == 0, soak.stdout + soak.stderr
    assert "4 kills" in soak.stdout
    assert soak.stdout.rstrip().endswith(" 0 with a lost or changed result")
