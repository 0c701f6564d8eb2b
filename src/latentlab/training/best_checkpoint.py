"""Keep the best weights of a training, for `trainer.checkpoint: best`.

A GAN often ends worse than its best state. At each validation, some samples are compared with
validation images, and the weights with the lowest FID are kept. The test split is not used.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from lightning import Callback, LightningModule, Trainer
from torch import Tensor

from latentlab.config import Experiment, allowed_packages
from latentlab.config.run_folder import find_run, rebuild
from latentlab.contracts import LatentSampler, Split
from latentlab.data.prepared import read_split
from latentlab.metrics.fid.features import extract
from latentlab.metrics.fid.frechet import GaussianStatistics, fid
from latentlab.training.callbacks import LogMetrics
from latentlab.utils.errors import LatentlabError

MAX_IMAGES = 2000  # samples, and validation images

Score = Callable[[Any], float]
"""A function of the model; lower is better."""


class ValidationFID:
    """A score: FID between validation images and as many samples, from the same codes each time.

    `feature_extractor` maps images (B, C, H, W) to features (B, F). The FID of so few images is
    biased upwards, so it compares states of one training only. It also prefers samples with too
    little spread, but little so: in the features of mnist_5k, 500 real images whose distance to
    their mean was multiplied by s had their least FID between s = 0.95 and 1 (8.2 and 8.0; 9.7 at
    0.9), 180 real images at s = 0.95 (22.0; 22.3 at 1). KID is flat there, so it is not used.
    """

    def __init__(
        self, feature_extractor: Callable[[Tensor], Tensor], val: Split, sampler: LatentSampler
    ) -> None:
        self.feature_extractor, self.sampler = feature_extractor, sampler
        self.count = min(MAX_IMAGES, len(val))
        self.real = GaussianStatistics.of(extract(feature_extractor, val.some(self.count, seed=0)))

    def __call__(self, model: Any) -> float:
        """Return the FID; infinity if a sample is not finite."""
        generator = torch.Generator().manual_seed(0)
        z = self.sampler.sample((self.count, model.latent_dim), generator)  # (N, D)
        with torch.inference_mode():
            z = z.to(model.device, model.dtype)
            parts = [model.decode(part).cpu() for part in z.split(500)]
        images = torch.cat(parts).float()
        if not images.isfinite().all():
            return float("inf")
        return fid(self.real, extract(self.feature_extractor, images))


class BestCheckpoint(Callback):
    """Compute the score at each validation, log it as val/fid, keep the weights of the lowest.

    It must stand before EMA in the list of callbacks: then the averaged weights, which are
    validated, are kept. Its state is part of the checkpoints, so a resumed training has its best
    weights.
    """

    def __init__(self, score: Score, log_metrics: LogMetrics, *, batch_size: int) -> None:
        self.score, self.log_metrics, self.batch_size = score, log_metrics, batch_size
        self.value, self.images = float("inf"), 0
        self.weights: dict[str, Tensor] = {}

    def on_validation_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        value = self.score(pl_module)
        images = (trainer.fit_loop.total_batch_idx + 1) * self.batch_size
        self.log_metrics("val", {"fid": value}, images)
        if value < self.value or not self.weights:
            self.value, self.images = value, images
            self.weights = {k: v.detach().cpu().clone() for k, v in pl_module.state_dict().items()}

    def state_dict(self) -> dict[str, Any]:
        return {"value": self.value, "images": self.images, "weights": self.weights}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.value, self.images = state_dict["value"], state_dict["images"]
        self.weights = dict(state_dict["weights"])


def validation_fid(experiment: Experiment) -> ValidationFID | None:
    """Return the score of checkpoints for `trainer.checkpoint: best`; None for `last`.

    Raise LatentlabError for a sampler that is fitted after training: it cannot sample before.
    """
    if experiment.trainer.checkpoint == "last":
        return None
    sampler, root = experiment.sampler, experiment.project.root
    if sampler is None or sampler.learns:
        raise LatentlabError(
            f"{experiment.name}: trainer.checkpoint is best, which needs samples during training,"
            " but the sampler is fitted after training. Use checkpoint: last, or a sampler such as"
            " StandardNormal"
        )
    classifier: Any = rebuild(find_run("classifier", root), allow=allowed_packages(root))[0].model
    val = read_split(experiment.project.prepared, "val")
    return ValidationFID(classifier.frozen().local_features, val, sampler)
