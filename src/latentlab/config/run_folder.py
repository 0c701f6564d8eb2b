"""Read a run folder: runs/<name>, which stage train writes and everything later reads.

It holds weights.pt and sampler.pt (state_dicts, read with `weights_only=True`), experiment.json
(all that is needed to build the model again), code.json (checksums of its file), history.csv,
cost.json and mlflow_run_id. With `checkpoint: best` also weights_last.pt and best_checkpoint.json.
The folder is complete: it can be copied to any place, and `latentlab.load` takes its path.

A folder of `latentlab export --format safetensors` is read in the same way: config.json has the
content of experiment.json, and model.safetensors and sampler.safetensors are the weights.
"""

from __future__ import annotations

import json
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from latentlab.config import safetensors
from latentlab.config.experiment import Experiment, build
from latentlab.config.keys import nearest
from latentlab.config.seeds import Training, stage_of
from latentlab.config.selection import CLASSIFIER, model_names, task_names
from latentlab.config.yaml_files import read_yaml
from latentlab.utils.errors import LatentlabError
from latentlab.utils.files import damage

FILES = ("weights.pt", "sampler.pt")
SKIPPED = "skipped.json"  # in place of all of this: the reason, for `on_unsuitable: skip`
DESCRIPTIONS = ("experiment.json", "config.json")  # of stage train, of `latentlab export`


def is_run_folder(folder: Path) -> bool:
    """True for a folder of stage train, and for one with exported weights."""
    exported = (folder / "config.json").is_file() and (folder / "model.safetensors").is_file()
    return (folder / "experiment.json").is_file() or exported


def skipped_reason(folder: Path) -> str | None:
    """Why a model was left out of the training; None for one that was not.

    `folder`: of a run or of results. Raise LatentlabError for a damaged file.
    """
    path = folder / SKIPPED
    if not path.is_file():
        return None
    try:
        return str(json.loads(path.read_text(encoding="utf-8"))["reason"])
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise LatentlabError(
            f"{path} is not readable ({error!r}): run `dvc repro -f {_stage(folder.name)}`"
        ) from None


def find_run(name: str, root: Path) -> Path:
    """Return the run folder of a training, such as `vae` or `vae@1`.

    `vae@0` is `vae` if `seed` of params.yaml is 0. Raise LatentlabError that lists the trained
    ones.
    """
    params, training = read_yaml(root / "params.yaml"), Training.parse(name)
    if training.seed is not None and training.seed == params.get("seed"):
        training = Training(training.model)
    folder = root / "runs" / training.name
    if (folder / "experiment.json").is_file():
        return folder
    if reason := skipped_reason(folder):
        raise LatentlabError(f"{name!r} was left out, as the data do not suit it: {reason}")
    trained = sorted(path.parent.name for path in root.glob("runs/*/experiment.json"))
    configs = sorted([*model_names(root), CLASSIFIER])
    exists = f"trained: {', '.join(trained) or 'none'}"
    if training.model in configs:
        first = _to_list(training, params)
        raise LatentlabError(
            f"{name!r} is not trained yet: {first}run `dvc repro {_stage(training.name)}`; {exists}"
        )
    if name in task_names(root):
        raise LatentlabError(f"{name!r} is a task, no model: give the name of a model; {exists}")
    close = nearest(name, [*trained, *configs])
    choice = (
        f"did you mean {close!r}? {exists}" if close else f"{exists}; configs: {', '.join(configs)}"
    )
    raise LatentlabError(f"unknown model {name!r}: {choice}")


def _to_list(training: Training, params: Mapping[str, Any]) -> str:
    """What params.yaml lacks, so that the pipeline has a stage of this training."""
    model, seed, missing = training.model, training.seed, []
    if model not in {CLASSIFIER, *(params.get("models") or {})}:
        missing.append(f"list {'it' if seed is None else model} under `models` in params.yaml")
    if seed is not None and seed not in (params.get("more_seeds") or []):
        missing.append(f"add {seed} to `more_seeds` in params.yaml")
    return "".join(f"{each}, then " for each in missing)


def rebuild(folder: Path, *, allow: Sequence[str] = ()) -> tuple[Experiment, dict[str, Any]]:
    """Build the experiment of a run folder, with trained weights; return it and experiment.json.

    `allow`: packages whose classes the run may name. Raise LatentlabError for an incomplete or
    damaged folder.
    """
    exported = not (folder / "experiment.json").is_file() and is_run_folder(folder)
    description = DESCRIPTIONS[exported]
    weights = ("model.safetensors", "sampler.safetensors") if exported else FILES
    try:
        stored = json.loads((folder / description).read_text(encoding="utf-8"))
        data_spec = dict(stored["data_spec"])
        data_spec["image_shape"] = tuple(data_spec["image_shape"])
        experiment = build(
            str(stored["name"]),
            dict(stored["resolved"]),
            data_spec,
            root=folder,
            files=f"{folder}/{description}",
            allow=allow,
        )
        load_weights(experiment.model, folder / weights[0])
        if experiment.sampler is not None:
            load_weights(experiment.sampler, folder / weights[1])
    except (OSError, KeyError, TypeError, ValueError, RecursionError) as error:
        raise LatentlabError(
            f"{folder} is not a complete run folder ({error}): run `dvc repro"
            f" {_stage(folder.name)}` to write it again"
        ) from None
    return experiment, stored


def load_weights(module: torch.nn.Module, path: Path) -> None:
    """Load a state_dict into `module`. No code that the file may contain is run.

    Raise LatentlabError for a file that is no state_dict of this module, OSError for a missing
    file.
    """
    try:
        module.load_state_dict(_read_weights(path))
    except (FileNotFoundError, PermissionError):
        raise
    except Exception as error:  # a damaged file can raise anything
        raise LatentlabError(
            f"{path} does not hold this model's weights: {damage(path, error)}."
            f" {_how_to_restore(path.resolve().parent)}"
        ) from None


def _how_to_restore(folder: Path) -> str:
    """What to do about a damaged file of a run folder, or of an exported one."""
    if folder.parent.name != "runs" or not (folder.parents[1] / "dvc.yaml").is_file():
        return "Copy or export the folder again"
    return (
        f"Restore it with `dvc checkout --force runs/{folder.name}`, or train again with"
        f" `dvc repro {_stage(folder.name)}`"
    )


def _read_weights(path: Path) -> Any:
    """Read the file of torch.save. Raise ValueError for a small file that claims large tensors."""
    if path.suffix == ".safetensors":
        return safetensors.read(path)
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            if sum(part.file_size for part in archive.infolist()) > path.stat().st_size:
                raise ValueError("the file is compressed; torch.save never compresses")
    state = torch.load(path, weights_only=True, map_location="cpu")
    for name, tensor in state.items():
        if tensor.numel() * tensor.element_size() > tensor.untyped_storage().nbytes():
            raise ValueError(f"{name} claims {tensor.numel():,} values, but does not hold them")
    return state


def _stage(name: str) -> str:
    return name if name == CLASSIFIER else stage_of("train", name)
