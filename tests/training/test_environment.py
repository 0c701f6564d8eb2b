"""What decides the bits of a training is recorded with it."""

import json
import os
import platform
from importlib.metadata import version

import numpy as np
import torch

from latentlab.tracking.metadata import valid_tags
from latentlab.training.environment import environment, environment_tags


def test_threads_and_versions_are_those_of_the_process():
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(before + 1)
        found = environment()
    finally:
        torch.set_num_threads(before)
    assert found["threads"] == before + 1
    assert found["versions"]["torch"] == version("torch")
    assert found["versions"]["numpy"] == np.__version__
    assert found["versions"]["Python"] == platform.python_version()
    assert platform.machine() in found["system"]


def test_tags_are_valid_and_hold_everything():
    tags = environment_tags(environment())
    assert valid_tags(tags) == tags
    assert tags["environment.threads"] == str(torch.get_num_threads())
    assert f"torch {version('torch')}" in tags["environment.versions"]


def test_each_run_folder_and_result_has_it(tiny):
    for name in ("classifier", "vae"):
        cost = json.loads((tiny.root / "runs" / name / "cost.json").read_text())
        assert cost["environment"] == environment()
    result = json.loads((tiny.root / "results" / "vae" / "cost.json").read_text())
    stored = result["provenance"]["environment"]
    assert stored == environment()
    assert str(stored["threads"]) == os.environ["OMP_NUM_THREADS"] == "1"
