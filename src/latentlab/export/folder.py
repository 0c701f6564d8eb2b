"""The folder of an exported model. It is written as a whole, or not at all."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np

from latentlab.config import safetensors
from latentlab.export.card import model_card
from latentlab.export.programs import require_onnx, write_programs
from latentlab.inference.trained import TrainedModel
from latentlab.utils.errors import LatentlabError
from latentlab.utils.files import fresh_folder

NUM_CODES = 1000
FORMATS: dict[str, Callable[[TrainedModel, Path], list[str]]] = {
    "safetensors": lambda trained, folder: write_weights(trained, folder),
    "torch.export": lambda trained, folder: _programs(trained, folder, "torch.export"),
    "onnx": lambda trained, folder: _programs(trained, folder, "onnx"),
}


def export_model(trained: TrainedModel, folder: Path, form: str) -> list[str]:
    """Write the files of a format, config.json and README.md into a new folder. Return notes.

    Raises LatentlabError if the folder exists, the model has no codes, packages are missing, or a
    part cannot be exported.
    """
    if folder.exists():
        raise LatentlabError(f"{folder} exists already: give a new folder with -o")
    trained.require_generative()
    if form == "onnx":
        require_onnx()
    folder.parent.mkdir(parents=True, exist_ok=True)
    with fresh_folder(folder) as fresh:
        notes = FORMATS[form](trained, fresh)
        metadata = {**trained.metadata, "classes": list(trained.classes or ()) or None}
        (fresh / "config.json").write_text(json.dumps(metadata, indent=1) + "\n")
        (fresh / "README.md").write_text(model_card(trained, fresh, form, notes), encoding="utf-8")
    return notes


def write_weights(trained: TrainedModel, folder: Path) -> list[str]:
    """Write model.safetensors and sampler.safetensors."""
    for name, module in (("model", trained.module), ("sampler", trained.sampler)):
        content = safetensors.to_bytes(module.state_dict())
        (folder / f"{name}.safetensors").write_bytes(content)
    return []


def _programs(trained: TrainedModel, folder: Path, form: str) -> list[str]:
    """The programs, and codes to decode: the sampler itself is no program."""
    notes = write_programs(trained, folder, form)
    np.save(folder / "codes.npy", trained.sample_latents(NUM_CODES).numpy())
    return notes
