"""What a model computes for its metrics, kept for its figures: samples, reconstructions, features.

Each is computed once. For a model without an encoder, reconstruction is the most expensive part of
an evaluation.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor

from latentlab.evaluation.evaluator import Evaluator
from latentlab.inference.trained import TrainedModel

NUM_SAMPLES, NUM_RECONSTRUCTIONS, NUM_POINTS = 64, 200, 500


@dataclass(frozen=True)
class Outputs:
    """Outputs of one model. Images are float32 (N, C, H, W) in [0, 1], on the CPU.

    Attributes:
        samples: 64 images.
        originals: the first test images, at most 200.
        reconstructions: of `originals`.
        codes: of the first test images, at most 500, (P, D); for a model without an encoder, of
            `originals` only.
        features: of the first test images, at most 500, (P, F).
        labels: of these images, int64 (P,); None for data without labels.
        arrays: the values (N,) of single images, by the name of their metric.
    """

    samples: Tensor
    originals: Tensor
    reconstructions: Tensor
    codes: Tensor
    features: Tensor
    labels: Tensor | None
    arrays: Mapping[str, Tensor] = field(default_factory=dict)


@dataclass
class Reconstruct:
    """A function: images (B, C, H, W) → reconstructions. It keeps the first codes and images."""

    trained: TrainedModel
    codes: list[Tensor] = field(default_factory=list)
    images: list[Tensor] = field(default_factory=list)

    def __call__(self, x: Tensor) -> Tensor:
        z = self.trained.encode(x)
        x_hat = self.trained.decode(z)
        if (lacking := NUM_POINTS - sum(map(len, self.codes))) > 0:
            self.codes.append(z[:lacking].clone())
        if (lacking := NUM_RECONSTRUCTIONS - sum(map(len, self.images))) > 0:
            self.images.append(x_hat[:lacking].clone())
        return x_hat


def make_outputs(
    trained: TrainedModel,
    evaluator: Evaluator,
    *,
    samples: Tensor,
    reconstruct: Reconstruct,
    features: Tensor,
) -> Outputs:
    """Collect the outputs after the metrics were computed.

    `samples` (N, C, H, W) and `features` (M, F) of the first test images are those of the metrics.
    If there are fewer than 64 samples, 64 are made.
    """
    if len(samples) < NUM_SAMPLES:
        samples = trained.sample(NUM_SAMPLES, seed=evaluator.settings.seed)
    some = evaluator.test.first(NUM_POINTS)
    reconstructions = torch.cat(reconstruct.images)
    return Outputs(
        samples=samples[:NUM_SAMPLES].clone(),  # a view would keep all samples in memory
        originals=next(evaluator.test.first(len(reconstructions)).batches()),
        reconstructions=reconstructions,
        codes=torch.cat(reconstruct.codes),
        features=features[: len(some)].clone(),
        labels=some.labels,
    )
