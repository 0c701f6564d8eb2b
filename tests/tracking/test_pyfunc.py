"""The logged model, loaded by MLflow. A model of three formulas replaces latentlab.load."""

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
from latentlab.utils.errors import LatentlabError

SHAPE = (1, 4, 4)


class FormulaModel:
    """Reconstruction 1 − x, code = row sums, feature = mean. Samples are all `seed` / 10."""

    image_shape = SHAPE

    def __init__(self, folder: str) -> None:
        self.name = (Path(folder) / "weights.pt").read_text()

    def sample(self, count: int, *, seed: int, classes: str | None) -> torch.Tensor:
        if classes == "none":
            raise LatentlabError("no such class")
        return torch.full((count, *SHAPE), seed / 10)

    def reconstruct(self, x: torch.Tensor) -> torch.Tensor:
        return 1 - x

    def encode(self, x: torch.Tensor) -> torch.Tensor:
        return x.sum(3).flatten(1)

    def features(self, x: torch.Tensor) -> torch.Tensor:
        return x.mean((1, 2, 3))[:, None]


@pytest.fixture(scope="module")
def logged(empty_store: Path, tmp_path_factory: pytest.TempPathFactory):
    """A run with a logged model, and the folder of the model."""
    root = Path(shutil.copytree(empty_store, tmp_path_factory.mktemp("loaded") / "project"))
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
def loaded(logged, monkeypatch: pytest.MonkeyPatch):
    """The model, loaded as by a user who has set MLFLOW_TRACKING_URI."""
    import mlflow

    monkeypatch.setenv("MLFLOW_TRACKING_URI", logged.uri)
    monkeypatch.setattr(latentlab, "load", FormulaModel)
    return mlflow.pyfunc.load_model(f"models:/{logged.model.model_id}")


@pytest.fixture
def x() -> np.ndarray:
    return np.random.default_rng(0).random((3, *SHAPE), dtype=np.float32)


def test_each_task(loaded, x: np.ndarray) -> None:
    np.testing.assert_allclose(loaded.predict(x), 1 - x, atol=1e-6)
    codes = loaded.predict(x, params={"task": "encode"})
    np.testing.assert_allclose(codes, x.sum(3).reshape(3, 4), rtol=1e-6)
    features = loaded.predict(x, params={"task": "features"})
    np.testing.assert_allclose(features, x.mean((1, 2, 3))[:, None], rtol=1e-6)
    assert loaded.unwrap_python_model().model.name == "the weights"


def test_model_is_loaded_by_run_id(loaded, logged, x: np.ndarray) -> None:
    import mlflow

    model = mlflow.pyfunc.load_model(f"runs:/{logged.run.id}/vae")
    np.testing.assert_allclose(model.predict(x), 1 - x, atol=1e-6)


def test_model_is_ready_and_linked_to_its_run(logged) -> None:
    assert logged.model.status == "READY"
    assert logged.model.name == "vae"
    assert logged.model.source_run_id == logged.run.id
    assert logged.folder.is_relative_to(logged.root / "mlruns" / "artifacts")


def test_model_has_code_and_weights_and_no_pickle(logged) -> None:
    metadata = {"MLmodel", "conda.yaml", "python_env.yaml", "requirements.txt"}
    assert logged.files == {"pyfunc.py", "artifacts/vae/weights.pt", *metadata}


def test_requirements_are_pinned_and_on_pypi(logged) -> None:
    lines = (logged.folder / "requirements.txt").read_text().split()
    assert f"torch=={torch.__version__.split('+')[0]}" in lines
    assert all("==" in line and "+" not in line for line in lines)
    assert not any(line.startswith("latentlab") for line in lines)


def test_other_image_size_raises(loaded, x: np.ndarray) -> None:
    with pytest.raises(
        LatentlabError, match=r"images have shape \(3, 1, 3, 4\): pass \(N, 1, 4, 4\)"
    ):
        loaded.predict(x[:, :, :3])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda x: x * 255,
            r"values of the images range from .* to 2\d\d.*: scale them to \[0, 1\]",
        ),
        (lambda x: x - 1, r"values of the images range from -.*: scale them to \[0, 1\]"),
        (lambda x: x / np.float32(0) * 0, r"values of the images range from nan to nan"),
        (lambda x: x[:0], r"is an array of shape \(0, 1, 4, 4\): pass one array .* N ≥ 1"),
    ],
)
@pytest.mark.filterwarnings("ignore:divide by zero:RuntimeWarning")
@pytest.mark.filterwarnings("ignore:invalid value:RuntimeWarning")
def test_bad_images_raise(loaded, x: np.ndarray, change, message: str) -> None:
    with pytest.raises(LatentlabError, match=message):
        loaded.predict(change(x))


def test_bad_images_raise_without_the_check_of_mlflow(loaded, x: np.ndarray) -> None:
    model = loaded.unwrap_python_model()
    with pytest.raises(
        LatentlabError, match=r"images have dtype uint8: pass float32 .*uint8: x / 255"
    ):
        model.predict(None, (x * 255).astype(np.uint8))
    with pytest.raises(LatentlabError, match=r"is an array of shape \(4, 4\): pass one array"):
        model.predict(None, x[0, 0])
    with pytest.raises(LatentlabError, match=r"the input is <class 'list'>: pass one array"):
        model.predict(None, x.tolist())


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"task": "dream"}, r"task is 'dream': use one of reconstruct, encode, features, sample"),
        ({"task": "smaple"}, r"task is 'smaple' \(did you mean 'sample'\?\): use one of"),
        ({"tsak": "encode"}, r"no param 'tsak' \(did you mean 'task'\?\): use one of task, num_"),
        ({"task": "sample", "class": "none"}, "no such class"),
        ({"task": "sample", "num_images": 10**9}, "num_images is 1,000,000,000: ask for at most"),
    ],
)
def test_an_unknown_task_or_param_raises(loaded, x: np.ndarray, params, message: str) -> None:
    with pytest.raises(LatentlabError, match=message) as raised:
        loaded.predict(x, params=params)
    assert raised.value.error_code == "INVALID_PARAMETER_VALUE", "MLflow's server sends the text"


def test_params_of_other_models_are_dropped_as_before(loaded) -> None:
    """The check of params is for these models only: MLflow's own rule stays for others."""
    import mlflow
    from mlflow.types import ParamSchema, ParamSpec

    other = ParamSchema([ParamSpec("k", "long", 1)])
    assert mlflow.pyfunc._enforce_params_schema({"nope": 2}, other) == {"k": 1}


def test_samples_need_no_images(loaded) -> None:
    images = loaded.predict([], params={"task": "sample", "num_images": 3, "seed": 7})
    assert images.shape == (3, *SHAPE)
    np.testing.assert_allclose(images, 0.7, rtol=1e-6)
    assert len(loaded.predict([], params={"task": "sample"})) == 16


def test_json_numbers_without_a_point_are_images(loaded) -> None:
    """A black and white image in JSON has the numbers 0 and 1."""
    x = np.eye(4, dtype=np.int64)[None, None]
    np.testing.assert_array_equal(loaded.predict(x), 1 - x)
    with pytest.raises(LatentlabError, match="range from 0 to 255"):
        loaded.predict(255 * x)


def test_input_array_does_not_change(loaded, x: np.ndarray) -> None:
    x.flags.writeable = False  # torch would warn if it got this array
    before = x.copy()
    loaded.predict(x)
    np.testing.assert_array_equal(x, before)
