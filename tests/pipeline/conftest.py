"""Small DVC pipelines of shell commands."""

import os
import sys

import pytest
import yaml


@pytest.fixture
def pipeline(tmp_path, monkeypatch):
    """Write a pipeline {stage: (command, needed stages)}. A stage writes a file of its name."""
    monkeypatch.setenv("DVC_NO_ANALYTICS", "true")
    monkeypatch.setenv("PATH", f"{os.path.dirname(sys.executable)}{os.pathsep}{os.environ['PATH']}")

    def write(stages):
        (tmp_path / ".dvc").mkdir(exist_ok=True)
        (tmp_path / ".dvc" / "config").write_text("[core]\n    no_scm = true\n")
        (tmp_path / "params.yaml").write_text("seed: 0\ndata: {}\nmodels: {}\ntasks: {}\n")
        content = {
            name: {"cmd": command, "deps": needs, "outs": [name]}
            for name, (command, needs) in stages.items()
        }
        (tmp_path / "dvc.yaml").write_text(yaml.safe_dump({"stages": content}))
        return tmp_path

    return write
