"""A trained model behind MLflow's interface: `mlflow.pyfunc.load_model`, `mlflow models serve`.

MLflow keeps this file beside a copy of the run folder and runs it to load the model; nothing is
pickled. It needs the package installed (`mlflow models serve --env-manager local`). Nothing
imports this module: `Run.log_model` hands MLflow its path.
"""

from __future__ import annotations

from typing import Any

import mlflow
import numpy as np
from mlflow.pyfunc import PythonModel

from latentlab.tracking.errors import mistake

TASKS = ("reconstruct", "encode", "features")


class Served(PythonModel):
    """Images (N, C, H, W) in [0, 1] → what the param `task` asks for, as float32.

    `reconstruct` (the default): images (N, C, H, W); `encode`: codes (N, D); `features`: (N, F).
    """

    def load_context(self, context: Any) -> None:
        """Build the model of the run folder that was logged."""
        import latentlab

        self.model = latentlab.load(context.artifacts["run"])

    # np.ndarray, spelt out: MLflow reads this annotation, and warns where it finds none
    def predict(
        self, context: Any, model_input: np.ndarray, params: dict[str, Any] | None = None
    ) -> np.ndarray:
        """Raises LatentlabError for an unknown task, a wrong shape, or values outside [0, 1]."""
        task = (params or {}).get("task", TASKS[0])
        if task not in TASKS:
            raise mistake(f"unknown task {task!r}: choose one of {', '.join(TASKS)}")
        import torch  # here, because MLflow runs this file also to log a model, without torch

        images = torch.from_numpy(_checked(model_input))
        with torch.inference_mode():
            return getattr(self.model, task)(images).cpu().numpy()


def _checked(images: Any) -> np.ndarray:
    if not isinstance(images, np.ndarray) or images.ndim != 4 or not len(images):
        what = (
            f"an array of shape {images.shape}" if isinstance(images, np.ndarray) else type(images)
        )
        raise mistake(f"got {what}: give images as one array (N, C, H, W) with N ≥ 1")
    if not np.issubdtype(images.dtype, np.floating):
        raise mistake(f"got {images.dtype} images: give float32 in [0, 1] (uint8 / 255)")
    low, high = images.min(), images.max()
    if not (low >= 0 and high <= 1):  # so written, NaN fails as well
        raise mistake(f"got values from {low:g} to {high:g}: images lie in [0, 1]")
    return np.array(images, dtype=np.float32)  # a copy: torch wants it writable


mlflow.models.set_model(Served())
