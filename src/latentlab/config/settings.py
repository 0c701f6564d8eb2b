"""The sections of params.yaml as typed settings; each says what is wrong with a value."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from latentlab.contracts import LatentlabError


@dataclass(frozen=True)
class TrainerSettings:
    """How long and in what steps a model trains.

    `images`: training images it sees in all, rounded up to whole epochs, so that one number suits
    data sets of any size. `batch_size` is global: several devices share it. `log_every` counts
    steps, `validations` those of one training. `channels_last` lays convolutions out as NHWC.
    `fused`: one kernel per optimizer step. `compile`: torch.compile for each of the model's
    networks. `ema_decay`: the trained model is the exponential moving average of the weights.
    `select`: "best" keeps the weights of the validation with the least FID, in the judge's features
    and on validation images; the last ones are kept and scored as well.
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
    select: Literal["last", "best"] = "last"

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
    and SHA-256). `num_samples` None: as many as there are test images, at most 50,000. Models
    without an encoder are inverted on the first `inversion_images` test images: the best of
    `inversion_draws` prior draws, then `inversion_steps` Adam steps at rate `inversion_lr`.
    `probe_l2`: the weight of ‖W‖²/2 in the probe's objective; it is fitted to at most
    `probe_images` training images. `seed` drives every draw of the evaluation.
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
    probe_images: int = 100_000
    seed: int = 0

    def __post_init__(self) -> None:
        least = {"inversion_images": 1, "inversion_draws": 1, "inversion_steps": 0, "seed": 0}
        least["probe_images"] = 2
        least["num_samples"] = 6  # precision and recall look for five neighbours of each
        for key, low in least.items():
            value = getattr(self, key)
            if value is not None and not low <= value < 2**32:
                raise LatentlabError(f"evaluation.{key} is {value}: it must be ≥ {low} and < 2^32")
        if not 0 < self.inversion_lr < math.inf:
            raise LatentlabError(f"evaluation.inversion_lr is {self.inversion_lr}: it must be > 0")
        if not 0 < self.probe_l2 < math.inf:  # without it, separable classes have no optimum
            raise LatentlabError(f"evaluation.probe_l2 is {self.probe_l2}: it must be > 0")


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

    @property
    def scoring(self) -> str:
        """Where models are evaluated: every GPU there is, unless the accelerator is the CPU."""
        return "cpu" if self.accelerator == "cpu" else "auto"
