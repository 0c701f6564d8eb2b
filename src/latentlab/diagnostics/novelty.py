"""Novelty: are the samples copies of training images? And do training images get better values?

Authenticity, C_T and the fraction near training images are explained in metrics/novelty.py.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from torch import Tensor

from latentlab.contracts import Memorizer, Model, Split, to_uint8
from latentlab.evaluation.evaluate import draw_samples, objective
from latentlab.evaluation.evaluator import MAX_TRAIN_IMAGES, Evaluator
from latentlab.evaluation.results import Figure, Result
from latentlab.inference.trained import TrainedModel
from latentlab.metrics.fid.features import extract
from latentlab.metrics.fid.frechet import fid
from latentlab.metrics.novelty import is_copying, nearest, novelty
from latentlab.visualization.grids import save_pairs

MAX_IMAGES = 2000  # samples; also training and test images of the gaps
NUM_SHOWN = 10


def applies(model: Any) -> bool:
    return isinstance(model, Model)


def diagnose(trained: TrainedModel, evaluator: Evaluator) -> Result:
    """Compare samples with training and with test images, in the feature space of FID."""
    seen, test = training_images(trained, evaluator), evaluator.test.first(evaluator.num_samples)
    (samples,) = draw_samples(trained, evaluator, 1)
    samples = samples[:MAX_IMAGES]
    own = isinstance(trained.module, Memorizer)
    train_features = (
        extract(evaluator.feature_extractor, seen) if own else evaluator.train_features()
    )
    test_features, fake = evaluator.real_features(), extract(evaluator.feature_extractor, samples)
    metrics = novelty(train_features, test_features, fake, seed=evaluator.settings.seed)
    copies = is_copying(metrics, num_train=len(seen), num_held_out=len(test))
    table = gaps(trained, evaluator, seen, test) | {
        "FID of samples": {
            "training images": fid(train_features[: len(test)], fake),
            "test images": fid(test_features, fake),
        }
    }
    _, index = nearest(fake[:NUM_SHOWN], train_features)
    shown = Split(seen.images[index])
    return Result(
        title="Novelty",
        summary=_summary(metrics, len(seen), len(test)),
        metrics=metrics,
        table=table,
        figures=[_figure(samples[:NUM_SHOWN], next(shown.batches()))],
        warnings=["copies training images"] if copies else [],
    )


def training_images(trained: TrainedModel, evaluator: Evaluator) -> Split:
    """The images that the model was trained on: its memory, or at most 10,000 of the split."""
    if isinstance(trained.module, Memorizer):
        return Split(to_uint8(trained.module.memory.cpu().unflatten(1, trained.image_shape)))
    return evaluator.train.some(MAX_TRAIN_IMAGES, seed=evaluator.settings.seed)


@torch.inference_mode()
def gaps(trained: TrainedModel, evaluator: Evaluator, seen: Split, test: Split) -> dict[str, Any]:
    """Rows: the squared error per image and the terms of the loss. Columns: training and test."""
    seed = evaluator.settings.seed
    count = min(MAX_IMAGES, len(seen), len(test))
    splits = {"training images": seen.first(count), "test images": test.first(count)}
    table: dict[str, dict[str, float]] = {}
    for column, split in splits.items():
        if trained.has_encoder:
            scores = evaluator.score_reconstructions(Split(split.images), trained.reconstruct)
            table.setdefault("squared error", {})[column] = scores.metrics["reconstruction_sse"]
        if split.labels is not None or evaluator.classifier is None:
            for name, value in objective(trained, split, seed=seed).items():
                table.setdefault(name, {})[column] = value
    return {row: values for row, values in table.items() if len(values) == len(splits)}


def _figure(samples: Tensor, neighbours: Tensor) -> Figure:
    caption = "Samples, and below each the training image that is nearest in the features of FID"
    return Figure("nearest", caption, partial(save_pairs, samples, neighbours))


def _summary(metrics: dict[str, float], num_train: int, num_test: int) -> str:
    expected = num_train / (num_train + num_test)
    ct = f" C_T is {metrics['ct']:.1f}; below −3, samples are copies." if "ct" in metrics else ""
    return (
        f"Authenticity is {metrics['authenticity']:.2f}: the fraction of samples that are farther"
        " from their nearest training image than this image is from its own nearest one. Real"
        " images that are no copies have about 0.6, copies 0; a high value is no praise, noise has"
        f" 1.{ct} {metrics['nearer_train_fraction']:.0%} of the samples are nearer to a training"
        f" image than to a test image; {expected:.0%} are expected if nothing is copied."
    )
