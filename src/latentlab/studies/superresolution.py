"""Super-resolution: what comes back of a shrunk image, against rules that know no images.

bicubic    a smooth surface through the small image's pixels (Keys 1981)
linear     x̂ = A z + b, least squares on training images: the best linear enlargement
"""

from __future__ import annotations

from functools import partial
from typing import Any, Protocol, runtime_checkable

import torch
import torch.nn.functional as F
from torch import Tensor

from latentlab.evaluation import Yardsticks
from latentlab.findings import Finding, Picture
from latentlab.metrics.linear import LeastSquares
from latentlab.metrics.reconstruction import reconstruction_metrics
from latentlab.plots import save_rows
from latentlab.trained import Trained

SHOWN = 10  # images of the picture
FITTED = 60_000  # training images that the linear enlargement sees, at most


@runtime_checkable
class SuperResolver(Protocol):
    """Shrinks images by `scale` and enlarges them again to images in [0, 1]."""

    scale: int

    def shrink(self, x: Tensor) -> Tensor: ...

    def enlarge(self, small: Tensor) -> Tensor: ...


def applies(model: Any) -> bool:
    return isinstance(model, SuperResolver)


@torch.inference_mode()
def study(trained: Trained, yard: Yardsticks) -> Finding:
    """Shrink the test split and enlarge it in four ways."""
    model = trained.module
    train = yard.train.first(FITTED)
    linear = LeastSquares.fit((model.shrink(x), x) for x in train.batches(2000))
    x = torch.cat(list(yard.test.batches()))
    small = model.shrink(x)
    enlarged = {
        "nearest": interpolate(small, x, "nearest"),
        "bicubic": interpolate(small, x, "bicubic"),
        "linear": linear.predict(small).clamp(0, 1),
        "model": torch.cat([model.enlarge(part) for part in small.split(500)]),
    }
    scores = {name: _scores(x, x_hat) for name, x_hat in enlarged.items()}
    gain = scores["model"]["PSNR dB"] - scores["linear"]["PSNR dB"]
    sides = f"{small.shape[-2]}×{small.shape[-1]} → {x.shape[-2]}×{x.shape[-1]}"
    return Finding(
        title=f"Super-resolution {sides}",
        text=f"{len(x)} test images, shrunk to the means of {model.scale}×{model.scale} boxes and "
        "enlarged again. Rows of the picture: the original, its pixels repeated, bicubic, the best "
        f"linear enlargement, the model, which is {gain:+.2f} dB from the linear one. PSNR is the "
        "mean over images.",
        numbers={
            "psnr_db": scores["model"]["PSNR dB"],
            "ssim": scores["model"]["SSIM"],
            "bicubic_psnr_db": scores["bicubic"]["PSNR dB"],
            "linear_psnr_db": scores["linear"]["PSNR dB"],
        },
        table=scores,
        pictures=[
            Picture(
                "enlarged",
                "Original, small, bicubic, linear, model",
                partial(
                    save_rows,
                    torch.stack([images[:SHOWN] for images in (x, *enlarged.values())]),
                ),
            )
        ],
        flags=[] if gain > 0 else ["enlarges no better than a linear map"],
    )


def interpolate(small: Tensor, x: Tensor, mode: str) -> Tensor:
    """`small` at the size of x by one of torch's rules, pixel centres aligned, in [0, 1]."""
    corners = False if mode == "bicubic" else None
    return F.interpolate(small, size=x.shape[-2:], mode=mode, align_corners=corners).clamp(0, 1)


def _scores(x: Tensor, x_hat: Tensor) -> dict[str, float]:
    metrics = reconstruction_metrics(zip(x.split(500), x_hat.split(500), strict=True))
    return {"PSNR dB": metrics["psnr_db"], "SSIM": metrics["ssim"]}
