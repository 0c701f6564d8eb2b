"""The logged model, loaded back by MLflow; latentlab.load is replaced by arithmetic."""

from __future__ import annotations

import shutil
from pathlib import Path
from types import SimpleNamespace
from urllib.parse import urlsplit
from urllib.request import url2pathname

import numpy as np
import pytest
import torch

import latentlab
from latentlab import tracking
from latentlab.contracts import LatentlabError

SHAPE = (1, 4, 4)


class Twin:
    """Reconstructs x as 1 − x, encodes it as its row sums, describes it by its mean."""

    def __init__(self, folder: str) -> None:
        self.name = (Path(folder) / "weights.pt").read_text()

    def reconstruct(self, x: torch.Tensor) -> torch.Tensor:
        return 1 - x

    def encode(self, x: torch.Tensor) -> torch.Tensor:
        return x.sum(3).flatten(1)

    def features(self, x: torch.Tensor) -> torch.Tensor:
        return x.mean((1, 2, 3))[:, None]


@pytest.fixture(scope="module")
def logged(empty_store: Path, tmp_path_factory: pytest.TempPathFactory):
    """One run with a logged model, and where that model lies."""
    root = Path(shutil.copytree(empty_store, tmp_path_factory.mktemp("served") / "project"))
    folder = root / "runs" / "vae"
    folder.mkdir(parents=True)
    (folder / "weights.pt").write_text("the weights")
    with pytest.MonkeyPatch.context() as patch:
        for name in ("MLFLOW_TRACKING_URI", "DVC_ROOT"):
            patch.delenv(name, raising=False)
        run = tracking.open_run(root, experiment="e", name="vae", params={"beta": 4}, tags={})
        assert run.log_model(folder, image_shape=SHAPE)
        run.finish()
        uri = tracking.tracking_uri(root)

    from mlflow import MlflowClient

    client = MlflowClient(uri)
    (output,) = client.get_run(run.id).outputs.model_outputs
    model = client.get_logged_model(output.model_id)
    place = Path(url2pathname(urlsplit(model.artifact_location).path))
    files = {str(p.relative_to(place)) for p in place.rglob("*") if p.is_file()}
    return SimpleNamespace(run=run, model=model, folder=place, files=files, root=root, uri=uri)


@pytest.fixture
def served(logged, monkeypatch: pytest.MonkeyPatch):
    """The model, as a user with MLFLOW_TRACKING_URI set loads it."""
    import mlflow

    monkeypatch.setenv("MLFLOW_TRACKING_URI", logged.uri)
    monkeypatch.setattr(latentlab, "load", Twin)
    return mlflow.pyfunc.load_model(f"models:/{logged.model.model_id}")


@pytest.fixture
def x() -> np.ndarray:
    return np.random.default_rng(0).random((3, *SHAPE), dtype=np.float32)


def test_each_task_through_mlflow(served, x: np.ndarray) -> None:
    np.testing.assert_allclose(served.predict(x), 1 - x, atol=1e-6)
    codes = served.predict(x, params={"task": "encode"})
    np.testing.assert_allclose(codes, x.sum(3).reshape(3, 4), rtol=1e-6)
    features = served.predict(x, params={"task": "features"})
    np.testing.assert_allclose(features, x.mean((1, 2, 3))[:, None], rtol=1e-6)
    assert served.unwrap_python_model().model.name == "the weights"


def test_the_model_is_found_from_its_run(served, logged, x: np.ndarray) -> None:
    import mlflow

    model = mlflow.pyfunc.load_model(f"runs:/{logged.run.id}/vae")
    np.testing.assert_allclose(model.predict(x), 1 - x, atol=1e-6)


def test_it_is_ready_and_linked_to_its_run(logged) -> None:
    assert logged.model.status == "READY"
    assert logged.model.name == "vae"
    assert logged.model.source_run_id == logged.run.id
    assert logged.folder.is_relative_to(logged.root / "mlruns" / "artifacts")


def test_it_holds_code_and_weights_and_nothing_pickled(logged) -> None:
    described = {"MLmodel", "conda.yaml", "python_env.yaml", "requirements.txt"}
    assert logged.files == {"serving.py", "artifacts/vae/weights.pt", *described}


def test_its_requirements_are_pinned_and_come_from_an_index(logged) -> None:
    lines = (logged.folder / "requirements.txt").read_text().split()
    assert f"torch=={torch.__version__.split('+')[0]}" in lines
    assert all("==" in line and "+" not in line for line in lines)
    assert not any(line.startswith("latentlab") for line in lines)


def test_mlflow_refuses_another_image_size(served, x: np.ndarray) -> None:
    with pytest.raises(Exception, match=r"Shape of input \(3, 1, 3, 4\) does not match"):
        served.predict(x[:, :, :3])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda x: x * 255, r"got values from .* to 2\d\d.*: images lie in \[0, 1\]"),
        (lambda x: x - 1, r"got values from -.*: images lie in \[0, 1\]"),
        (lambda x: x / np.float32(0) * 0, r"got values from nan to nan"),
        (lambda x: x[:0], r"array of shape \(0, 1, 4, 4\): give images as one array .* N ≥ 1"),
    ],
)
@pytest.mark.filterwarnings("ignore:divide by zero:RuntimeWarning")
@pytest.mark.filterwarnings("ignore:invalid value:RuntimeWarning")
def test_bad_images(served, x: np.ndarray, change, message: str) -> None:
    with pytest.raises(LatentlabError, match=message):
        served.predict(change(x))


def test_bad_images_that_mlflow_would_stop_itself(served, x: np.ndarray) -> None:
    model = served.unwrap_python_model()
    with pytest.raises(LatentlabError, match=r"got uint8 images: give float32 .*uint8 / 255"):
        model.predict(None, (x * 255).astype(np.uint8))
    with pytest.raises(LatentlabError, match=r"array of shape \(4, 4\): give images as one array"):
        model.predict(None, x[0, 0])
    with pytest.raises(LatentlabError, match=r"got <class 'list'>: give images as one array"):
        model.predict(None, x.tolist())


def test_an_unknown_task(served, x: np.ndarray) -> None:
    with pytest.raises(
        LatentlabError, match=r"unknown task 'dream'.*reconstruct, encode, features"
    ):
        served.predict(x, params={"task": "dream"})


def test_the_caller_keeps_its_images(served, x: np.ndarray) -> None:
    x.flags.writeable = False  # torch would warn, if it were handed this very array
    before = x.copy()
    served.predict(x)
    np.testing.assert_array_equal(x, before)
