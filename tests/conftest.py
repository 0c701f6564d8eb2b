"""Shared fixtures: a project in a temporary folder, small enough to train in seconds."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
import torch
import yaml

REPO = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="session")
def repo() -> Path:
    return REPO


@pytest.fixture(autouse=True)
def _quiet_environment(monkeypatch):
    """No test may reach a user's tracking server, and none leaves seeds to the next."""
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.delenv("DVC_ROOT", raising=False)
    monkeypatch.setenv("MLFLOW_DISABLE_TELEMETRY", "true")
    torch.manual_seed(0)


class ProjectFolder:
    """A copy of params.yaml and configs/, with helpers to edit them."""

    def __init__(self, root: Path) -> None:
        self.root = root
        shutil.copy(REPO / "params.yaml", root)
        shutil.copytree(REPO / "configs", root / "configs")

    def edit(self, file: str, **values) -> None:
        """Set dotted keys (written with __ for .) in a YAML file; None deletes."""
        path = self.root / file
        content = yaml.safe_load(path.read_text())
        for dotted, value in values.items():
            *parents, last = dotted.split("__")
            place = content
            for key in parents:
                place = place.setdefault(key, {})
            if value is None:
                place.pop(last)
            else:
                place[last] = value
        path.write_text(yaml.safe_dump(content))


@pytest.fixture
def project(tmp_path) -> ProjectFolder:
    return ProjectFolder(tmp_path)


@pytest.fixture(scope="session")
def mnist_folder() -> Path:
    """The folder that holds mnist/; tests marked `mnist` are skipped without it."""
    folder = os.environ.get("LATENTLAB_DATA")
    if not folder or not (Path(folder) / "mnist").is_dir():
        pytest.skip("LATENTLAB_DATA names no folder with mnist/")
    return Path(folder)
