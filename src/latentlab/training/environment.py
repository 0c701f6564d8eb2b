"""What decides the bits of a training, beside its config, data and seed."""

from __future__ import annotations

import platform
from typing import Any

import torch

from latentlab.utils.versions import version_of

PACKAGES = ("latentlab", "torch", "lightning", "numpy")


def environment() -> dict[str, Any]:
    """Threads, instruction set of the CPU, operating system and versions of this process.

    The order in which numbers are added depends on them, so the last digits do too.
    """
    return {
        "threads": torch.get_num_threads(),
        "cpu": torch.backends.cpu.get_cpu_capability(),
        "system": f"{platform.system()} {platform.machine()}",
        "versions": {
            "Python": platform.python_version(),
            **{package: version_of(package) for package in PACKAGES},
        },
    }


def environment_tags(found: dict[str, Any]) -> dict[str, str]:
    """The environment as tags of an MLflow run."""
    versions = ", ".join(f"{name} {number}" for name, number in found["versions"].items())
    own = {key: str(found[key]) for key in ("threads", "cpu", "system")}
    return {f"environment.{key}": value for key, value in {**own, "versions": versions}.items()}
