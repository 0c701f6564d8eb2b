"""The metrics that every model gets: samples, reconstructions, features, and its own objective."""

from __future__ import annotations

import json
from copy import deepcopy
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from latentlab.config.run_folder import load_weights
from latentlab.contracts import LinearDecoder, Split, weighted_means
from latentlab.evaluation.evaluator import Evaluator, subset_size
from latentlab.evaluation.outputs import NUM_POINTS, Outputs, Reconstruct, make_outputs
from latentlab.evaluation.reference import Reference
from latentlab.inference.labels import labels_in_training
from latentlab.inference.trained import TrainedModel
from latentlab.metrics.fid.features import extract
from latentlab.metrics.pca import PCA, principal_angles

BATCH = 500


def evaluate(
    trained: TrainedModel, evaluator: Evaluator, reference: Reference
) -> tuple[dict[str, Any], Outputs]:
    """Return all metrics of a model by name, nested where a second thing is measured.

    `ci95` has the half widths of 95 % intervals. The second value has the samples,
    reconstructions, codes and features for the figures, and the values of single images.

    A model without an encoder is reconstructed by latent inversion, of a fifth of the test images,
    at most `evaluation.inversion_num_images`.
    """
    settings = evaluator.settings
    x = evaluator.test
    if not trained.has_encoder:
        x = x.first(subset_size(len(x), most=settings.inversion_num_images, divisor=5))
    draws = draw_samples(trained, evaluator, settings.num_draws)
    reconstruct, features = Reconstruct(trained), trained.replicas.method("features")
    test = evaluator.test if evaluator.has_probe else evaluator.test.first(NUM_POINTS)
    test_features = extract(features, test)
    scores = (
        evaluator.score_samples(draws, reference.real, reference.class_real)
        | evaluator.score_reconstructions(x, reconstruct)
        | evaluator.score_features(features, test_features)
    )
    code_size = min(trained.module.latent_dim, reference.pca.components.shape[1])
    metrics: dict[str, Any] = {
        **scores.content(),
        "num_samples": evaluator.num_samples,
        "num_draws": settings.num_draws,
        "num_reconstructed": len(x),
        "latent_dim": trained.module.latent_dim,
        "num_parameters": sum(p.numel() for p in trained.module.parameters()),
        "num_labels": labels_in_training(trained.module, len(evaluator.train)),
        "test": objective(trained, evaluator.test, seed=settings.seed),
        "other_spaces": evaluator.other_spaces(draws[0], reference),
        **_checkpoints(trained, evaluator, reference),
        "pca": evaluator.score_pca(reference, code_size, x=x).content(),
    }
    if isinstance(trained.module, LinearDecoder):
        metrics |= _principal_angles(trained.module, reference.pca)
    outputs = make_outputs(
        trained, evaluator, samples=draws[0], reconstruct=reconstruct, features=test_features
    )
    return metrics, replace(outputs, arrays=scores.arrays)


def draw_samples(trained: TrainedModel, evaluator: Evaluator, num_draws: int) -> list[Tensor]:
    """Independent draws of `num_samples` images (N, C, H, W), each with a seed of its own.

    A class-conditional model gets the classes of the test images. Else chance decides how many
    samples each class has, and this changes an FID more than the models differ.
    """
    count, seed = evaluator.num_samples, evaluator.settings.seed
    labels = evaluator.test.first(count).labels
    classes = labels.tolist() if trained.is_conditional and labels is not None else None
    return [trained.sample(count, seed=seed + draw, classes=classes) for draw in range(num_draws)]


@torch.no_grad()
def objective(trained: TrainedModel, test: Split, *, seed: int) -> dict[str, float]:
    """Return the terms of `validation_step`, means over the test split. The seed sets its noise."""
    rows, device = [], trained.module.device
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(seed)
        labels = torch.full((len(test),), -1) if test.labels is None else test.labels
        batches = zip(test.batches(BATCH), labels.split(BATCH), strict=True)
        for index, (x, y) in enumerate(batches):
            terms = trained.module.validation_step((x.to(device), y.to(device)), index)
            rows.append((len(x), terms))
    return weighted_means(rows)


def _checkpoints(
    trained: TrainedModel, evaluator: Evaluator, reference: Reference
) -> dict[str, Any]:
    """Of a model with trainer.checkpoint = best: when it was best, and samples of the last weights.

    Empty for a model whose last weights are the trained model.
    """
    last_weights = trained.folder / "weights_last.pt"
    if not last_weights.exists():
        return {}
    module = deepcopy(trained.module).cpu()
    load_weights(module, last_weights)
    last = replace(trained, module=module)
    draws = draw_samples(last, evaluator, evaluator.settings.num_draws)
    return {
        "best_checkpoint": json.loads((trained.folder / "best_checkpoint.json").read_text()),
        "last_checkpoint": evaluator.score_samples(draws, reference.real).content(),
    }


def _principal_angles(model: LinearDecoder, pca: PCA) -> dict[str, float]:
    """Angles between the subspaces of a linear decoder and of PCA, in radians."""
    basis, _ = model.decoder_basis()  # (C·H·W, D)
    angles = principal_angles(basis.detach().cpu(), pca.components[:, : basis.shape[1]])
    return {
        "principal_angle_max_rad": float(angles.max()),
        "principal_angle_mean_rad": float(angles.mean()),
    }
