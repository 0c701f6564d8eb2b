"""A trained model for `mlflow.pyfunc.load_model` and `mlflow models serve`.

MLflow stores this file beside a copy of the run folder and runs it to load the model. Nothing is
pickled. latentlab must be installed there (`mlflow models serve --env-manager local`). No module
imports this file: `Run.log_model` passes its path to MLflow.
"""

from __future__ import annotations

from collections.abc import Mapping
from difflib import get_close_matches
from functools import wraps
from typing import Any

import mlflow
import numpy as np
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import INVALID_PARAMETER_VALUE
from mlflow.pyfunc import PythonModel

from latentlab.utils.errors import LatentlabError

TASKS = ("reconstruct", "encode", "features", "sample")
MAX_SAMPLES = 10_000  # in one request
PARAMS = ("task", "num_images", "seed", "class")
ENFORCE = "_enforce_params_schema"  # of mlflow.pyfunc; see `_refuse_unknown_params`


class RequestError(LatentlabError, MlflowException):
    """A request that cannot be answered. A server returns its text, without a traceback."""

    def __init__(self, message: str) -> None:
        MlflowException.__init__(self, message, error_code=INVALID_PARAMETER_VALUE)


class PyfuncModel(PythonModel):
    """Map images (N, C, H, W) in [0, 1] to a float32 array. The param `task` selects which.

    `reconstruct` (default): images (N, C, H, W). `encode`: codes (N, D). `features`: (N, F).
    `sample`: `num_images` new images by `seed`, of the class `class` if the model is
    class-conditional; the input is an empty list.
    """

    def load_context(self, context: Any) -> None:
        """Load the model from the logged run folder."""
        import latentlab

        _refuse_unknown_params()
        self.model = latentlab.load(context.artifacts["run"])

    # MLflow reads the annotation np.ndarray, and warns if it finds none
    def predict(
        self, context: Any, model_input: np.ndarray, params: dict[str, Any] | None = None
    ) -> np.ndarray:
        """Run the task. Raises RequestError for an unknown task or param, or wrong images."""
        given = {key: value for key, value in (params or {}).items() if value not in (None, "")}
        check_params(given)
        task = given.pop("task", TASKS[0])
        if task not in TASKS:
            raise RequestError(_unknown(f"task is {task!r}", str(task), TASKS))
        try:
            return self._sample(**given) if task == "sample" else self._use(task, model_input)
        except RequestError:
            raise
        except LatentlabError as error:
            raise RequestError(str(error)) from None

    def _use(self, task: str, model_input: Any) -> np.ndarray:
        import torch  # not at the top: MLflow also runs this file to log a model

        images = torch.from_numpy(_valid_images(model_input, self.model))
        with torch.inference_mode():
            return getattr(self.model, task)(images).cpu().numpy()

    def _sample(self, num_images: int = 16, seed: int = 0, **rest: Any) -> np.ndarray:
        if num_images > MAX_SAMPLES:
            raise RequestError(f"num_images is {num_images:,}: ask for at most {MAX_SAMPLES:,}")
        return self.model.sample(num_images, seed=seed, classes=rest.get("class")).cpu().numpy()


def check_params(params: Mapping[str, Any]) -> None:
    """Raise RequestError for a param that does not exist."""
    for name in params:
        if name not in PARAMS:
            raise RequestError(_unknown(f"there is no param {name!r}", str(name), PARAMS))


def _unknown(found: str, name: str, allowed: tuple[str, ...]) -> str:
    close = get_close_matches(name, allowed, n=1)
    hint = f" (did you mean {close[0]!r}?)" if close else ""
    return f"{found}{hint}: use one of {', '.join(allowed)}"


def _valid_images(images: Any, model: Any) -> np.ndarray:
    """Return a float32 copy. Raises RequestError for a wrong type, shape, dtype or range."""
    if not isinstance(images, np.ndarray) or images.ndim != 4 or not len(images):
        found = (
            f"an array of shape {images.shape}" if isinstance(images, np.ndarray) else type(images)
        )
        raise RequestError(f"the input is {found}: pass one array (N, C, H, W) with N ≥ 1")
    if images.shape[1:] != tuple(model.image_shape):
        wanted = ", ".join(map(str, model.image_shape))
        raise RequestError(f"the images have shape {images.shape}: pass (N, {wanted})")
    if images.dtype == np.int64:  # JSON without decimal points: black and white images
        images = images.astype(np.float32)
    if not np.issubdtype(images.dtype, np.floating):
        raise RequestError(
            f"the images have dtype {images.dtype}: pass float32 in [0, 1] (for uint8: x / 255)"
        )
    low, high = images.min(), images.max()
    if not (low >= 0 and high <= 1):  # in this form, NaN fails as well
        raise RequestError(
            f"the values of the images range from {low:g} to {high:g}: scale them to [0, 1]"
        )
    return np.array(images, dtype=np.float32)  # a copy, because torch needs a writable array


def _refuse_unknown_params() -> None:
    """Make a misspelt param an error. MLflow drops params that are not in the signature.

    It has no setting for that, so the function that drops them is wrapped, for the params of these
    models only. If another version of MLflow has no such function, it drops them as before.
    """
    original = getattr(mlflow.pyfunc, ENFORCE, None)
    if original is None or hasattr(original, "__wrapped__"):
        return

    @wraps(original)
    def enforce(params: Any, schema: Any, *args: Any, **kwargs: Any) -> Any:
        ours = {param.name for param in getattr(schema, "params", ())} == set(PARAMS)
        if ours and isinstance(params, Mapping):
            check_params(params)
        return original(params, schema, *args, **kwargs)

    setattr(mlflow.pyfunc, ENFORCE, enforce)


mlflow.models.set_model(PyfuncModel())
