"""Super-resolution: what comes back of a shrunk image, against rules that know no images.

bicubic    a smooth surface through the small image's pixels (Keys 1981)
linear     x̂ = A z + b, least squares on training images: the best linear enlargement; left out
           where the small images have more than 4096 numbers
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
from latentlab.metrics.linear import MAX_INPUTS, LeastSquares
from latentlab.metrics.reconstruction import reconstruction_metrics
from latentlab.plots import save_rows
from latentlab.studies import MOST_TEST_IMAGES
from latentlab.trained import Trained

SHOWN = 10  # images of the picture
FITTED = 60_000  # training images that the linear enlargement sees, at most
RIVALS = {"nearest": "repeated pixels", "bicubic": "bicubic", "linear": "a linear map"}


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
    """Shrink test images and enlarge them in each way."""
    model = trained.module
    x = torch.cat(list(yard.test.first(MOST_TEST_IMAGES).batches()))
    small = model.shrink(x)
    linear = fit_linear(model, yard.train.first(FITTED)) if small[0].numel() <= MAX_INPUTS else None
    enlarged = enlargements(model, small, x, linear)
    scores = {name: _scores(x, x_hat) for name, x_hat in enlarged.items()}
    psnr_db = {name: row["PSNR dB"] for name, row in scores.items()}
    rival = "linear" if linear else max(("nearest", "bicubic"), key=psnr_db.__getitem__)
    gain = psnr_db["model"] - psnr_db[rival]
    sides = f"{small.shape[-2]}×{small.shape[-1]} → {x.shape[-2]}×{x.shape[-1]}"
    return Finding(
        title=f"Super-resolution {sides}",
        text=f"{len(x)} test images, shrunk to the means of {model.scale}×{model.scale} boxes and "
        "enlarged again. Rows of the picture: the original, "
        f"{', '.join(RIVALS[name] for name in enlarged if name in RIVALS)}, the model, which is "
        f"{gain:+.2f} dB from {RIVALS[rival]}. PSNR is the mean over images."
        + ("" if linear else f" No linear map is fitted above {MAX_INPUTS} numbers an image."),
        numbers={
            "psnr_db": psnr_db["model"],
            "ssim": scores["model"]["SSIM"],
            "bicubic_psnr_db": psnr_db["bicubic"],
            **({"linear_psnr_db": psnr_db["linear"]} if linear else {}),
        },
        table=scores,
        pictures=[
            Picture(
                "enlarged",
                "Original, small, " + ", ".join(list(enlarged)[1:]),
                partial(
                    save_rows,
                    torch.stack([images[:SHOWN] for images in (x, *enlarged.values())]),
                ),
            )
        ],
        flags=[] if gain > 0 else [f"enlarges no better than {RIVALS[rival]}"],
    )


def fit_linear(model: SuperResolver, train: Split) -> LeastSquares:
    """Least squares from small training images to the large ones."""
    return LeastSquares.fit((model.shrink(x), x) for x in train.batches(2000))


def enlargements(
    model: SuperResolver, small: Tensor, x: Tensor, linear: LeastSquares | None
) -> dict[str, Tensor]:
    """What becomes of small images, at the size of x, by the name of the way; the model is last."""
    enlarged = {mode: interpolate(small, x, mode) for mode in ("nearest", "bicubic")}
    if linear is not None:
        enlarged["linear"] = linear.predict(small).clamp(0, 1)
    return {**enlarged, "model": torch.cat([model.enlarge(part) for part in small.split(500)])}


def interpolate(small: Tensor, x: Tensor, mode: str) -> Tensor:
    """`small` at the size of x by one of torch's rules, pixel centres aligned, in [0, 1]."""
    corners = False if mode == "bicubic" else None
    return F.interpolate(small, size=x.shape[-2:], mode=mode, align_corners=corners).clamp(0, 1)


def _scores(x: Tensor, x_hat: Tensor) -> dict[str, float]:
    metrics = reconstruction_metrics(zip(x.split(500), x_hat.split(500), strict=True))
    return {"PSNR dB": metrics["psnr_db"], "SSIM": metrics["ssim"]}
