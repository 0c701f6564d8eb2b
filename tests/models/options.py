"""Settings of a GAN for the tests of its training steps: each option alone."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pytest

from latentlab.networks.regularization import DiscriminatorRegularization
from latentlab.optim.adversarial import AdversarialOptim

RATES = {"generator_lr": 0.1, "discriminator_lr": 0.1}

# Settings of `regularization`, and settings of `optim`.
OPTIONS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "plain": ({}, {}),
    "real_label": ({"real_label": 0.8}, {}),
    "fake_label": ({"fake_label": 0.3}, {}),
    "instance_noise_std": ({"instance_noise_std": 0.4}, {}),
    "minibatch_stddev": ({"minibatch_stddev": True}, {}),
    "packing": ({"packing": 2}, {}),
    "spectral_norm": ({"spectral_norm": True}, {}),
    "r1_gamma": ({"r1_gamma": 0.3}, {}),
    "r1_interval": ({"r1_gamma": 0.3, "r1_interval": 2}, {}),
    "diff_augment": ({"diff_augment": ("brightness", "cutout")}, {}),
    "learning_rates": ({}, {"generator_lr": 0.05, "discriminator_lr": 0.02}),
    "linear_decay": ({}, {"linear_decay": True}),
    "discriminator_steps": ({}, {"linear_decay": True, "discriminator_steps": 2}),
}
OF_OPTIM = ("plain", "learning_rates", "linear_decay", "discriminator_steps")


def every_option(unsupported: Iterable[str] = (), *, only: Iterable[str] = OPTIONS) -> Any:
    """Parametrize a test by `settings`: the arguments `optim` and `regularization` of a model."""
    names = set(unsupported) | ({"r1_interval"} if "r1_gamma" in unsupported else set())
    cases = []
    for name in only:
        regularization, optim = OPTIONS[name]
        settings: dict[str, Any] = {"optim": AdversarialOptim(**{**RATES, **optim})}
        if set(only) != set(OF_OPTIM):
            settings["regularization"] = DiscriminatorRegularization(**regularization)
        if name not in names:
            cases.append(pytest.param(settings, id=name))
    return pytest.mark.parametrize("settings", cases)
