"""Contraction ratio: the factor by which an encoder f shrinks a change of the image.

    ratio(r) = mean of ‖f(x + r u) − f(x)‖ / r        u uniform on the unit sphere, x given
    pairs    = mean of ‖f(x) − f(y)‖ / ‖x − y‖        x, y two of the given images

ratio(r) grows with the scale of the code. ratio(r) / pairs does not. For r → 0, the mean over u of
the squared ratio is ‖∂f/∂x‖² / number of pixels.

Rifai et al. 2011, "Contractive auto-encoders: explicit invariance during feature extraction".
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

RADII = (0.1, 0.3, 1.0, 2.0, 4.0, 8.0)  # the distance of two MNIST digits is about 10


@torch.inference_mode()
def contraction_ratios(
    encode: Callable[[Tensor], Tensor], x: Tensor, *, seed: int, radii: Sequence[float] = RADII
) -> tuple[dict[float, float], float]:
    """Return ({r: ratio(r)}, pairs) of images x (N, C, H, W) in [0, 1], N ≥ 2; all values ≥ 0.

    `encode`: images (N, C, H, W) → codes (N, D). `seed` fixes one direction u for each image.
    `pairs` compares each image with the previous one.
    """
    generator = torch.Generator().manual_seed(seed)
    u = torch.randn(x.shape, generator=generator).to(x)
    u = u / u.flatten(1).norm(dim=1)[:, None, None, None]
    z = encode(x)  # (N, D)
    ratios = {r: float((encode(x + r * u) - z).norm(dim=1).mean()) / r for r in radii}
    distances = (x - x.roll(1, 0)).flatten(1).norm(dim=1).clamp_min(1e-12)
    return ratios, float(((z - z.roll(1, 0)).norm(dim=1) / distances).mean())
