"""Keep the best weights beside the last: the player that wins late may have lost the game before.

GANs often end worse than their best. At every validation a few samples are scored against the
validation images, and the weights with the least score are kept until a better one comes. The test
split has no say in it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from lightning import Callback, LightningModule, Trainer
from torch import Tensor

from latentlab.contracts import Sampler, Split
from latentlab.metrics.features import extract
from latentlab.metrics.fid import GaussianStatistics, frechet_distance
from latentlab.training.callbacks import Sink

COUNT = 2000  # samples, and validation images, at most


class ValidationFID:
    """Fréchet distance between validation images and as many samples, always of the same codes.

    `eyes`: images (B, C, H, W) → features (B, F). Biased upwards, as any FID of few images: for
    comparing moments of one training, not for the table.
    """

    def __init__(self, eyes: Callable[[Tensor], Tensor], val: Split, sampler: Sampler) -> None:
        self.eyes, self.sampler = eyes, sampler
        self.count = min(COUNT, len(val))
        self.real = GaussianStatistics.of(extract(eyes, val.some(self.count, seed=0)))

    def __call__(self, model: Any) -> float:
        generator = torch.Generator().manual_seed(0)
        z = self.sampler.sample((self.count, model.latent_dim), generator)
        with torch.inference_mode():
            parts = [model.decode(part.to(model.device)).cpu() for part in z.split(500)]
        images = torch.cat(parts).float()
        if not images.isfinite().all():
            return float("inf")
        return frechet_distance(self.real, GaussianStatistics.of(extract(self.eyes, images)))


class Best(Callback):
    """Score the model at every validation, tell `sink`, keep the weights of the least score.

    Stands before EMA in the list of callbacks: what is validated, the average, is what is kept. Its
    state goes into the checkpoints, so a resumed training remembers its best.
    """

    def __init__(self, score: Callable[[Any], float], sink: Sink, *, batch_size: int) -> None:
        self.score, self.sink, self.batch_size = score, sink, batch_size
        self.value, self.images = float("inf"), 0
        self.weights: dict[str, Tensor] = {}

    def on_validation_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        value = self.score(pl_module)
        images = (trainer.fit_loop.total_batch_idx + 1) * self.batch_size
        self.sink("val", {"fid": value}, images)
        if value < self.value or not self.weights:
            self.value, self.images = value, images
            self.weights = {k: v.detach().cpu().clone() for k, v in pl_module.state_dict().items()}

    def state_dict(self) -> dict[str, Any]:
        return {"value": self.value, "images": self.images, "weights": self.weights}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.value, self.images = state_dict["value"], state_dict["images"]
        self.weights = dict(state_dict["weights"])
