"""Two YAML files → one typed, seeded experiment.

params.yaml holds what all models share, configs/<name>.yaml how one model is built and trained. The
signatures of the classes are the schema: a misspelt key or a wrong type is an error before anything
runs. A key set in both files is an error too; nothing overrides anything.
"""

from __future__ import annotations

import math
import random
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from latentlab.building import assemble, parse
from latentlab.contracts import LatentlabError
from latentlab.data.settings import DataSettings
from latentlab.yamls import read_yaml

if TYPE_CHECKING:
    from lightning import LightningModule

SECTIONS = ("seed", "data", "trainer", "evaluation", "hardware", "models", "model", "sampler")
SCALARS = ("seed", "allow")  # all other sections are mappings
RESERVED = ("judge", "reference")  # stages of their own write runs/ and results/ by these names


@dataclass(frozen=True)
class TrainerSettings:
    """How long and in what steps a model trains.

    `images`: training images it sees in all, rounded up to whole epochs, so that one number suits
    data sets of any size. `batch_size` is global: several devices share it. `log_every` counts
    steps, `validations` those of one training. `channels_last` lays convolutions out as NHWC.
    `fused`: one kernel per optimizer step. `compile`: torch.compile for each of the model's
    networks. `ema_decay`: the trained model is the exponential moving average of the weights.
    `sync_batchnorm`: several GPUs normalise by the statistics of the global batch, as one would.
    """

    batch_size: int = 128
    images: int = 1_000_000
    precision: Literal["32-true", "bf16-mixed", "16-mixed", "64-true"] = "32-true"
    log_every: int = 50
    validations: int = 20
    channels_last: bool = True
    fused: bool = True
    compile: bool = False
    ema_decay: float | None = None
    sync_batchnorm: bool = True

    def __post_init__(self) -> None:
        for key in ("batch_size", "images", "log_every", "validations"):
            if not 1 <= getattr(self, key) < 2**63:
                raise LatentlabError(f"trainer.{key} is {getattr(self, key)}: it must be ≥ 1")
        if self.ema_decay is not None and not 0 < self.ema_decay < 1:
            raise LatentlabError(f"trainer.ema_decay is {self.ema_decay}: it must be in (0, 1)")


@dataclass(frozen=True)
class EvaluationSettings:
    """The yardsticks' settings, the same for every model.

    `features`: the space of FID, "judge" (128-d) or "inception" (2048-d; needs the weights' path
    and SHA-256). `num_samples` None: as many as there are test images. Models without an encoder
    are inverted on the first `inversion_images` test images: the best of `inversion_draws` prior
    draws, then `inversion_steps` Adam steps at rate `inversion_lr`. `probe_l2`: the weight of
    ‖W‖²/2 in the probe's objective. `seed` drives every draw of the evaluation.
    """

    features: Literal["judge", "inception"] = "judge"
    inception_weights: str | None = None
    inception_sha256: str | None = None
    num_samples: int | None = None
    inversion_images: int = 1000
    inversion_draws: int = 2000
    inversion_steps: int = 100
    inversion_lr: float = 0.1
    probe_l2: float = 1e-3
    seed: int = 0

    def __post_init__(self) -> None:
        least = {"inversion_images": 1, "inversion_draws": 1, "inversion_steps": 0, "seed": 0}
        for key, low in {**least, "num_samples": 2}.items():
            value = getattr(self, key)
            if value is not None and not low <= value < 2**32:
                raise LatentlabError(f"evaluation.{key} is {value}: it must be ≥ {low} and < 2^32")
        if not 0 < self.inversion_lr < math.inf:
            raise LatentlabError(f"evaluation.inversion_lr is {self.inversion_lr}: it must be > 0")
        if not 0 <= self.probe_l2 < math.inf:
            raise LatentlabError(f"evaluation.probe_l2 is {self.probe_l2}: it must be ≥ 0")


@dataclass(frozen=True)
class HardwareSettings:
    """Where it runs; no number may depend on it beyond rounding.

    The number of devices is the exception, and only for models that draw noise: each has its own.
    `num_workers`: threads that read ahead of a streamed training, 0 for none.
    `checkpoint_seconds`: how much of a training a crash may cost; 0 saves at every `log_every`.
    """

    accelerator: str = "auto"
    devices: int | str = "auto"
    strategy: str = "auto"
    loader: Literal["auto", "memory", "stream"] = "auto"
    num_workers: int = 1
    checkpoint_seconds: float = 60.0


@dataclass(frozen=True)
class Project:
    """params.yaml, parsed: everything that is not about one model."""

    root: Path
    seed: int
    data: DataSettings
    trainer: TrainerSettings
    evaluation: EvaluationSettings
    hardware: HardwareSettings
    models: dict[str, str]

    @property
    def prepared(self) -> Path:
        return self.root / "data" / "prepared"

    @property
    def reference(self) -> Path:
        return self.root / "data" / "reference"


@dataclass(frozen=True)
class Experiment:
    """One model's experiment; `resolved` is every value behind it as plain data."""

    name: str
    project: Project
    trainer: TrainerSettings
    model: LightningModule
    sampler: Any  # a contracts.Sampler and torch Module, or None
    resolved: dict[str, Any]


def find_root(start: Path | None = None) -> Path:
    """The nearest folder at or above `start` (default: the working directory) with params.yaml."""
    start = (start or Path.cwd()).resolve()
    for folder in (start, *start.parents):
        if (folder / "params.yaml").is_file():
            return folder
    raise LatentlabError(f"no params.yaml in {start} or above: run inside a latentlab project")


def load_project(root: Path | None = None) -> Project:
    """Parse params.yaml. Raises LatentlabError naming the file and the key that is wrong."""
    root = find_root(root)
    content = _read(root / "params.yaml", "allow")
    _packages(content.get("allow"))
    return _project(root, content, "params.yaml")


def load_experiment(name: str, facts: Mapping[str, Any], root: Path | None = None) -> Experiment:
    """Parse both files, seed everything, build model and sampler.

    `facts` come from the data, never from a YAML: image_shape and num_classes. Raises
    LatentlabError for an unknown name, a bad key or value, a key set twice, and a network that
    does not fit the images.
    """
    root = find_root(root)
    path = root / "configs" / f"{name}.yaml"
    shared, own = _read(root / "params.yaml", "allow"), None
    if path.is_file():
        own = _read(path)
    elif name in (shared.get("models") or {}):
        raise LatentlabError(
            f"params.yaml lists the model {name!r}, but configs/{name}.yaml is absent"
        )
    else:
        known = ", ".join(sorted(p.stem for p in path.parent.glob("*.yaml"))) or "none"
        raise LatentlabError(f"unknown model {name!r}: configs/ has {known}")
    files = f"params.yaml + configs/{name}.yaml"
    allow = _packages(shared.pop("allow", None))
    merged = _merge(shared, own, f"configs/{name}.yaml")
    return build(name, merged, facts, root=root, files=files, allow=allow)


def allowed_packages(start: Path | None = None) -> tuple[str, ...]:
    """`allow` of the params.yaml nearest to `start` (default: the working directory), if any.

    It is the user's word on whose code may run: it never comes with a config or a run folder.
    """
    try:
        return _packages(read_yaml(find_root(start) / "params.yaml").get("allow"))
    except LatentlabError:  # no project here, or the params.yaml of another program
        return ()


def build(
    name: str,
    merged: Mapping[str, Any],
    facts: Mapping[str, Any],
    *,
    root: Path,
    files: str,
    allow: Sequence[str] = (),
) -> Experiment:
    """Build an experiment from plain data: two merged YAML files, or a run's stored `resolved`.

    `allow` names the packages, besides latentlab and torch, whose classes the data may name.
    """
    project = _project(root, merged, files)
    model, sampler, parsed = assemble(
        name, merged, facts, files=files, allow=allow, before=partial(seed_all, project.seed)
    )
    resolved = {
        "seed": project.seed,
        "data": asdict(project.data),
        "trainer": asdict(project.trainer),
        "evaluation": asdict(project.evaluation),
        **parsed,
    }
    return Experiment(name, project, project.trainer, model, sampler, resolved)


def seed_all(seed: int) -> None:
    """Seed every global generator once; splits and evaluation own theirs."""
    import numpy as np
    import torch

    random.seed(seed)
    np.random.seed(seed % 2**32)  # noqa: NPY002  third-party code may draw from it
    torch.manual_seed(seed)


def _read(path: Path, *more: str) -> dict[str, Any]:
    content, sections = read_yaml(path), (*SECTIONS, *more)
    if "allow" in content and "allow" not in sections:
        raise LatentlabError(f"{path.name} sets `allow`: that is params.yaml's alone, and yours")
    unknown = sorted(set(content) - set(sections))
    if unknown:
        raise LatentlabError(
            f"{path.name}: unknown section {unknown[0]!r}; allowed: {', '.join(sections)}"
        )
    for key in sections:
        if key not in SCALARS and content.get(key, {}) is None:
            del content[key]  # a section whose keys are all commented out
        elif key not in SCALARS and not isinstance(content.get(key, {}), dict):
            raise LatentlabError(f"{path.name}: {key} must be a mapping, got {content[key]!r}")
    return content


def _packages(allow: Any) -> tuple[str, ...]:
    listed = allow or []
    if isinstance(listed, list) and all(map(_is_package, listed)):
        return tuple(listed)
    raise LatentlabError(
        "params.yaml: allow must list packages whose code you trust, such as [my_package],"
        f" got {allow!r}"
    )


def _is_package(entry: Any) -> bool:
    parts = entry.split(".") if isinstance(entry, str) else [""]
    return all(part.isidentifier() for part in parts) and parts[0] != "jsonargparse"


def _merge(shared: Any, own: Any, file: str, path: str = "") -> Any:
    """Union of two trees whose leaves must not meet."""
    if isinstance(shared, dict) and isinstance(own, dict):
        both = dict(shared)
        for key, value in own.items():
            at = f"{path}.{key}" if path else key
            at = at if at.isprintable() else repr(at)
            both[key] = _merge(shared[key], value, file, at) if key in shared else value
        return both
    raise LatentlabError(f"{path} is set in params.yaml and in {file}: keep it in one of them")


def _project(root: Path, content: Mapping[str, Any], files: str) -> Project:
    from jsonargparse import ArgumentParser

    parser = ArgumentParser(exit_on_error=False)
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--models", type=dict[str, str], default={})
    sections = {
        "data": DataSettings,
        "trainer": TrainerSettings,
        "evaluation": EvaluationSettings,
        "hardware": HardwareSettings,
    }
    for section, settings in sections.items():
        parser.add_class_arguments(settings, section)
    known = {key: content[key] for key in ("seed", "models", *sections) if key in content}
    made = parser.instantiate(parse(parser, known, files))
    if not 0 <= made.seed < 2**32:
        raise LatentlabError(f"{files}: seed is {made.seed}: it must be ≥ 0 and < 2^32")
    for name in made.models:
        if name in RESERVED or not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_-]*", name):
            raise LatentlabError(
                f"{files}: a model cannot be called {name!r}: use letters, digits, _ and -, and"
                f" neither of {', '.join(RESERVED)}"
            )
    return Project(
        root, made.seed, made.data, made.trainer, made.evaluation, made.hardware, dict(made.models)
    )
