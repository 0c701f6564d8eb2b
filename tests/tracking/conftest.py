"""A project with an empty store, and MLflow's own client to read what was tracked."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from latentlab import tracking

ARGUMENTS = {
    "experiment": "digits",
    "name": "vae",
    "params": {"seed": 0},
    "tags": {"family": "vae"},
}


class BrokenClient:
    """An MLflow client whose calls all fail until `repaired` is True."""

    def __init__(self, real) -> None:
        self.real, self.repaired, self.calls = real, False, 0

    def __getattr__(self, name: str):
        from mlflow.exceptions import MlflowException

        def call(*args, **kwargs):
            self.calls += 1
            if not self.repaired:
                raise MlflowException("connection refused\nlong story")
            return getattr(self.real, name)(*args, **kwargs)

        return call


class Store:
    """The local store of the project `root`."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def open_run(self, **changes) -> tracking.Run:
        return tracking.open_run(self.root, **{**ARGUMENTS, **changes})

    def continue_run(self, run_id: str, **changes) -> tracking.Run:
        return tracking.continue_run(self.root, run_id, **{**ARGUMENTS, **changes})

    def disconnect(self, run: tracking.Run) -> BrokenClient:
        """Let the store fail for this run from now on."""
        run._client = broken = BrokenClient(run._client)
        return broken

    @property
    def database(self) -> Path:
        return self.root / "mlruns" / "mlflow.db"

    @property
    def client(self):
        mlflow = tracking.store._mlflow()  # with the warnings filter of latentlab
        return mlflow.MlflowClient(tracking_uri=f"sqlite:///{self.database}")

    def data(self, run: tracking.Run):
        return self.client.get_run(run.id).data

    def history(self, run: tracking.Run, key: str) -> list[tuple[int, float]]:
        return [(m.step, m.value) for m in self.client.get_metric_history(run.id, key)]


@pytest.fixture(scope="session")
def empty_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project with an empty database, created once because MLflow's migration takes seconds."""
    root = tmp_path_factory.mktemp("template")
    with pytest.MonkeyPatch.context() as patch:
        for name in ("MLFLOW_TRACKING_URI", "DVC_ROOT"):
            patch.delenv(name, raising=False)
        with tracking.store.open_store(root):
            return root


@pytest.fixture
def store(empty_store: Path, tmp_path: Path) -> Store:
    return Store(Path(shutil.copytree(empty_store, tmp_path / "project")))


@pytest.fixture
def new_store(tmp_path: Path) -> Store:
    """The store of a project without a database."""
    return Store(tmp_path)
