"""The run folder that train writes, and everything later reads.

It holds weights.pt and sampler.pt (state_dicts, read with `weights_only=True`), experiment.json
(everything needed to build the model again), history.csv, cost.json and mlflow_run_id; where the
best weights were selected, weights_last.pt and selected.json too. It stands on its own: copy it
anywhere and `latentlab.load` its path.
"""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from latentlab.config import Experiment, build
from latentlab.contracts import Autoencoder, ClassSampler, LatentlabError, Split
from latentlab.files import fresh_folder, write_json

if TYPE_CHECKING:
    from latentlab.data.prepared import Meta
    from latentlab.training import Fitted


def fit_sampler(experiment: Experiment, train: Split) -> None:
    """Fit the experiment's sampler to the training codes, if there are any."""
    model, sampler = experiment.model.eval().cpu(), experiment.sampler
    learns = sampler is not None and getattr(sampler, "learns", True)
    if not learns or not isinstance(model, Autoencoder):
        return
    encode: Callable[[Tensor], Tensor] = model.encode
    with torch.inference_mode():
        codes = torch.cat([encode(x) for x in train.batches()])
    with _fitting(experiment):
        sampler.fit(codes)


def fit_classes(experiment: Experiment, train: Split) -> None:
    """Tell the experiment's sampler how frequent each class is, if its codes name one."""
    if isinstance(experiment.sampler, ClassSampler) and train.labels is not None:
        with _fitting(experiment):
            experiment.sampler.fit_classes(train.labels)


@contextmanager
def _fitting(experiment: Experiment) -> Iterator[None]:
    try:
        yield
    except (ValueError, torch.linalg.LinAlgError) as error:
        raise LatentlabError(f"{experiment.name}: its sampler cannot be fitted: {error}") from None


def write_run(experiment: Experiment, meta: Meta, fitted: Fitted, *, run_id: str) -> Path:
    """Write runs/<name> : whole, or not at all."""
    folder = experiment.project.root / "runs" / experiment.name
    description = {
        "name": experiment.name,
        "facts": {key: list(v) if isinstance(v, tuple) else v for key, v in meta.facts.items()},
        "data_sha256": meta.sha256,
        "resolved": experiment.resolved,
        "device": fitted.device,
    }
    with fresh_folder(folder) as fresh:
        if fitted.best is not None:
            _save(experiment.model, fresh / "weights_last.pt")
            experiment.model.load_state_dict(fitted.best.weights)
            best = {"val_fid": fitted.best.value, "images": fitted.best.images}
            write_json(fresh / "selected.json", best)
        _save(experiment.model, fresh / "weights.pt")
        if experiment.sampler is not None:
            _save(experiment.sampler, fresh / "sampler.pt")
        write_json(fresh / "experiment.json", description)
        write_json(fresh / "cost.json", fitted.cost)
        (fresh / "history.csv").write_text(fitted.history.csv())
        (fresh / "mlflow_run_id").write_text(run_id + "\n")
    return folder


def _save(module: torch.nn.Module, path: Path) -> None:
    with path.open("wb") as file:  # given a path, torch hides why a disk did not take it
        torch.save(module.cpu().state_dict(), file)


def fill(module: torch.nn.Module, path: Path) -> None:
    """Load a state_dict into `module`; nothing else that a file may hold is ever run.

    Raises LatentlabError for what is no state_dict of this module, OSError for a missing file.
    """
    try:
        module.load_state_dict(_state(path))
    except (FileNotFoundError, PermissionError):
        raise
    except Exception as error:  # of a damaged file, whatever the reader stumbles over first
        first = (str(error) or type(error).__name__).splitlines()[0]
        raise LatentlabError(f"{path} does not hold this model's weights: {first}") from None


def _state(path: Path) -> Any:
    """What torch.save wrote; ValueError for a small file that claims to hold much."""
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:  # torch never compresses
            if sum(part.file_size for part in archive.infolist()) > path.stat().st_size:
                raise ValueError("it is compressed, which weights never are")
    state = torch.load(path, weights_only=True, map_location="cpu")
    for name, tensor in state.items():
        if tensor.numel() * tensor.element_size() > tensor.untyped_storage().nbytes():
            raise ValueError(f"{name} claims {tensor.numel():,} numbers and does not hold them")
    return state


def rebuild(folder: Path, *, allow: Sequence[str] = ()) -> tuple[Experiment, dict[str, Any]]:
    """A run folder → the experiment with its trained weights, and its experiment.json.

    `allow` names packages whose classes it may name. Raises LatentlabError for what is not whole.
    """
    try:
        card = json.loads((folder / "experiment.json").read_text(encoding="utf-8"))
        facts = {**card["facts"], "image_shape": tuple(card["facts"]["image_shape"])}
        experiment = build(
            str(card["name"]),
            dict(card["resolved"]),
            facts,
            root=folder,
            files=f"{folder}/experiment.json",
            allow=allow,
        )
        fill(experiment.model, folder / "weights.pt")
        if experiment.sampler is not None:
            fill(experiment.sampler, folder / "sampler.pt")
    except (OSError, KeyError, TypeError, ValueError, RecursionError) as error:
        stage = "judge" if folder.name == "judge" else f"train@{folder.name}"
        raise LatentlabError(
            f"{folder} is not a complete run folder ({error}): `dvc repro {stage}` makes it anew"
        ) from None
    return experiment, card


def find_run(name: str, root: Path) -> Path:
    """The run folder of a trained model; LatentlabError lists what exists if there is none."""
    folder = root / "runs" / name
    if (folder / "experiment.json").is_file():
        return folder
    trained = sorted(p.parent.name for p in root.glob("runs/*/experiment.json"))
    known = sorted(p.stem for p in root.glob("configs/*.yaml"))
    have = f"trained: {', '.join(trained) or 'none yet'}"
    if name in known:
        stage = name if name == "judge" else f"train@{name}"
        raise LatentlabError(f"{name!r} is not trained yet: `dvc repro {stage}`; {have}")
    raise LatentlabError(f"unknown model {name!r}: {have}; configs: {', '.join(known)}")
