"""Compress images: the codes of a trained model, rounded and entropy-coded, in one file.

`compress` and `decompress` work with a trained model and images. `pack` and `unpack` convert codes
of any origin to bytes and back. Module `coder` has the entropy coder (ANS), `container` the file
format, `files` the PNG files of decompressed images.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence

import numpy as np
import torch
from torch import Tensor

from latentlab.contracts import DiscreteCodes
from latentlab.inference.compression import coder, container
from latentlab.inference.compression.container import CodeDimension, Container
from latentlab.inference.trained import TrainedModel
from latentlab.metrics.reconstruction import squared_error
from latentlab.utils.errors import LatentlabError

SENSITIVITY_CODES = 100  # number of codes at which `sensitivity` is measured


def compress(
    trained: TrainedModel, x: Tensor, names: Sequence[str], *, step: float | None = None
) -> bytes:
    """Images (N, C, H, W) in [0, 1], with a name each → the bytes of a file.

    `step` Δ > 0 is the width of the rounding intervals. It adds about D Δ² / 12 to the squared
    error of an image. None selects the Δ for which this is a tenth of the model's own error.
    Discrete codes are written as they are.

    Raises:
        LatentlabError: a step for discrete codes, or what `pack` raises.
    """
    z, digest = trained.encode(x), weights_digest(trained)
    if isinstance(trained.module, DiscreteCodes):
        if step is not None:
            raise LatentlabError(
                f"The step is {step:g}, but the codes of {trained.name} are indices, which are not"
                " rounded. Leave the step out."
            )
        return pack_indices(z, names, model=trained.name, digest=digest)
    if step is None:
        sse = squared_error(trained.decode(z), x).mean()
        step = max(1e-3, float(0.1 * sse * 12 / z.shape[1]) ** 0.5)
    steps = step / sensitivity(trained.decode, z)
    return pack(z, steps, names, model=trained.name, digest=digest)


def decompress(content: bytes, trained: TrainedModel) -> Iterator[tuple[str, Tensor]]:
    """The bytes of `compress` → pairs of name and image (C, H, W) in [0, 1], in order.

    Raises:
        LatentlabError: the bytes are damaged, or were written with other weights.
    """
    file = container.read(content)
    if file.digest != weights_digest(trained):
        raise LatentlabError(
            f"The file was written with other weights of {file.model!r} than {trained.folder}"
            " contains. It can only be read with the same weights. Use the run folder that wrote"
            " it."
        )
    if len(file.dimensions) != trained.module.latent_dim:
        raise LatentlabError(
            f"The file has codes of size {len(file.dimensions)}. {trained.name} needs codes of"
            f" size {trained.module.latent_dim}. Compress the images again."
        )
    names = iter(file.names)
    for z in unpack_blocks(file):
        for image in trained.decode(z):
            yield next(names), image


def sensitivity(decode: Callable[[Tensor], Tensor], z: Tensor) -> Tensor:
    """Sensitivity of the image to each code value, (D,) > 0: √ E ‖∂x̂/∂z_d‖², by differences.

    `decode`: codes (N, D) → images. The mean is over the first 100 codes of z (N, D). Rounding
    errors of size step / s_d in each code value then have equal cost.
    """
    z = z[:SENSITIVITY_CODES]
    delta = (0.05 * z.std(0, correction=0)).clamp_min(1e-3)  # (D,)
    x_hat = decode(z)
    changes = torch.stack(
        [
            (decode(z + delta[d] * unit) - x_hat).square().flatten(1).sum(1).mean()
            for d, unit in enumerate(torch.eye(z.shape[1]))
        ]
    )
    slope = changes.sqrt() / delta
    return slope.clamp_min(1e-3 * float(slope.max()) or 1.0)


def pack(z: Tensor, steps: Tensor, names: Sequence[str], *, model: str, digest: bytes) -> bytes:
    """Codes (N, D), rounded to multiples of `steps` (D,) around their mean → the bytes of a file.

    Raises:
        LatentlabError: no codes, codes that are not finite, or steps so small that a code value
            has more than 2^14 different values.
    """
    return _pack(z, z.mean(0), steps.float(), names, model=model, digest=digest)


def pack_indices(z: Tensor, names: Sequence[str], *, model: str, digest: bytes) -> bytes:
    """Discrete codes (N, D), whole numbers, → the bytes of a file. `unpack` returns the same codes.

    Raises LatentlabError as `pack`.
    """
    zeros = torch.zeros(z.shape[1])
    return _pack(z, zeros, zeros + 1, names, model=model, digest=digest)


def _pack(
    z: Tensor, mean: Tensor, steps: Tensor, names: Sequence[str], *, model: str, digest: bytes
) -> bytes:
    """Write codes (N, D) as mean + steps · whole numbers."""
    if not z.isfinite().all() or not len(z):
        raise LatentlabError(
            f"Codes of shape {tuple(z.shape)} must be finite, and at least one. Check the model and"
            " the images."
        )
    if not steps.isfinite().all() or not (steps > 0).all():
        raise LatentlabError(
            f"The steps of the code values are {float(steps.min()):g} to {float(steps.max()):g} in"
            " 32-bit numbers. They must be positive and finite. Use a step such as 0.1."
        )
    rounded = ((z - mean) / steps).round().long().numpy()
    lowest = rounded.min(0)
    symbols = rounded - lowest
    if int(symbols.max()) >= coder.TOTAL:
        raise LatentlabError(
            f"A code value has {int(symbols.max()) + 1:,} different values. Allowed are at most"
            f" {coder.TOTAL:,}. Use a larger step."
        )
    dimensions = tuple(
        CodeDimension(
            float(mean[d]),
            float(steps[d]),
            int(lowest[d]),
            coder.quantize_counts(np.bincount(column)),
        )
        for d, column in enumerate(symbols.T)
    )
    data = coder.encode(symbols, [dimension.frequencies for dimension in dimensions])
    return container.write(Container(digest, model, tuple(names), dimensions, data))


def unpack_blocks(file: Container) -> Iterator[Tensor]:
    """Yield the codes of a file in blocks (≤ 500, D).

    Raises:
        LatentlabError: damaged data; blocks before the damage may have been yielded.
    """
    mean, step, lowest = (
        np.array([getattr(dimension, key) for dimension in file.dimensions])
        for key in ("mean", "step", "lowest")
    )
    tables = [dimension.frequencies for dimension in file.dimensions]
    for symbols in coder.decode(file.data, len(file.names), tables):
        z = torch.from_numpy(mean + step * (lowest + symbols)).float()
        if not z.isfinite().all():
            raise LatentlabError(
                "The file contains codes that are not finite. Compress the images again."
            )
        yield z


def unpack(content: bytes) -> Tensor:
    """The bytes of `pack` → all codes (N, D)."""
    return torch.cat(list(unpack_blocks(container.read(content))))


def weights_digest(trained: TrainedModel) -> bytes:
    """SHA-256 of the weights file. Only the weights that wrote a file can read it."""
    return hashlib.sha256((trained.folder / "weights.pt").read_bytes()).digest()
