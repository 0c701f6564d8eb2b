"""How near a reconstruction is to its original: squared error, PSNR, SSIM."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor

from latentlab.contracts import LatentlabError

PSNR_CAP_DB = 100.0  # what a perfect image counts as: a per-pixel error of 1e-10
_C1, _C2 = 0.01**2, 0.03**2  # (K₁L)², (K₂L)² of Wang et al. 2004 with data range L = 1


def reconstruction_metrics(pairs: Iterable[tuple[Tensor, Tensor]]) -> dict[str, float]:
    """Average over images, streaming over batches of (x, x_hat), both (B, C, H, W) in [0, 1].

    - reconstruction_sse: squared error summed over an image's values, mean over images
    - reconstruction_mse: the same divided by C·H·W
    - psnr_db: mean over images of −10 log₁₀(mse), in dB for data range 1, at most `PSNR_CAP_DB`
    - ssim: mean over images of `ssim`

    The result does not depend on how the images are batched (float64 sums). Raises
    LatentlabError for no image, differing shapes, image sizes that change, or non-finite values.
    """
    count, totals = 0, torch.zeros(3, dtype=torch.float64)
    image_shape: torch.Size | None = None
    for x, x_hat in pairs:
        sse = _squared_error(x, x_hat)  # (B,)
        image_shape = image_shape or x.shape[1:]
        if x.shape[1:] != image_shape:
            raise LatentlabError(
                f"images of shape {tuple(x.shape[1:])} after {tuple(image_shape)}: all batches "
                "must have one image shape; evaluate them apart"
            )
        floor = 10 ** (-PSNR_CAP_DB / 10)
        psnr_db = -10 * (sse / image_shape.numel()).clamp_min(floor).log10()
        totals += torch.stack([sse.sum(), psnr_db.sum(), ssim(x, x_hat).sum()]).cpu()
        count += len(x)
    if image_shape is None or count == 0:
        raise LatentlabError("no images to compare: at least one pair (x, x_hat) is needed")
    sse_mean, psnr_mean, ssim_mean = (totals / count).tolist()
    return {
        "reconstruction_mse": sse_mean / image_shape.numel(),
        "reconstruction_sse": sse_mean,
        "psnr_db": psnr_mean,
        "ssim": ssim_mean,
    }


def ssim(x: Tensor, y: Tensor) -> Tensor:
    """Structural similarity float64 (B,) of images (B, C, H, W) in [0, 1], in [−1, 1].

    Wang et al. 2004, eqs. 13–17: Gaussian window of 11×11 and σ = 1.5 pixels, data range 1, windows
    wholly inside the image, mean over windows and channels. An image smaller than 11 pixels gets
    the largest odd window that fits its shorter side, with the same σ, normalised to sum 1.
    Raises LatentlabError for shapes that differ or are not (B, C, H, W).
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
    """Banded matrix (length − size + 1, length) whose rows slide a normalised Gaussian window.

    As a matrix product a separable filter of small images is far faster than a convolution.
    """
    offsets = torch.arange(size, dtype=torch.float64) - size // 2
    window = torch.exp(-(offsets**2) / (2 * sigma**2))
    matrix = torch.zeros(length - size + 1, length, dtype=torch.float64)
    for row in range(len(matrix)):
        matrix[row, row : row + size] = window / window.sum()
    return matrix


def _squared_error(x: Tensor, x_hat: Tensor) -> Tensor:
    """Squared error (B,) in float64, summed over each image."""
    if x.shape != x_hat.shape or x.ndim != 4:
        raise _shapes_differ(x, x_hat)
    sse = (x.to(torch.float64) - x_hat.to(torch.float64)).square().sum(dim=(1, 2, 3))
    if not sse.isfinite().all():
        raise LatentlabError(
            f"{int((~sse.isfinite()).sum())} of {len(sse)} reconstructions are not finite: images "
            "must be in [0, 1]; look for NaN in the model's weights"
        )
    return sse


def _shapes_differ(x: Tensor, y: Tensor) -> LatentlabError:
    return LatentlabError(
        f"images of shape {tuple(x.shape)} against {tuple(y.shape)}: both must be the same "
        "(B, C, H, W); check the decoder's output size"
    )
