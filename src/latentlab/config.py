"""Two YAML files → one typed, seeded experiment.

params.yaml holds what all models share, configs/<name>.yaml how one model is built and trained. The
signatures of the classes are the schema: a misspelt key or a wrong type is an error before anything
runs. A key set in both files is an error too; nothing overrides anything.
"""

from __future__ import annotations

import inspect
import random
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import yaml

from latentlab.contracts import LatentlabError, Sampler
from latentlab.data.settings import DataSettings

if TYPE_CHECKING:
    from lightning import LightningModule

SECTIONS = ("seed", "data", "trainer", "evaluation", "hardware", "models", "model", "sampler")


@dataclass(frozen=True)
class TrainerSettings:
    """How long and in what steps a model trains.

    `images`: training images it sees in all, rounded up to whole epochs, so that one number suits
    data sets of any size. `batch_size` is global: several devices share it. `log_every` counts
    steps, `validations` those of one training. `channels_last` lays convolutions out as NHWC.
    `sync_batchnorm`: several GPUs normalise by the statistics of the global batch, as one would.
    """

    batch_size: int = 128
    images: int = 1_000_000
    precision: Literal["32-true", "bf16-mixed", "16-mixed", "64-true"] = "32-true"
    log_every: int = 50
    validations: int = 20
    channels_last: bool = True
    sync_batchnorm: bool = True

    def __post_init__(self) -> None:
        for key in ("batch_size", "images", "log_every", "validations"):
            if getattr(self, key) < 1:
                raise LatentlabError(f"trainer.{key} is {getattr(self, key)}: it must be ≥ 1")


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


@dataclass(frozen=True)
class HardwareSettings:
    """Where it runs; no number may depend on it beyond rounding.

    The number of devices is the exception, and only for models that draw noise: each has its own.
    """

    accelerator: str = "auto"
    devices: int | str = "auto"
    strategy: str = "auto"
    loader: Literal["auto", "memory", "stream"] = "auto"
    num_workers: int = 0


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
    return _project(root, _read(root / "params.yaml"), "params.yaml")


def load_experiment(name: str, facts: Mapping[str, Any], root: Path | None = None) -> Experiment:
    """Parse both files, seed everything, build model and sampler.

    `facts` come from the data, never from a YAML: image_shape and num_classes. Raises
    LatentlabError for an unknown name, a bad key or value, a key set twice, and a network that
    does not fit the images.
    """
    root = find_root(root)
    path = root / "configs" / f"{name}.yaml"
    shared, own = _read(root / "params.yaml"), None
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
    merged = _merge(shared, own, f"configs/{name}.yaml")
    return build(name, merged, facts, root=root, files=files)


def build(
    name: str, merged: Mapping[str, Any], facts: Mapping[str, Any], *, root: Path, files: str
) -> Experiment:
    """Build an experiment from plain data: two merged YAML files, or a run's stored `resolved`."""
    project = _project(root, merged, files)
    seed_all(project.seed)
    model, sampler, parsed = _instantiate(name, merged, facts, files)
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


def _read(path: Path) -> dict[str, Any]:
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
    except yaml.YAMLError as error:
        raise LatentlabError(f"{path.name} is not valid YAML: {error}") from None
    if not isinstance(content, dict):
        raise LatentlabError(f"{path.name} must be a mapping of sections, got {content!r}")
    unknown = sorted(map(str, set(content) - set(SECTIONS)))
    if unknown:
        raise LatentlabError(
            f"{path.name}: unknown section {unknown[0]!r}; allowed: {', '.join(SECTIONS)}"
        )
    return content


def _merge(shared: Any, own: Any, file: str, path: str = "") -> Any:
    """Union of two trees whose leaves must not meet."""
    if isinstance(shared, dict) and isinstance(own, dict):
        both = dict(shared)
        for key, value in own.items():
            at = f"{path}.{key}" if path else str(key)
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
    parsed = _parse(parser, known, files)
    made = parser.instantiate(parsed)
    return Project(
        root, made.seed, made.data, made.trainer, made.evaluation, made.hardware, dict(made.models)
    )


def _instantiate(
    name: str, content: Mapping[str, Any], facts: Mapping[str, Any], files: str
) -> tuple[LightningModule, Any, dict[str, Any]]:
    from jsonargparse import ArgumentParser
    from lightning import LightningModule
    from torch.nn import Module

    parser = ArgumentParser(exit_on_error=False)
    given = {*facts, "prior"}  # what the data and the sampler section give, and no YAML may
    parser.add_subclass_arguments(LightningModule, "model", skip=given, required=True)
    parser.add_subclass_arguments(Module, "sampler", required=False)
    known = {key: content[key] for key in ("model", "sampler") if key in content}
    parsed = _parse(parser, known, files)
    plain = yaml.safe_load(parser.dump(parsed, skip_default=False)) or {}

    def make_model(cls: Callable[..., Any], **init_args: Any) -> Any:
        wanted = inspect.signature(cls).parameters
        gifts = {key: value for key, value in {**facts, "prior": sampler}.items() if key in wanted}
        return cls(**init_args, **gifts)

    def make(section: str) -> Any:
        alone = parsed.clone()
        alone.pop({"model": "sampler", "sampler": "model"}[section], None)
        return parser.instantiate(alone, instantiators=[(make_model, LightningModule, True)])[
            section
        ]

    try:
        sampler = make("sampler") if "sampler" in known else None
        model: LightningModule = make("model")
        if sampler is not None and not isinstance(sampler, Sampler):
            raise ValueError(f"{type(sampler).__name__} is no sampler: it needs fit and sample")
    except (ValueError, KeyError) as error:
        raise LatentlabError(f"{name} cannot be built ({files}): {_essence(str(error))}") from None
    return model, sampler, {key: value for key, value in plain.items() if value is not None}


def _parse(parser: Any, content: Mapping[str, Any], files: str) -> Any:
    from jsonargparse import ArgumentError

    try:
        return parser.parse_object(dict(content))
    except (ArgumentError, TypeError, ValueError) as error:
        raise LatentlabError(f"{files}: {_essence(str(error))}") from None


def _essence(message: str) -> str:
    """What is wrong, without the union and the given value that jsonargparse repeats around it."""
    lines = [line.strip() for line in message.splitlines()]
    starts = [i for i, line in enumerate(lines) if line.startswith("- Problem with given")]
    ends = [i for i, line in enumerate(lines) if line == "- Expected a <class 'NoneType'>"]
    if starts and ends:
        lines = lines[starts[0] : ends[0]]
    return " ".join(lines).removeprefix("- ").strip()
