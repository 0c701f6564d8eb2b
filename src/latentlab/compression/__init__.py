"""Images as few bytes: the codes of a trained model, rounded, entropy-coded, in a file.

`pack` and `unpack` turn codes into bytes and back, whoever made the codes; `compress` and
`decompress` do so with a trained model and its images. coder: rANS. container: the file.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence

import numpy as np
import torch
from torch import Tensor

from latentlab.compression import coder, container
from latentlab.compression.container import Container, Unit
from latentlab.contracts import LatentlabError
from latentlab.trained import Trained

PROBED = 100  # codes at which the decoder's sensitivity is measured


def compress(
    trained: Trained, x: Tensor, names: Sequence[str], *, step: float | None = None
) -> bytes:
    """Images (N, C, H, W) in [0, 1] with a name each → the bytes of a file.

    `step` Δ is how coarsely codes are rounded: it adds about D Δ² / 12 to the squared error of an
    image. None chooses Δ so that this is a tenth of the error that the model makes anyway.
    """
    z = trained.encode(x)
    if step is None:
        sse = (trained.decode(z) - x).square().flatten(1).sum(1).mean()
        step = max(1e-3, float(0.1 * sse * 12 / z.shape[1]) ** 0.5)
    steps = step / sensitivity(trained.decode, z)
    return pack(z, steps, names, model=trained.name, digest=digest_of(trained))


def decompress(content: bytes, trained: Trained) -> Iterator[tuple[str, Tensor]]:
    """The bytes of `compress` → names and images (C, H, W), one after another, in order.

    Raises LatentlabError for damaged bytes and for those of another model.
    """
    file = container.read(content)
    if file.digest != digest_of(trained):
        raise LatentlabError(
            f"the file was made by other weights of {file.model!r} than {trained.folder} holds:"
            " it can only be read with the weights that wrote it"
        )
    if len(file.units) != trained.module.latent_dim:
        raise LatentlabError(f"the file has {len(file.units)} numbers an image, {trained.name} not")
    names = iter(file.names)
    for z in unpacked(file):
        for image in trained.decode(z):
            yield next(names), image


def sensitivity(decode: Callable[[Tensor], Tensor], z: Tensor) -> Tensor:
    """How far the image moves per unit of each code, (D,): √ E ‖∂x̂/∂z_d‖² by finite differences.

    Errors of step / s_d in each code then cost alike. Measured at the first 100 codes of z (N, D).
    """
    z = z[:PROBED]
    near = (0.05 * z.std(0, correction=0)).clamp_min(1e-3)  # (D,)
    x_hat = decode(z)
    moved = torch.stack(
        [
            (decode(z + near[d] * unit) - x_hat).square().flatten(1).sum(1).mean()
            for d, unit in enumerate(torch.eye(z.shape[1]))
        ]
    )
    slope = moved.sqrt() / near
    return slope.clamp_min(1e-3 * float(slope.max()) or 1.0)


def pack(z: Tensor, steps: Tensor, names: Sequence[str], *, model: str, digest: bytes) -> bytes:
    """Codes (N, D), rounded to multiples of `steps` (D,) around their mean → a file's bytes.

    Raises LatentlabError for codes that are not finite, and for steps so small that a code would
    take 2^14 different values or more.
    """
    if not z.isfinite().all() or not len(z):
        raise LatentlabError(f"codes {tuple(z.shape)} must be finite and at least one")
    mean, steps = z.mean(0), steps.float()
    rounded = ((z - mean) / steps).round().long().numpy()
    lowest = rounded.min(0)
    symbols = rounded - lowest
    if int(symbols.max()) >= coder.TOTAL:
        raise LatentlabError(
            f"a code would take {int(symbols.max()) + 1:,} values: choose a larger step"
        )
    units = tuple(
        Unit(float(mean[d]), float(steps[d]), int(lowest[d]), coder.quantised(np.bincount(column)))
        for d, column in enumerate(symbols.T)
    )
    data = coder.encode(symbols, [unit.frequencies for unit in units])
    return container.write(Container(digest, model, tuple(names), units, data))


def unpacked(file: Container) -> Iterator[Tensor]:
    """Codes in blocks (≤ 500, D). Raises LatentlabError for damaged ones, maybe after some."""
    mean, step, lowest = (
        np.array([getattr(unit, key) for unit in file.units]) for key in ("mean", "step", "lowest")
    )
    tables = [unit.frequencies for unit in file.units]
    for symbols in coder.decode(file.data, len(file.names), tables):
        z = torch.from_numpy(mean + step * (lowest + symbols)).float()
        if not z.isfinite().all():
            raise LatentlabError("the file holds codes that are not finite: compress anew")
        yield z


def unpack(content: bytes) -> Tensor:
    """All codes (N, D) of the bytes that `pack` made."""
    return torch.cat(list(unpacked(container.read(content))))


def digest_of(trained: Trained) -> bytes:
    """SHA-256 of the weights file: who reads must have what wrote."""
    return hashlib.sha256((trained.folder / "weights.pt").read_bytes()).digest()
