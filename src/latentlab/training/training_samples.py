"""Images of one model at several times of its training, from the same codes each time.

They show how a model learns. They change no number of the training.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning import Callback, LightningModule, Trainer
from torch import Tensor

from latentlab.config import Experiment
from latentlab.contracts import Encoder, Split, to_float, to_uint8
from latentlab.utils.files import write_arrays

NUM_IMAGES = 16
MAX_TIMES = 10
MAX_TIMES_SLOW = 3  # of a diffusion model: its decoder is a network that runs many times


class TrainingSamples(Callback):
    """Decode 16 images at some of the validations: the first, the last, and evenly between.

    The images are samples, of the same 16 codes each time. A sampler that is fitted after training
    has no codes yet: then they are reconstructions of 16 validation images. The weights are those
    of the optimizer, not averages (EMA). The state of the callback is part of the checkpoints.

    Attributes:
        frames: number of training images so far → uint8 images (16, C, H, W).
        are_reconstructions: True if they are no samples.
    """

    def __init__(
        self,
        decode: Callable[[Any], Tensor],
        *,
        are_reconstructions: bool,
        num_validations: int,
        max_times: int,
        batch_size: int,
        eager: bool = False,
        on_frame: Callable[[int, Tensor], None] = lambda images, frame: None,
    ) -> None:
        """`decode`: the model → images (16, C, H, W). `on_frame` gets each new frame.

        `eager`: the model is compiled; 16 images would compile it once more.
        """
        self.decode, self.are_reconstructions = decode, are_reconstructions
        times = torch.linspace(1, num_validations, min(max_times, num_validations))
        self.validations = set(times.round().int().tolist())  # counted from 1
        self.batch_size, self.eager, self.on_frame = batch_size, eager, on_frame
        self.frames: dict[int, Tensor] = {}

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        every = trainer.check_val_every_n_epoch or 1
        if (trainer.current_epoch + 1) // every not in self.validations:
            return
        images = (trainer.fit_loop.total_batch_idx + 1) * self.batch_size
        with _undisturbed(pl_module), _eager() if self.eager else nullcontext():
            frame = to_uint8(self.decode(pl_module).float().nan_to_num(0)).cpu()
        self.frames[images] = frame
        if trainer.is_global_zero:
            self.on_frame(images, frame)

    def arrays(self) -> dict[str, np.ndarray]:
        """Return training_samples uint8 (T, 16, H, W, C) and training_images int64 (T,).

        With reconstructions, also training_are_reconstructions = 1. Empty without a frame.
        """
        if not self.frames:
            return {}
        frames = torch.stack(list(self.frames.values())).movedim(2, -1).contiguous()
        arrays = {
            "training_samples": frames.numpy(),
            "training_images": np.array(list(self.frames), np.int64),
        }
        if self.are_reconstructions:
            arrays["training_are_reconstructions"] = np.array(1)
        return arrays

    def state_dict(self) -> dict[str, Any]:
        return {"frames": dict(self.frames)}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.frames = dict(state_dict["frames"])


def training_samples(
    experiment: Experiment,
    val: Split,
    *,
    num_validations: int,
    on_frame: Callable[[int, Tensor], None],
) -> TrainingSamples | None:
    """Return the callback of an experiment. None for the classifier, which decodes nothing."""
    model, sampler = experiment.model, experiment.sampler
    if sampler is None or (sampler.learns and not (isinstance(model, Encoder) and len(val))):
        return None
    slow = model.family == "Diffusion"
    return TrainingSamples(
        _reconstruct(val) if sampler.learns else _sample(experiment),
        are_reconstructions=sampler.learns,
        num_validations=num_validations,
        max_times=MAX_TIMES_SLOW if slow else MAX_TIMES,
        batch_size=experiment.trainer.batch_size,
        eager=experiment.trainer.compile,
        on_frame=on_frame,
    )


def frames_folder(work: Path) -> Path:
    """Return the folder of the frames that are sent to MLflow, in the work folder of a training."""
    return work / "samples"


def write_frame(folder: Path, percent: int, frame: Tensor) -> None:
    """Write a frame (16, C, H, W) as <percent>.npy, uint8 (16, H, W, C). The file appears complete.

    Raises OSError if the disk is full.
    """
    folder.mkdir(parents=True, exist_ok=True)
    partial = folder / "partial"
    with partial.open("wb") as file:
        np.save(file, frame.movedim(1, -1).contiguous().numpy())
    partial.replace(folder / f"{percent}.npy")


def write_training_samples(path: Path, samples: TrainingSamples | None) -> None:
    """Write training_samples.npz. Nothing is written if there is no frame."""
    arrays = samples.arrays() if samples is not None else {}
    if arrays:
        write_arrays(path, arrays)


def _sample(experiment: Experiment) -> Callable[[Any], Tensor]:
    generator = torch.Generator().manual_seed(experiment.project.evaluation.seed)
    shape = (NUM_IMAGES, int(experiment.model.latent_dim))  # type: ignore[arg-type]
    z = experiment.sampler.sample(shape, generator)  # (16, D)
    return lambda model: model.decode(z.to(model.device, model.dtype))


def _reconstruct(val: Split) -> Callable[[Any], Tensor]:
    x = to_float(val.images[:NUM_IMAGES])
    return lambda model: model.decode(model.encode(x.to(model.device, model.dtype)))


@contextmanager
def _undisturbed(model: LightningModule) -> Iterator[None]:
    """Eval mode without gradients. Afterwards modes and random states are as before."""
    training = [module for module in model.modules() if module.training]
    devices = [model.device] if model.device.type == "cuda" else []
    with torch.random.fork_rng(devices=devices), torch.no_grad():
        try:
            for module in training:
                module.training = False
            yield
        finally:
            for module in training:
                module.training = True


def _eager() -> Any:
    return torch.compiler.set_stance("force_eager")
