"""The sections of params.yaml as dataclasses. Each checks the range of its values."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Literal

from latentlab.utils.errors import LatentlabError


@dataclass(frozen=True)
class TrainerSettings:
    """How a model trains.

    The training ends after `total_images` images or after `max_epochs` epochs, whichever is less:
    `max_epochs` limits a training on few images, `total_images` one on many. `max_epochs` None: no
    limit. Between two validations there are equally many epochs, and the last epoch ends with one.
    So `total_images` is rounded up to whole epochs, and these to a multiple of the epochs between
    two validations; `max_epochs` is rounded down to such a multiple. `batch_size`: of all devices
    together. `num_validations`: in the whole training. `channels_last`: memory format NHWC of
    convolutions. `fused_optimizer`: one kernel for one step. `compile`: torch.compile for each
    network of the model. `ema_decay`: the trained model is the exponential moving average of the
    weights; the decay grows from 0.1 to this value (training/ema.py). `sync_batchnorm`: several
    GPUs normalize by the statistics of the whole batch. `checkpoint`: "best" keeps the weights with
    the least FID on validation images, in the features of the classifier; the last weights are
    stored and scored as well. "last" keeps the last weights only.
    """

    batch_size: int = 128
    total_images: int = 1_000_000
    max_epochs: int | None = None
    precision: Literal["32-true", "bf16-mixed", "16-mixed", "64-true"] = "32-true"
    log_every_n_steps: int = 50
    num_validations: int = 20
    channels_last: bool = True
    fused_optimizer: bool = True
    compile: bool = False
    ema_decay: float | None = None
    sync_batchnorm: bool = True
    checkpoint: Literal["last", "best"] = "last"

    def __post_init__(self) -> None:
        for key in ("batch_size", "total_images", "log_every_n_steps", "num_validations"):
            if not 1 <= getattr(self, key) < 2**63:
                raise LatentlabError(f"trainer.{key} is {getattr(self, key)}; it must be ≥ 1")
        if self.max_epochs is not None and not 1 <= self.max_epochs < 2**63:
            raise LatentlabError(f"trainer.max_epochs is {self.max_epochs}; it must be ≥ 1 or null")
        if self.ema_decay is not None and not 0 < self.ema_decay < 1:
            raise LatentlabError(f"trainer.ema_decay is {self.ema_decay}; it must be in (0, 1)")


@dataclass(frozen=True)
class EvaluationSettings:
    """How all models are measured.

    `features`: feature space of FID, "classifier" (its second block, F = 256) or "inception"
    (F = 2048; needs the path and the SHA-256 of its weights). `num_samples`: number of generated
    images in one draw; None: as many as there are test images, at most 50,000. `num_draws`:
    independent draws; the metrics of samples are means over them, with intervals for 2 or more.
    Models without an encoder are inverted on the first fifth of the test images, at least 100 and
    at most `inversion_num_images`: start at the best of `inversion_num_starts` codes of the
    sampler, then take `inversion_steps` steps of Adam with rate `inversion_lr`. `probe_l2`: weight
    of ‖W‖²/2 in the linear probe, which is fitted to at most `probe_max_images` training images.
    `seed`: of all samples of the evaluation.
    """

    features: Literal["classifier", "inception"] = "classifier"
    inception_weights: str | None = None
    inception_sha256: str | None = None
    num_samples: int | None = None
    num_draws: int = 4
    inversion_num_images: int = 1000
    inversion_num_starts: int = 2000
    inversion_steps: int = 100
    inversion_lr: float = 0.3
    probe_l2: float = 1e-3
    probe_max_images: int = 100_000
    seed: int = 0

    def __post_init__(self) -> None:
        least = {
            "inversion_num_images": 1,
            "inversion_num_starts": 1,
            "inversion_steps": 0,
            "probe_max_images": 2,
            "num_draws": 1,
            "num_samples": 6,  # precision and recall use the five nearest neighbours
            "seed": 0,
        }
        for key, low in least.items():
            value = getattr(self, key)
            if value is not None and not low <= value < 2**32:
                raise LatentlabError(f"evaluation.{key} is {value}; it must be ≥ {low} and < 2^32")
        if not 0 < self.inversion_lr < math.inf:
            raise LatentlabError(f"evaluation.inversion_lr is {self.inversion_lr}; it must be > 0")
        if not 0 < self.probe_l2 < math.inf:  # with 0, separable classes have no optimum
            raise LatentlabError(f"evaluation.probe_l2 is {self.probe_l2}; it must be > 0")


@dataclass(frozen=True)
class ClusterSettings:
    """What one stage gets on a cluster: `latentlab repro --executor slurm`.

    `cpus` is also the number of threads: with 1, results are those of `latentlab repro` on any
    other machine. `minutes`: SLURM ends a stage that takes longer. `jobs`: stages in the queue at a
    time. `partition`, `account`: as for sbatch; None for the default of the cluster.
    """

    cpus: int = 1
    gpus: int = 0
    memory_gb: int = 16
    minutes: int = 240
    jobs: int = 50
    partition: str | None = None
    account: str | None = None

    def __post_init__(self) -> None:
        for key, least in {"cpus": 1, "gpus": 0, "memory_gb": 1, "minutes": 1, "jobs": 1}.items():
            if not least <= getattr(self, key) < 2**31:
                raise LatentlabError(
                    f"hardware.cluster.{key} is {getattr(self, key)}; it must be ≥ {least}"
                )


@dataclass(frozen=True)
class HardwareSettings:
    """Where the stages run. Results do not depend on it, except for rounding.

    One exception: with several devices, models that draw noise draw it on each device.
    `num_workers`: threads that read ahead of a streamed training; 0 for none.
    `checkpoint_interval_seconds`: a crash loses at most this much training; 0 saves a checkpoint at
    every `log_every_n_steps`. `cluster`: the resources of a stage on a cluster.
    """

    accelerator: str = "auto"
    devices: int | str = "auto"
    strategy: str = "auto"
    loader: Literal["auto", "memory", "stream"] = "auto"
    num_workers: int = 1
    checkpoint_interval_seconds: float = 60.0
    cluster: ClusterSettings = field(default_factory=ClusterSettings)

    @property
    def scoring(self) -> str:
        """Devices of an evaluation: all GPUs, or the CPU if there is none or it is asked for."""
        return "cpu" if self.accelerator == "cpu" else "auto"
