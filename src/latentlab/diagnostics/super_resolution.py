"""Super-resolution: the model against interpolation and a linear map, on downsampled test images.

nearest    repeated pixels
bicubic    bicubic interpolation (Keys 1981)
linear     x̂ = A z + b, fitted by least squares to training images: the best linear map from small
           images z; left out for small images of more than 4096 values
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from latentlab.contracts import Split, SuperResolver
from latentlab.diagnostics import MAX_TEST_IMAGES
from latentlab.diagnostics.metrics.least_squares import MAX_INPUTS, LeastSquares
from latentlab.evaluation.evaluator import Evaluator
from latentlab.evaluation.results import Figure, Result
from latentlab.inference.trained import TrainedModel
from latentlab.metrics.reconstruction import reconstruction_metrics
from latentlab.visualization.grids import save_rows

NUM_SHOWN = 10
MAX_FITTED = 60_000  # training images that fit the linear map
METHODS = {
    "nearest": "nearest-neighbour interpolation",
    "bicubic": "bicubic interpolation",
    "linear": "a linear map",
    "model": "the model",
}


def applies(model: Any) -> bool:
    return isinstance(model, SuperResolver)


@torch.inference_mode()
def diagnose(trained: TrainedModel, evaluator: Evaluator) -> Result:
    """Downsample the test images. Upsample them by the model and by baselines."""
    model = trained.module
    x = torch.cat(list(evaluator.test.first(MAX_TEST_IMAGES).batches()))
    x_small = model.downsample(x)
    small = x_small[0].numel() <= MAX_INPUTS
    linear = fit_linear(model, evaluator.train.first(MAX_FITTED)) if small else None
    upsampled = upsample_all(model, x_small, x, linear)
    table = {name: _scores(x, x_hat) for name, x_hat in upsampled.items()}
    psnr_db = {name: row["PSNR dB"] for name, row in table.items()}
    baseline = "linear" if linear else max(("nearest", "bicubic"), key=psnr_db.__getitem__)
    gain_db = psnr_db["model"] - psnr_db[baseline]
    sizes = f"{x_small.shape[-2]}×{x_small.shape[-1]} → {x.shape[-2]}×{x.shape[-1]}"
    images = torch.stack([row[:NUM_SHOWN] for row in (x, *upsampled.values())])
    caption = "Original, " + ", ".join(upsampled)
    return Result(
        title=f"Super-resolution {sizes}",
        summary=_summary(len(x), model.scale, gain_db, baseline, list(upsampled)),
        metrics=_metrics(table),
        table=table,
        figures=[Figure("upsampled", caption, partial(save_rows, images))],
        warnings=[] if gain_db > 0 else [f"no better than {METHODS[baseline]}"],
    )


def _metrics(table: Mapping[str, Mapping[str, float]]) -> dict[str, float]:
    rows = {"": "model", "bicubic_": "bicubic", "linear_": "linear"}
    psnr_db = {f"{key}psnr_db": table[row]["PSNR dB"] for key, row in rows.items() if row in table}
    return {**psnr_db, "ssim": table["model"]["SSIM"]}


def _summary(count: int, scale: int, gain_db: float, baseline: str, names: Sequence[str]) -> str:
    return (
        f"{count} test images, downsampled to the means of {scale}×{scale} pixels and upsampled. "
        f"The PSNR of the model is {gain_db:+.2f} dB relative to {METHODS[baseline]}. PSNR is the "
        "mean over images. Rows of the figure: the original, "
        f"{', '.join(METHODS[name] for name in names)}."
        + (
            ""
            if "linear" in names
            else f" A linear map needs at most {MAX_INPUTS} values per image."
        )
    )


def fit_linear(model: SuperResolver, train: Split) -> LeastSquares:
    """Least squares from downsampled training images to the originals."""
    return LeastSquares.fit((model.downsample(x), x) for x in train.batches(2000))


def upsample_all(
    model: SuperResolver, x_small: Tensor, x: Tensor, linear: LeastSquares | None
) -> dict[str, Tensor]:
    """Upsampled images, of the shape of x, for each baseline and, last, the model."""
    upsampled = {mode: interpolate(x_small, x, mode) for mode in ("nearest", "bicubic")}
    if linear is not None:
        upsampled["linear"] = linear.predict(x_small).clamp(0, 1)
    x_hat = torch.cat([model.upsample(part) for part in x_small.split(500)])
    return {**upsampled, "model": x_hat}


def interpolate(x_small: Tensor, x: Tensor, mode: str) -> Tensor:
    """`x_small` at the size of x by a mode of F.interpolate, pixel centers aligned, in [0, 1]."""
    corners = False if mode == "bicubic" else None
    return F.interpolate(x_small, size=x.shape[-2:], mode=mode, align_corners=corners).clamp(0, 1)


def _scores(x: Tensor, x_hat: Tensor) -> dict[str, float]:
    metrics = reconstruction_metrics(zip(x.split(500), x_hat.split(500), strict=True))
    return {"PSNR dB": metrics["psnr_db"], "SSIM": metrics["ssim"]}
