"""Denoising: how much of what was spoilt comes back, against filters that learn little or nothing.

median     the middle value of the 3×3 or 5×5 pixels around each, the better of the two
linear     x̂ = A x̃ + b, least squares on spoilt training images: the best linear repair
"""

from __future__ import annotations

from functools import partial
from typing import Any, Protocol, runtime_checkable

import torch
import torch.nn.functional as F
from torch import Tensor

from latentlab.contracts import Split
from latentlab.evaluation import Yardsticks
from latentlab.findings import Finding, Picture
from latentlab.metrics.linear import LeastSquares
from latentlab.metrics.reconstruction import reconstruction_metrics
from latentlab.plots import save_rows
from latentlab.trained import Trained

SHOWN = 10  # images of the picture
FITTED = 20_000  # spoilt training images that the linear repair sees, about


@runtime_checkable
class Denoiser(Protocol):
    """Spoils images as in its training, x → x̃, and repairs them, x̃ → x̂ in [0, 1]."""

    def corrupt(self, x: Tensor, generator: torch.Generator | None = None) -> Tensor: ...

    def denoise(self, x_tilde: Tensor) -> Tensor: ...


def applies(model: Any) -> bool:
    return isinstance(model, Denoiser)


@torch.inference_mode()
def study(trained: Trained, yard: Yardsticks) -> Finding:
    """Spoil the test split once, by a seed of its own, and repair it in four ways."""
    model = trained.module
    generator = torch.Generator().manual_seed(yard.settings.seed)
    linear = fit_linear(model, yard.train.first(FITTED), generator)
    x = torch.cat(list(yard.test.batches()))
    x_tilde = model.corrupt(x, generator)
    repaired = {
        "noisy": x_tilde,
        "median 3×3": median(x_tilde, 3).clamp(0, 1),
        "median 5×5": median(x_tilde, 5).clamp(0, 1),
        "linear": linear.predict(x_tilde).clamp(0, 1),
        "model": torch.cat([model.denoise(part) for part in x_tilde.split(500)]).clamp(0, 1),
    }
    scores = {name: _scores(x, x_hat) for name, x_hat in repaired.items()}
    best = max(("median 3×3", "median 5×5"), key=lambda name: scores[name]["PSNR dB"])
    shown = [x, x_tilde.clamp(0, 1), *(repaired[name] for name in (best, "linear", "model"))]
    gain = scores["model"]["PSNR dB"] - scores["linear"]["PSNR dB"]
    return Finding(
        title="Denoising",
        text=f"{len(x)} test images, spoilt as in training and repaired. Rows of the picture: the "
        f"original, the spoilt image, its {best}, the best linear repair, the model, which is "
        f"{gain:+.2f} dB from the linear one. PSNR is the mean over images.",
        numbers={
            "psnr_db": scores["model"]["PSNR dB"],
            "ssim": scores["model"]["SSIM"],
            "noisy_psnr_db": scores["noisy"]["PSNR dB"],
            "median_psnr_db": scores[best]["PSNR dB"],
            "linear_psnr_db": scores["linear"]["PSNR dB"],
        },
        table=scores,
        pictures=[
            Picture(
                "denoised",
                f"Original, spoilt, {best}, linear, model",
                partial(save_rows, torch.stack([images[:SHOWN] for images in shown])),
            )
        ],
        flags=[] if gain > 0 else ["denoises no better than a linear map"],
    )


def fit_linear(model: Denoiser, train: Split, generator: torch.Generator) -> LeastSquares:
    """Least squares from spoilt training images to the clean ones, spoilt anew on each pass."""
    passes = max(1, FITTED // len(train))
    return LeastSquares.fit(
        (model.corrupt(x, generator), x) for _ in range(passes) for x in train.batches(2000)
    )


def median(x: Tensor, side: int) -> Tensor:
    """The median over side × side pixels around each, borders mirrored: (B, C, H, W)."""
    return torch.cat([_median(part, side) for part in x.split(200)])


def _median(x: Tensor, side: int) -> Tensor:
    padded = F.pad(x, (side // 2,) * 4, mode="reflect")
    windows = padded.unfold(2, side, 1).unfold(3, side, 1)  # (B, C, H, W, side, side)
    return windows.flatten(4).median(-1).values


def _scores(x: Tensor, x_hat: Tensor) -> dict[str, float]:
    metrics = reconstruction_metrics(zip(x.split(500), x_hat.split(500), strict=True))
    return {"PSNR dB": metrics["psnr_db"], "SSIM": metrics["ssim"]}
