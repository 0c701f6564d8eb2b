"""`latentlab serve`: MLflow's scoring server for the model of a run, on 127.0.0.1."""

from __future__ import annotations

import os
import shlex
import sys
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from latentlab.tracking.address import tracking_uri, without_password
from latentlab.tracking.store import find_run, open_store
from latentlab.tracking.ui import free_port
from latentlab.utils.errors import LatentlabError

HOST = "127.0.0.1"


@dataclass(frozen=True)
class ServedModel:
    """The address of a logged model, and that of the store that has it."""

    model_uri: str
    store_uri: str

    def command(self, port: int) -> list[str]:
        """The command of MLflow that serves the model in the current environment."""
        return [
            *("mlflow", "models", "serve", "--env-manager", "local"),
            *("--host", HOST, "--port", str(port), "--model-uri", self.model_uri),
        ]

    def shell_line(self, port: int) -> str:
        """The command as a line of a shell. A password of the store is left out."""
        uri = without_password(self.store_uri)
        return f"MLFLOW_TRACKING_URI={shlex.quote(uri)} {shlex.join(self.command(port))}"


def find_model(root: Path, name: str) -> ServedModel:
    """Return the model of the run that `runs/<name>/mlflow_run_id` names.

    `name`: name of a config, or path of a run folder. Updates the paths of a moved project. Raises
    LatentlabError if the model is not trained, or the store does not have its run or its model.
    """
    folder = Path(name) if (Path(name) / "mlflow_run_id").is_file() else root / "runs" / name
    try:
        run_id = (folder / "mlflow_run_id").read_text().strip()
    except OSError:
        raise LatentlabError(_not_trained(root, name)) from None
    uri = tracking_uri(root)
    with open_store(root) as client:
        run = find_run(client, run_id)
        outputs: list[Any] = [] if run is None or run.outputs is None else run.outputs.model_outputs
        models = [client.get_logged_model(output.model_id) for output in outputs]
    ready = [model for model in models if str(model.status) in ("READY", "LoggedModelStatus.READY")]
    if run is None or not ready:
        missing = "no such run" if run is None else "the run, but no model of it"
        raise LatentlabError(
            f"the MLflow store {without_password(uri)} has {missing} ({run_id or 'no id'}): run"
            f" `dvc repro -f {_evaluate(folder.name)}`, which logs the model"
        )
    return ServedModel(f"models:/{ready[-1].model_id}", uri)


def serve_model(root: Path, name: str, *, port: int) -> None:
    """Become MLflow's server of a model, until Ctrl-C. Raises LatentlabError as `find_model`.

    The first free port from `port` on is used.
    """
    served, port = find_model(root, name), free_port(port)
    print(
        f"{name}: http://{HOST}:{port}/invocations (Ctrl-C stops it). It answers when MLflow has"
        " loaded the model and says `Application startup complete`. The same as:\n"
        f"  {served.shell_line(port)}",
        flush=True,
    )
    os.chdir(root)
    os.environ["MLFLOW_TRACKING_URI"] = served.store_uri
    # MLflow starts `uvicorn` by its name, also if the virtual environment is not activated
    here = str(Path(sys.executable).parent)
    os.environ["PATH"] = here + os.pathsep + os.environ.get("PATH", "")
    os.execv(sys.executable, [sys.executable, "-m", *served.command(port)])


def _evaluate(name: str) -> str:
    """The stage that evaluates `name`, as config/seeds.py has it, which tracking cannot import."""
    model, at, seed = name.rpartition("@")
    return f"evaluate_seed@{model}-{seed}" if at else f"evaluate@{name}"


def _not_trained(root: Path, name: str) -> str:
    trained = sorted(path.parent.name for path in root.glob("runs/*/mlflow_run_id"))
    close = get_close_matches(name, trained, n=1)
    exists = f"trained: {', '.join(trained) or 'none'}"
    if not (root / "configs" / f"{name.partition('@')[0]}.yaml").is_file():
        hint = f"did you mean {close[0]!r}? " if close else ""
        return f"unknown model {name!r}: {hint}{exists}"
    return f"{name!r} is not trained: run `dvc repro {_evaluate(name)}`; {exists}"
