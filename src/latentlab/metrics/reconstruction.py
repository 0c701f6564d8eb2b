"""Errors of reconstructions x̂ of images x: squared error, MSE, PSNR, SSIM."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor

from latentlab.utils.errors import LatentlabError

PSNR_CAP_DB = 100.0  # PSNR of a perfect image; that is an MSE of 1e-10
_C1, _C2 = 0.01**2, 0.03**2  # (K₁L)², (K₂L)² of Wang et al. 2004 with data range L = 1


def reconstruction_metrics(pairs: Iterable[tuple[Tensor, Tensor]]) -> dict[str, float]:
    """Return means over images. `pairs` yields batches (x, x_hat), both (B, C, H, W) in [0, 1].

    - reconstruction_sse: mean of `squared_error`, ≥ 0
    - reconstruction_mse: reconstruction_sse / (C·H·W), ≥ 0
    - psnr_db: mean of `psnr_db`, in dB, at most `PSNR_CAP_DB`
    - ssim: mean of `ssim`, in [−1, 1]

    Sums are float64, so the result does not depend on the batch size.

    Raises:
        LatentlabError: no image, shapes that differ, or values that are not finite.
    """
    count, totals = 0, torch.zeros(3, dtype=torch.float64)
    image_shape: torch.Size | None = None
    for x, x_hat in pairs:
        sse = squared_error(x_hat.to(torch.float64), x.to(torch.float64))  # (B,)
        image_shape = image_shape or x.shape[1:]
        if x.shape[1:] != image_shape:
            raise LatentlabError(
                f"There are images of shape {tuple(x.shape[1:])} after {tuple(image_shape)}. All "
                "batches must have one image shape. Evaluate the shapes separately."
            )
        psnr = psnr_db(sse / image_shape.numel())
        totals += torch.stack([sse.sum(), psnr.sum(), ssim(x, x_hat).sum()]).cpu()
        count += len(x)
    if image_shape is None or count == 0:
        raise LatentlabError(
            "There are no images to compare. At least one pair (x, x_hat) is needed. Evaluate on "
            "more images."
        )
    sse_mean, psnr_mean, ssim_mean = (totals / count).tolist()
    return {
        "reconstruction_mse": sse_mean / image_shape.numel(),
        "reconstruction_sse": sse_mean,
        "psnr_db": psnr_mean,
        "ssim": ssim_mean,
    }


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
