"""The file images.npz of a model or of the baselines: the images that the comparison page shows.

Equal images give equal bytes. Images are uint8 (…, H, W, C).
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from latentlab.contracts import DiscreteCodes, Encoder, LatentInterpolation, to_uint8
from latentlab.evaluation.evaluator import Evaluator
from latentlab.evaluation.outputs import NUM_POINTS, NUM_RECONSTRUCTIONS, Outputs
from latentlab.inference.trained import TrainedModel
from latentlab.metrics.embedding import tsne

NUM_ENDPOINTS = 12  # codes of the interpolations
PLANE_STEPS = 21  # images along each side of the latent plane
QUANTILES = (0.005, 0.995)  # range of the latent plane: a few codes lie far outside

Arrays = dict[str, np.ndarray]


def model_images(trained: TrainedModel, evaluator: Evaluator, outputs: Outputs) -> Arrays:
    """Return the arrays of results/<name>/images.npz.

    samples (64, H, W, C). reconstructions (≤ 200, H, W, C), of the first test images.
    interpolations (6, 10, H, W, C). map: float32 (≤ 500, 2), the t-SNE of the features of the first
    test images, or their codes if these are two numbers; then map_is_code = 1. If latent_dim is 2:
    plane (21, 21, H, W, C), decoded codes, and plane_x, plane_y, float32 (21,): row i has the
    second value plane_y[i]. The arrays of training_samples.npz, if the training wrote it.
    """
    arrays = {
        "samples": pixels(outputs.samples),
        "reconstructions": pixels(outputs.reconstructions),
        "interpolations": pixels(interpolate(trained, outputs.codes[:NUM_ENDPOINTS])),
        **_map(trained, evaluator, outputs),
        **_plane(trained, outputs),
    }
    stored = trained.folder / "training_samples.npz"
    return arrays | (read_images(stored) if stored.is_file() else {})


def data_images(evaluator: Evaluator) -> Arrays:
    """Return the arrays of results/reference/images.npz.

    originals: the first 200 test images (N, H, W, C). labels: int64 (≤ 500,), of the first test
    images, −1 without labels.
    """
    some = evaluator.test.first(NUM_POINTS)
    labels = torch.full((len(some),), -1) if some.labels is None else some.labels
    originals = evaluator.test.first(NUM_RECONSTRUCTIONS).images
    return {
        "originals": originals.permute(0, 2, 3, 1).contiguous().numpy(),
        "labels": labels.to(torch.int64).numpy(),
    }


def read_images(path: Path) -> Arrays:
    with np.load(path, allow_pickle=False) as stored:
        return {name: stored[name] for name in stored.files}


def pixels(images: Tensor) -> np.ndarray:
    """Float images (…, C, H, W) in [0, 1] → uint8 (…, H, W, C). NaN becomes 0."""
    return to_uint8(images.float().nan_to_num(0)).movedim(-3, -1).contiguous().cpu().numpy()


def interpolate(trained: TrainedModel, z: Tensor, *, steps: int = 10) -> Tensor:
    """Interpolate between codes 2i and 2i + 1 of z (N, D).

    Return images (N // 2, steps, C, H, W). Codes are interpolated linearly, unless the model is a
    contracts.LatentInterpolation.
    """
    count = len(z) // 2 * 2
    start, end = z[0:count:2], z[1:count:2]  # (N // 2, D)
    model = trained.module
    mix = model.interpolate if isinstance(model, LatentInterpolation) else torch.lerp
    codes = [mix(start, end, fraction) for fraction in torch.linspace(0, 1, steps).tolist()]
    return trained.decode(torch.cat(codes)).unflatten(0, (steps, -1)).transpose(0, 1)


def _map(trained: TrainedModel, evaluator: Evaluator, outputs: Outputs) -> Arrays:
    model = trained.module
    is_vector = isinstance(model, Encoder) and not isinstance(model, DiscreteCodes)
    if is_vector and model.latent_dim == 2:
        return {"map": outputs.codes.float().numpy(), "map_is_code": np.array(1)}
    return {"map": tsne(outputs.features, seed=evaluator.settings.seed).numpy()}


def _plane(trained: TrainedModel, outputs: Outputs) -> Arrays:
    """Images decoded from a grid over the codes of the test images."""
    model = trained.module
    if model.latent_dim != 2 or isinstance(model, DiscreteCodes):
        return {}
    low, high = outputs.codes.float().quantile(torch.tensor(QUANTILES), dim=0)  # (2,) each
    x, y = (torch.linspace(*ends, PLANE_STEPS) for ends in zip(low, high, strict=True))
    down, across = torch.meshgrid(y, x, indexing="ij")
    images = trained.decode(torch.stack([across, down], dim=2).flatten(0, 1))
    plane = pixels(images.unflatten(0, (PLANE_STEPS, PLANE_STEPS)))
    return {"plane": plane, "plane_x": x.numpy(), "plane_y": y.numpy()}
