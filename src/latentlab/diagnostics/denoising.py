"""Denoising: the model against simple filters, on corrupted test images.

median     median of the 3×3 or 5×5 pixels around each pixel; the better of the two is reported
linear     x̂ = A x̃ + b, fitted by least squares to corrupted training images: the best linear
           denoiser; left out for images of more than 4096 values
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from latentlab.contracts import Denoiser, Split
from latentlab.diagnostics import MAX_TEST_IMAGES
from latentlab.diagnostics.metrics.least_squares import MAX_INPUTS, LeastSquares
from latentlab.evaluation.evaluator import Evaluator
from latentlab.evaluation.results import Figure, Result
from latentlab.inference.trained import TrainedModel
from latentlab.metrics.reconstruction import reconstruction_metrics
from latentlab.visualization.grids import save_rows

NUM_SHOWN = 10
NUM_FITTED = 20_000  # about so many corrupted training images fit the linear map
METHODS = {
    "corrupted": "the corrupted image",
    "median 3×3": "a 3×3 median",
    "median 5×5": "a 5×5 median",
    "linear": "a linear map",
    "model": "the model",
}


def applies(model: Any) -> bool:
    return isinstance(model, Denoiser)


@torch.inference_mode()
def diagnose(trained: TrainedModel, evaluator: Evaluator) -> Result:
    """Corrupt the test images once, by a fixed seed. Denoise them by the model and by baselines."""
    model = trained.module
    generator = torch.Generator().manual_seed(evaluator.settings.seed)
    small = evaluator.train.images[0].numel() <= MAX_INPUTS
    linear = fit_linear(model, evaluator.train.first(NUM_FITTED), generator) if small else None
    x = torch.cat(list(evaluator.test.first(MAX_TEST_IMAGES).batches()))
    x_tilde = model.corrupt(x, generator)
    denoised = denoise_all(model, x_tilde, linear)
    table = {name: _scores(x, x_hat) for name, x_hat in denoised.items()}
    psnr_db = {name: row["PSNR dB"] for name, row in table.items()}
    median = max(("median 3×3", "median 5×5"), key=psnr_db.__getitem__)
    baseline = "linear" if linear else max(("corrupted", median), key=psnr_db.__getitem__)
    gain_db = psnr_db["model"] - psnr_db[baseline]
    names = [median, "linear", "model"] if linear else [median, "model"]
    rows = [x, x_tilde.clamp(0, 1), *(denoised[name] for name in names)]
    images = torch.stack([row[:NUM_SHOWN] for row in rows])
    caption = f"Original, corrupted, {', '.join(names)}"
    return Result(
        title="Denoising",
        summary=_summary(len(x), gain_db, baseline, names),
        metrics=_metrics(table, median),
        table=table,
        figures=[Figure("denoised", caption, partial(save_rows, images))],
        warnings=[] if gain_db > 0 else [f"no better than {METHODS[baseline]}"],
    )


def _metrics(table: Mapping[str, Mapping[str, float]], median: str) -> dict[str, float]:
    rows = {"": "model", "corrupted_": "corrupted", "median_": median, "linear_": "linear"}
    psnr_db = {f"{key}psnr_db": table[row]["PSNR dB"] for key, row in rows.items() if row in table}
    return {**psnr_db, "ssim": table["model"]["SSIM"]}


def _summary(count: int, gain_db: float, baseline: str, names: Sequence[str]) -> str:
    return (
        f"{count} test images, corrupted as in training and denoised. The PSNR of the model is "
        f"{gain_db:+.2f} dB relative to {METHODS[baseline]}. PSNR is the mean over images. Rows of "
        "the figure: the original, the corrupted image, "
        f"{', '.join(METHODS[name] for name in names)}."
        + (
            ""
            if "linear" in names
            else f" A linear map needs at most {MAX_INPUTS} values per image."
        )
    )


def denoise_all(model: Denoiser, x_tilde: Tensor, linear: LeastSquares | None) -> dict[str, Tensor]:
    """Denoised images (N, C, H, W) of corrupted ones, for each baseline and, last, the model."""
    denoised = {
        "corrupted": x_tilde.clamp(0, 1),  # as every other row
        "median 3×3": median_filter(x_tilde, 3).clamp(0, 1),
        "median 5×5": median_filter(x_tilde, 5).clamp(0, 1),
    }
    if linear is not None:
        denoised["linear"] = linear.predict(x_tilde).clamp(0, 1)
    x_hat = torch.cat([model.denoise(part) for part in x_tilde.split(500)]).clamp(0, 1)
    return {**denoised, "model": x_hat}


def fit_linear(model: Denoiser, train: Split, generator: torch.Generator) -> LeastSquares:
    """Least squares from corrupted training images to clean ones; each pass corrupts them anew."""
    passes = max(1, NUM_FITTED // len(train))
    return LeastSquares.fit(
        (model.corrupt(x, generator), x) for _ in range(passes) for x in train.batches(2000)
    )


def median_filter(x: Tensor, size: int) -> Tensor:
    """The median of size × size pixels around each pixel, borders mirrored: (B, C, H, W)."""
    return torch.cat([_median_filter(part, size) for part in x.split(200)])


def _median_filter(x: Tensor, size: int) -> Tensor:
    padded = F.pad(x, (size // 2,) * 4, mode="reflect")
    windows = padded.unfold(2, size, 1).unfold(3, size, 1)  # (B, C, H, W, size, size)
    return windows.flatten(4).median(-1).values


def _scores(x: Tensor, x_hat: Tensor) -> dict[str, float]:
    metrics = reconstruction_metrics(zip(x.split(500), x_hat.split(500), strict=True))
    return {"PSNR dB": metrics["psnr_db"], "SSIM": metrics["ssim"]}
