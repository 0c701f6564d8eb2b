"""Every model × every option of a training: what must not change does not change.

The table OPTIONS is walked for each config: a new config or option is crossed by itself.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import pytest
import torch

from crossed import (
    EPOCHS,
    NAMES,
    QUIET,
    Trained,
    assert_equal_weights,
    base,
    digits,
    every_model,
    prepared,
    train,
)
from interrupted import Interrupted
from latentlab.inference.labels import labels_in_training
from latentlab.training.distributed import running_statistics

__all__ = ["base", "prepared"]  # fixtures
pytestmark = QUIET


# --- options that may not change a weight ---

DOUBLE: dict[str, Any] = {"precision": "64-true", "max_epochs": 1}
OPTIONS: dict[str, dict[str, Any]] = {
    "once more": {},
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


ROUNDING: dict[str, dict[str, Any]] = {
    "layout of memory": {"channels_last": False},
    "one kernel for each operation": {"fused_optimizer": False},
    "other threads": {},  # two, or one if there are more
}


@pytest.fixture(scope="session")
def double(prepared, tmp_path_factory) -> Callable[[str], Trained]:
    """One epoch in float64: Adam turns the rounding of a gradient near 0 into a whole step."""

    @cache
    def trained(name: str) -> Trained:
        return train(name, prepared["plain"], tmp_path_factory.mktemp("work") / name, **DOUBLE)

    return trained


@every_model
@pytest.mark.parametrize("option", list(ROUNDING))
def test_an_option_of_speed_changes_rounding_only(double, prepared, tmp_path, name, option):
    threads = torch.get_num_threads()
    torch.set_num_threads(3 - min(threads, 2) if option == "other threads" else threads)
    try:
        other = train(name, prepared["plain"], tmp_path, **DOUBLE, **ROUNDING[option])
    finally:
        torch.set_num_threads(threads)
    for key, value in double(name).weights.items():
        torch.testing.assert_close(value, other.weights[key], rtol=1e-6, atol=1e-9, msg=key)


# --- data at the edge ---


@every_model
@pytest.mark.parametrize("size", [13, 144])
def test_an_epoch_leaves_out_an_image_or_has_one_batch(prepared, tmp_path, name, size):
    """144 images in 11 batches of 13, without the last image, or in one batch."""
    trained = train(name, prepared["plain"], tmp_path, batch_size=size)
    assert_finite(trained)
    assert max(images for _, _, images, _ in trained.rows) == EPOCHS * (144 // size * size)


@every_model
@pytest.mark.parametrize("level", ["black", "white"])
def test_images_without_any_variance_train(prepared, tmp_path, name, level):
    trained = train(name, prepared[level], tmp_path)
    assert_finite(trained)
    with torch.inference_mode():
        z = trained.sampler.sample((5, trained.model.latent_dim), torch.Generator().manual_seed(0))
        decoded = trained.model.decode(z)
    assert decoded.isfinite().all()
    assert 0 <= float(decoded.min()) <= float(decoded.max()) <= 1


def assert_finite(trained: Trained) -> None:
    wrong = [k for k, v in trained.weights.items() if not v.isfinite().all()]
    assert not wrong
