"""Short trainings of every config, for tests that cross it with options and with uses.

Trainings have a few steps on small images. `make crossings` runs all configs, `make test` SHORT.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from latentlab.config import load_experiment
from latentlab.config.selection import model_names
from latentlab.contracts import to_float
from latentlab.data.datamodule import ImageDataModule
from latentlab.data.prepared import read_meta, read_split, write_prepared
from latentlab.data.settings import DataSettings
from latentlab.data.sources import Images, Source
from latentlab.training import fit
from latentlab.training.fit_sampler import fit_classes, fit_sampler
from latentlab.training.resume import find_resume_point

REPO = Path(__file__).resolve().parents[1]
NAMES = model_names(REPO)
SHORT = ("memorizer_ae", "conditional_vae", "hinge_gan")
BATCH, EPOCHS = 24, 2

cases = [pytest.param(name, marks=() if name in SHORT else pytest.mark.crossings) for name in NAMES]
every_model = pytest.mark.parametrize("name", cases)
QUIET = [
    pytest.mark.filterwarnings("ignore::lightning.fabric.utilities.warnings.PossibleUserWarning"),
    pytest.mark.filterwarnings("ignore:.*num_workers.*"),
]


@cache
def digits() -> tuple[np.ndarray, np.ndarray]:
    from sklearn.datasets import load_digits

    found = load_digits()
    images = (found.images * 255 / 16).round().astype(np.uint8)[:, None]
    return images[:240], found.target[:240].astype(np.int64)


@pytest.fixture(scope="session")
def prepared(tmp_path_factory) -> dict[str, Path]:
    """Prepared folders of digits.

    "plain"; with "permuted" labels; with other images in split "test"; all images "black", "white".
    """
    images, labels = digits()
    source = Source(
        "digits", Images(images, labels, range(len(images))), None, tuple(map(str, range(10)))
    )
    settings = DataSettings(name="digits", val_fraction=0.2, test_fraction=0.2)
    top = tmp_path_factory.mktemp("crossings")
    folders = {kind: top / kind for kind in ("plain", "permuted", "test", "black", "white")}
    for folder in folders.values():
        write_prepared(source, settings, 0, folder)
    for kind, level in (("black", 0), ("white", 255)):
        for path in folders[kind].glob("*_images.npy"):
            np.save(path, np.full_like(np.load(path), level))
    for split in ("train", "val"):
        path = folders["permuted"] / f"{split}_labels.npy"
        np.save(path, np.random.default_rng(0).permutation(np.load(path)))
    path = folders["test"] / "test_images.npy"
    np.save(path, 255 - np.load(path))
    return folders


class Trained:
    """A model after a short training, with its sampler and curves."""

    def __init__(self, experiment: Any, result: Any) -> None:
        self.model, self.sampler = experiment.model.eval().cpu(), experiment.sampler
        self.rows = result.history.rows
        self.weights = {k: v.clone() for k, v in self.model.state_dict().items()}


def train(
    name: str,
    folder: Path,
    work: Path,
    *,
    loader: dict[str, Any] | None = None,
    resume: bool = False,
    score: Callable[[Any], float] | None = None,
    **trainer: Any,
) -> Trained:
    """Train the config `name` for EPOCHS epochs; `trainer` and `loader` replace settings."""
    experiment = load_experiment(name, read_meta(folder).data_spec, REPO)
    settings = {"batch_size": BATCH, "max_epochs": EPOCHS, "num_validations": 1, **trainer}
    settings = {"checkpoint": "last", "total_images": 10**6, "ema_decay": None, **settings}
    experiment = replace(experiment, trainer=replace(experiment.trainer, **settings))
    data = ImageDataModule(folder, batch_size=settings["batch_size"], seed=0, **(loader or {}))
    fit_classes(experiment, data.split("train"))
    point = find_resume_point(work) if resume else None
    result = fit(experiment, data, work=work, resume=point, score=score)
    fit_sampler(experiment, data.split("train"))
    return Trained(experiment, result)


@pytest.fixture(scope="session")
def base(prepared, tmp_path_factory) -> Callable[[str], Trained]:
    """The training of a config without any option, once for each."""

    @cache
    def trained(name: str) -> Trained:
        return train(name, prepared["plain"], tmp_path_factory.mktemp("work") / name)

    return trained


def assert_equal_weights(a: Trained, b: Trained) -> None:
    assert a.weights.keys() == b.weights.keys()
    different = [key for key, value in a.weights.items() if not torch.equal(value, b.weights[key])]
    assert not different, f"{different[:5]} of {len(different)} differ"


@pytest.fixture(scope="session")
def images(prepared) -> Tensor:
    return to_float(read_split(prepared["plain"], "test").images)
