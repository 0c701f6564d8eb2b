"""A trained model for `mlflow.pyfunc.load_model` and `mlflow models serve`.

MLflow stores this file beside a copy of the run folder and runs it to load the model. Nothing is
pickled. latentlab must be installed there (`mlflow models serve --env-manager local`). No module
imports this file: `Run.log_model` passes its path to MLflow.
"""

from __future__ import annotations

from typing import Any

import mlflow
import numpy as np
from mlflow.pyfunc import PythonModel

from latentlab.utils.errors import LatentlabError

TASKS = ("reconstruct", "encode", "features")


class PyfuncModel(PythonModel):
    """Map images (N, C, H, W) in [0, 1] to a float32 array. The param `task` selects which.

    `reconstruct` (default): images (N, C, H, W). `encode`: codes (N, D). `features`: (N, F).
    """

    def load_context(self, context: Any) -> None:
        """Load the model from the logged run folder."""
        import latentlab

        self.model = latentlab.load(context.artifacts["run"])

    # MLflow reads the annotation np.ndarray, and warns if it finds none
    def predict(
        self, context: Any, model_input: np.ndarray, params: dict[str, Any] | None = None
    ) -> np.ndarray:
        """Run the task. Raises LatentlabError for an unknown task or images that do not fit."""
        task = (params or {}).get("task", TASKS[0])
        if task not in TASKS:
            raise LatentlabError(f"task is {task!r}: use one of {', '.join(TASKS)}")
        import torch  # not at the top: MLflow also runs this file to log a model

        images = torch.from_numpy(_valid_images(model_input))
        with torch.inference_mode():
            return getattr(self.model, task)(images).cpu().numpy()


def _valid_images(images: Any) -> np.ndarray:
    """Return a float32 copy. Raises LatentlabError for a wrong type, shape, dtype or range."""
    if not isinstance(images, np.ndarray) or images.ndim != 4 or not len(images):
        found = (
            f"an array of shape {images.shape}" if isinstance(images, np.ndarray) else type(images)
        )
        raise LatentlabError(f"the input is {found}: pass one array (N, C, H, W) with N ≥ 1")
    if not np.issubdtype(images.dtype, np.floating):
        raise LatentlabError(
            f"the images have dtype {images.dtype}: pass float32 in [0, 1] (for uint8: x / 255)"
        )
    low, high = images.min(), images.max()
    if not (low >= 0 and high <= 1):  # in this form, NaN fails as well
        raise LatentlabError(
            f"the values of the images range from {low:g} to {high:g}: scale them to [0, 1]"
        )
    return np.array(images, dtype=np.float32)  # a copy, because torch needs a writable array


mlflow.models.set_model(PyfuncModel())
