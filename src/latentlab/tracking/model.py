"""Log the folder of a trained model as an MLflow model. Its code is pyfunc.py."""

from __future__ import annotations

import tempfile
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from latentlab.tracking.store import gc_paused, store_errors

_REQUIREMENTS = ("torch", "torchvision", "lightning", "jsonargparse", "numpy", "pyyaml")


def upload_model(client: Any, run_id: str, run_folder: Path, image_shape: Sequence[int]) -> None:
    """Log `run_folder` as the model of the run. Its status is READY after the last file.

    Does nothing if the run has a model already. `image_shape` is (C, H, W). Raises the store's
    error.
    """
    run = client.get_run(run_id)
    if run.outputs is not None and run.outputs.model_outputs:
        return
    logged = client.create_logged_model(run.info.experiment_id, run_folder.name, run_id)
    try:
        with tempfile.TemporaryDirectory() as folder:
            with gc_paused(), _requirements_unchecked():
                _save(f"{folder}/model", run_id, logged, run_folder, image_shape)
            client.log_model_artifacts(logged.model_id, f"{folder}/model")
    except BaseException:
        with suppress(*store_errors()):  # report the first error, not a second one
            client.finalize_logged_model(logged.model_id, "FAILED")
        raise
    client.finalize_logged_model(logged.model_id, "READY")

    from mlflow.entities import LoggedModelOutput

    client.log_outputs(run_id, [LoggedModelOutput(logged.model_id, step=0)])


def _save(
    path: str, run_id: str, logged: Any, run_folder: Path, image_shape: Sequence[int]
) -> None:
    with warnings.catch_warnings():
        # The first warning is about MLflow's own annotations. The second asks for an example
        # input, which MLflow would store and run to infer the signature. It is given below.
        for message in (".*Any type hint is inferred", ".*An input example was not provided"):
            warnings.filterwarnings("ignore", message, UserWarning)

        from mlflow import pyfunc
        from mlflow.models import Model, ModelSignature
        from mlflow.types import DataType, ParamSchema, ParamSpec

        # No schema of the input: pyfunc.py checks it, and the task `sample` has none.
        params = ParamSchema(
            [
                ParamSpec("task", DataType.string, "reconstruct"),
                ParamSpec("num_images", DataType.long, 16),
                ParamSpec("seed", DataType.long, 0),
                ParamSpec("class", DataType.string, ""),
            ]
        )
        location, model_id = logged.artifact_location, logged.model_id
        pyfunc.save_model(
            path,
            python_model=Path(__file__).with_name("pyfunc.py"),
            artifacts={"run": str(run_folder.resolve())},
            signature=ModelSignature(params=params),
            metadata={"input": f"images {('N', *image_shape)}, float in [0, 1]".replace("'", "")},
            pip_requirements=list(_requirements()),
            mlflow_model=Model(artifact_path=location, run_id=run_id, model_id=model_id),
        )


@contextmanager
def _requirements_unchecked() -> Iterator[None]:
    """Let MLflow not compare the requirements with the installed packages: they come from there.

    To find the modules of each package, it would read the lists of files of all packages, which
    takes 1 to 2 CPU seconds (MLflow 3.17).
    """
    from mlflow.utils import environment

    name = "warn_dependency_requirement_mismatches"
    original = getattr(environment, name, None)
    if original is None:  # another version of MLflow
        yield
        return
    setattr(environment, name, lambda requirements: None)
    try:
        yield
    finally:
        setattr(environment, name, original)


def _requirements() -> Iterator[str]:
    for name in _REQUIREMENTS:
        try:
            yield f"{name}=={version(name).partition('+')[0]}"  # PyPI has no version 2.11.0+cpu
        except PackageNotFoundError:
            yield name
