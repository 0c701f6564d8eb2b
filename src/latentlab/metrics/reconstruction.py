"""Errors of reconstructions x̂ of images x: squared error, MSE, PSNR, SSIM.

docs/metrics-elsewhere.md compares PSNR and SSIM with other packages.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor

from latentlab.utils.errors import LatentlabError

PSNR_CAP_DB = 100.0  # PSNR of a perfect image; that is an MSE of 1e-10
_C1, _C2 = 0.01**2, 0.03**2  # (K₁L)², (K₂L)² of Wang et al. 2004 with data range L = 1


def reconstruction_values(pairs: Iterable[tuple[Tensor, Tensor]]) -> dict[str, Tensor]:
    """Values of each image, float64 (N,), by name. `pairs` yields batches (x, x_hat).

    x and x_hat are (B, C, H, W) in [0, 1].

    - reconstruction_mse: reconstruction_sse / (C·H·W), ≥ 0
    - reconstruction_sse: `squared_error`, ≥ 0
    - psnr_db: `psnr_db`, in dB, at most `PSNR_CAP_DB`
    - ssim: `ssim`, in [−1, 1]

    Raises:
        LatentlabError: no image, shapes that differ, or values that are not finite.
    """
    rows: list[Tensor] = []
    image_shape: torch.Size | None = None
    for x, x_hat in pairs:
        sse = squared_error(x_hat.to(torch.float64), x.to(torch.float64))  # (B,)
        image_shape = image_shape or x.shape[1:]
        if x.shape[1:] != image_shape:
            raise LatentlabError(
                f"There are images of shape {tuple(x.shape[1:])} after {tuple(image_shape)}. All "
                "batches must have one image shape. Evaluate the shapes separately."
            )
        mse = sse / image_shape.numel()
        rows.append(torch.stack([mse, sse, psnr_db(mse), ssim(x, x_hat)]).cpu())
    if not sum(row.shape[1] for row in rows):
        raise LatentlabError(
            "There are no images to compare. At least one pair (x, x_hat) is needed. Evaluate on "
            "more images."
        )
    names = ("reconstruction_mse", "reconstruction_sse", "psnr_db", "ssim")
    return dict(zip(names, torch.cat(rows, 1), strict=True))


def reconstruction_metrics(pairs: Iterable[tuple[Tensor, Tensor]]) -> dict[str, float]:
    """Means over images of `reconstruction_values`, by name. It raises the same errors."""
    values = reconstruction_values(pairs)
    return {name: float(each.mean()) for name, each in values.items()}


def squared_error(x_hat: Tensor, x: Tensor) -> Tensor:
    """Squared error (B,) ≥ 0 of images (B, C, H, W), summed over each image, in their dtype.

    Raises:
        LatentlabError: shapes that differ or are not (B, C, H, W), or values that are not finite.
    """
    if x.shape != x_hat.shape or x.ndim != 4:
        raise _shapes_differ(x, x_hat)
    sse = (x_hat - x).square().flatten(1).sum(1)
    if not sse.isfinite().all():
        raise LatentlabError(
            f"{int((~sse.isfinite()).sum())} of {len(sse)} reconstructions are not finite. Images "
            "must be in [0, 1]. Look for NaN in the weights of the model."
        )
    return sse


def psnr_db(mse: Tensor) -> Tensor:
    """Peak signal-to-noise ratio −10 log₁₀(MSE) in dB, data range 1, at most `PSNR_CAP_DB`.

    `mse`: mean squared error of each image, ≥ 0, any shape.
    """
    return -10 * mse.clamp_min(10 ** (-PSNR_CAP_DB / 10)).log10()


def ssim(x: Tensor, y: Tensor) -> Tensor:
    """Structural similarity in [−1, 1] of images (B, C, H, W) in [0, 1], float64 (B,).

    Wang et al. 2004, eqs. 13–17: Gaussian window of 11×11 with σ = 1.5 pixels, data range 1, mean
    over channels and over windows that lie inside the image. An image smaller than 11 pixels gets
    the largest odd window that fits its shorter side, with the same σ and sum 1.

    Raises:
        LatentlabError: shapes that differ or are not (B, C, H, W).
    """
    if x.shape != y.shape or x.ndim != 4 or 0 in x.shape[1:]:
        raise _shapes_differ(x, y)
    x, y = x.to(torch.float64), y.to(torch.float64)
    side = min(11, *x.shape[-2:])
    size = side - (side + 1) % 2
    rows, columns = (_blur(n, size).to(x.device) for n in x.shape[-2:])
    mu_x, mu_y, xx, yy, xy = (rows @ m @ columns.T for m in (x, y, x * x, y * y, x * y))
    var_x, var_y, cov = xx - mu_x**2, yy - mu_y**2, xy - mu_x * mu_y
    luminance = (2 * mu_x * mu_y + _C1) / (mu_x**2 + mu_y**2 + _C1)
    structure = (2 * cov + _C2) / (var_x + var_y + _C2)
    return (luminance * structure).mean(dim=(1, 2, 3))


def _blur(length: int, size: int, *, sigma: float = 1.5) -> Tensor:
    """Banded matrix (length − size + 1, length); each row is a shifted, normalized Gaussian window.

    For small images, a separable filter is much faster as a matrix product than as a convolution.
    """
    offsets = torch.arange(size, dtype=torch.float64) - size // 2
    window = torch.exp(-(offsets**2) / (2 * sigma**2))
    matrix = torch.zeros(length - size + 1, length, dtype=torch.float64)
    for row in range(len(matrix)):
        matrix[row, row : row + size] = window / window.sum()
    return matrix


def _shapes_differ(x: Tensor, y: Tensor) -> LatentlabError:
    return LatentlabError(
        f"Images have shapes {tuple(x.shape)} and {tuple(y.shape)}. Both must be the same "
        "(B, C, H, W). Check the output size of the decoder."
    )
