"""Every model × every option and use: what must not change does not change.

The table OPTIONS is walked for each config: a new config or option is crossed by itself. Trainings
have a few steps on small images. `make crossings` runs all of it; `make test` runs SHORT.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from interrupted import Interrupted
from latentlab.config import load_experiment
from latentlab.config.selection import model_names
from latentlab.contracts import DiscreteCodes, Encoder, to_float
from latentlab.data.datamodule import ImageDataModule
from latentlab.data.prepared import read_meta, read_split, write_prepared
from latentlab.data.settings import DataSettings
from latentlab.data.sources import Images, Source
from latentlab.inference.blocks import sample_blocks
from latentlab.inference.labels import labels_in_training
from latentlab.training import fit
from latentlab.training.distributed import running_statistics
from latentlab.training.fit_sampler import fit_classes, fit_sampler
from latentlab.training.resume import find_resume_point

REPO = Path(__file__).resolve().parents[1]
NAMES = model_names(REPO)
SHORT = ("memorizer_ae", "conditional_vae", "hinge_gan")
BATCH, EPOCHS = 24, 2

cases = [pytest.param(name, marks=() if name in SHORT else pytest.mark.crossings) for name in NAMES]
every_model = pytest.mark.parametrize("name", cases)
pytestmark = [
    pytest.mark.filterwarnings("ignore::lightning.fabric.utilities.warnings.PossibleUserWarning"),
    pytest.mark.filterwarnings("ignore:.*num_workers.*"),
]


@cache
def digits() -> tuple[np.ndarray, np.ndarray]:
    from sklearn.datasets import load_digits

    found = load_digits()
    images = (found.images * 255 / 16).round().astype(np.uint8)[:, None]
    return images[:240], found.target[:240].astype(np.int64)


@pytest.fixture(scope="module")
def prepared(tmp_path_factory) -> dict[str, Path]:
    """Prepared folders: "plain"; with "permuted" labels; with other images in split "test"."""
    images, labels = digits()
    source = Source(
        "digits", Images(images, labels, range(len(images))), None, tuple(map(str, range(10)))
    )
    settings = DataSettings(name="digits", val_fraction=0.2, test_fraction=0.2)
    top = tmp_path_factory.mktemp("crossings")
    folders = {kind: top / kind for kind in ("plain", "permuted", "test")}
    for folder in folders.values():
        write_prepared(source, settings, 0, folder)
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
    data = ImageDataModule(folder, batch_size=BATCH, seed=0, **(loader or {}))
    fit_classes(experiment, data.split("train"))
    point = find_resume_point(work) if resume else None
    result = fit(experiment, data, work=work, resume=point, score=score)
    fit_sampler(experiment, data.split("train"))
    return Trained(experiment, result)


@pytest.fixture(scope="module")
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


# --- options that may not change a weight ---

OPTIONS: dict[str, dict[str, Any]] = {
    "validations": {"num_validations": 2},
    "logging": {"log_every_n_steps": 1},
    "stream": {"loader": {"loader": "stream", "num_workers": 2}},
    "best": {"num_validations": 2, "score": lambda model: float(next(model.parameters()).sum())},
}


@every_model
@pytest.mark.parametrize("option", list(OPTIONS))
def test_an_option_that_only_looks_changes_no_weight(base, prepared, tmp_path, name, option):
    other = train(name, prepared["plain"], tmp_path, **OPTIONS[option])
    assert_equal_weights(base(name), other)


@every_model
def test_test_images_have_no_influence(base, prepared, tmp_path, name):
    assert_equal_weights(base(name), train(name, prepared["test"], tmp_path))


@every_model
def test_labels_change_exactly_the_models_that_are_given_them(base, prepared, tmp_path, name):
    """`num_labels` on the page is true: a model that is said to see no labels sees none."""
    other = train(name, prepared["permuted"], tmp_path)
    same = all(torch.equal(v, other.weights[k]) for k, v in base(name).weights.items())
    assert same == (labels_in_training(base(name).model, len(digits()[0])) == 0)


# --- options that change the arithmetic ---


PRECISIONS: dict[str, dict[str, Any]] = {
    "plain": {},
    "double": {"precision": "64-true"},
    "bfloat16": {"precision": "bf16-mixed"},
    "average": {"ema_decay": 0.9},
    "average in double": {"ema_decay": 0.9, "precision": "64-true"},
    "average, best": {
        "ema_decay": 0.9,
        "num_validations": 2,
        "score": lambda model: float(next(model.parameters()).sum()),
    },
}


# `make test` has each option with a small model, and some with the others
RESUMED = {
    "memorizer_ae": list(PRECISIONS),
    "conditional_vae": ["double", "average, best"],
    "hinge_gan": ["bfloat16", "average, best"],
}
resumed_cases = [
    pytest.param(
        *(name, option),
        marks=() if option in RESUMED.get(name, ()) else pytest.mark.crossings,
    )
    for name in NAMES
    for option in PRECISIONS
]


@pytest.mark.parametrize(("name", "option"), resumed_cases)
def test_a_killed_and_resumed_training_has_the_same_weights(
    prepared, tmp_path, monkeypatch, name, option
):
    settings = PRECISIONS[option]
    whole = train(name, prepared["plain"], tmp_path / "whole", **settings)
    assert all(v.isfinite().all() for v in whole.weights.values() if v.is_floating_point())
    with monkeypatch.context() as patch:
        patch.setattr("latentlab.training.loop.PeriodicCheckpoint", Interrupted)
        with pytest.raises(RuntimeError, match="the power went off"):
            train(name, prepared["plain"], tmp_path / "parts", log_every_n_steps=1, **settings)
    resumed = train(name, prepared["plain"], tmp_path / "parts", resume=True, **settings)
    assert_equal_weights(whole, resumed)


@every_model
def test_an_average_changes_parameters_and_running_statistics_only(base, prepared, tmp_path, name):
    averaged = train(name, prepared["plain"], tmp_path, ema_decay=0.5)
    plain = base(name)
    parameters = {key for key, _ in averaged.model.named_parameters()}
    statistics = {value.data_ptr() for value in running_statistics(averaged.model)}
    state = averaged.model.state_dict(keep_vars=True)
    for key, value in averaged.weights.items():
        if key in parameters or state[key].data_ptr() in statistics or "._u" in key or "._v" in key:
            continue
        assert torch.equal(value, plain.weights[key]), key
    for module in averaged.model.modules():
        for each in getattr(module, "parametrizations", {}).values():
            if "SpectralNorm" in type(each[0]).__name__:
                matrix = module.weight.detach().flatten(1)
                assert float(torch.linalg.matrix_norm(matrix, 2)) == pytest.approx(1, abs=0.05)


@every_model
def test_the_layout_of_memory_changes_rounding_only(base, prepared, tmp_path, name):
    """In float64: Adam turns the rounding of a gradient near 0 into a whole step."""
    settings = {"precision": "64-true", "max_epochs": 1}
    pair = [
        train(name, prepared["plain"], tmp_path / str(last), channels_last=last, **settings)
        for last in (False, True)
    ]
    for key, value in pair[0].weights.items():
        torch.testing.assert_close(value, pair[1].weights[key], rtol=1e-6, atol=1e-9, msg=key)


# --- uses of a trained model ---


@pytest.fixture(scope="module")
def images(prepared) -> Tensor:
    return to_float(read_split(prepared["plain"], "test").images)


def codes_of(trained: Trained, images: Tensor) -> Tensor:
    with torch.inference_mode():
        if isinstance(trained.model, Encoder):
            return trained.model.encode(images)
        generator = torch.Generator().manual_seed(0)
        return trained.sampler.sample((len(images), trained.model.latent_dim), generator)


@every_model
def test_one_image_gives_what_it_gives_among_many(base, images, name):
    trained = base(name)
    z = codes_of(trained, images)
    with torch.inference_mode():
        for function, values in ((trained.model.features, images), (trained.model.decode, z)):
            many = function(values)
            one = torch.cat([function(value[None]) for value in values[:5]])
            torch.testing.assert_close(many[:5], one, rtol=1e-3, atol=1e-4)


@every_model
def test_images_are_finite_and_in_range_for_any_code(base, images, name):
    trained = base(name)
    z = codes_of(trained, images)
    scales = (1.0,) if isinstance(trained.model, DiscreteCodes) else (0.0, 1.0, 30.0)
    with torch.inference_mode():
        for scale in scales:
            decoded = trained.model.decode(z * scale)
            assert decoded.isfinite().all(), scale
            assert 0 <= float(decoded.min()) <= float(decoded.max()) <= 1, scale


@every_model
def test_use_changes_no_state_and_no_global_generator(base, images, name):
    trained = base(name)
    state = torch.get_rng_state()
    with torch.inference_mode():
        z = codes_of(trained, images)
        trained.model.decode(z)
        trained.model.features(images)
    if trained.sampler is not None:
        trained.sampler.sample((7, trained.model.latent_dim), torch.Generator().manual_seed(1))
    for key, value in trained.model.state_dict().items():
        assert torch.equal(value, trained.weights[key]), key
    assert torch.equal(state, torch.get_rng_state())


@every_model
def test_fewer_codes_are_the_first_of_more(base, name):
    sampler, dim = base(name).sampler, base(name).model.latent_dim
    if sampler is None:
        pytest.skip("no sampler")
    many = sample_blocks(sampler, 120, dim, torch.Generator().manual_seed(3))
    for count in (1, 3, 15, 16, 17, 100):
        few = sample_blocks(sampler, count, dim, torch.Generator().manual_seed(3))
        assert torch.equal(few, many[:count]), count


@every_model
def test_a_copy_gives_the_same(base, images, name):
    trained = base(name)
    copied = copy.deepcopy(trained.model)
    with torch.inference_mode():
        assert torch.equal(copied.features(images), trained.model.features(images))


@every_model
def test_the_smallest_batch_of_validation_is_one_image(base, images, name):
    trained = base(name)
    values = trained.model.validation_step((images[:1], torch.zeros(1, dtype=torch.int64)), 0)
    assert all(value.isfinite() for value in values.values())
