"""The effect of the contractive penalty: the same autoencoder trained with λ > 0 and with λ = 0.

    contraction ratio = mean of ‖f(x + d) − f(x)‖ / ‖d‖        d: small random change of image x

Rifai et al. 2011, "Contractive auto-encoders: explicit invariance during feature extraction".
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor

from latentlab.contracts import JacobianPenalty, Split, Task, to_float
from latentlab.evaluation.results import Figure, Result
from latentlab.losses.jacobian import tangents
from latentlab.losses.reconstruction import squared_error
from latentlab.metrics.contraction import contraction_ratios
from latentlab.tasks.common.context import Context
from latentlab.tasks.common.fitting import fit
from latentlab.utils.errors import LatentlabError
from latentlab.visualization.grids import save_rows

NUM_TANGENTS = 10
SUMMARY = (
    "The same network was trained on the same images with the contractive penalty (λ = {}) and"
    " without. contraction_ratio: the change of the code for a small random change of the image,"
    " relative to the change of the image; it is {:.1f} times smaller with the penalty."
    " relative_contraction: this ratio divided by the ratio for two different test images, so that"
    " the scale of the code has no influence. For both, a smaller value means more contraction."
)


@dataclass(frozen=True)
class ContractivePenalty(Task):
    """The ratios are means over `num_images` test images. `num_shown` images are in the figure."""

    num_images: int = 1000
    num_shown: int = 3

    def __post_init__(self) -> None:
        if not 1 <= self.num_shown <= self.num_images or self.num_images < 2:
            raise LatentlabError(
                f"num_images is {self.num_images} and num_shown is {self.num_shown}: num_images"
                " must be ≥ 2, and num_shown must be in 1 … num_images"
            )

    def run(self, context: Context) -> Result:
        model = context.trained.module
        if not isinstance(model, JacobianPenalty):
            raise LatentlabError(
                f"{context.trained.name} has no contractive penalty: set the task's `model` in"
                " params.yaml to a contractive autoencoder, such as contractive_ae"
            )
        models = {"contractive": model, "plain": self._train_plain(context)}
        table = {name: self._row(each, context) for name, each in models.items()}
        x = next(context.evaluator.test.first(self.num_shown).batches())
        ratio = table["plain"]["contraction_ratio"] / table["contractive"]["contraction_ratio"]
        rows = tangent_rows([each.encode for each in models.values()], x)
        caption = (
            "A test image and the directions in which its code changes most: first row with the"
            " penalty, second row without"
        )
        return Result(
            title="Contractive penalty",
            summary=SUMMARY.format(model.penalty_weight, ratio),
            metrics={f"{name}_{key}": v for name, row in table.items() for key, v in row.items()},
            table=table,
            figures=[Figure("tangents", caption, partial(save_rows, rows))],
        )

    def _train_plain(self, context: Context) -> Any:
        """Train a model with the same class, settings and number of steps, but with λ = 0."""
        settings = context.trained.metadata["resolved"]["trainer"]
        plain = context.untrained_model()
        plain.penalty_weight = 0.0
        fit(
            plain,
            lambda x: plain.loss(x)["loss"],
            (to_float(context.evaluator.train.images),),
            steps=context.trained.metadata["images_seen"] // settings["batch_size"],
            batch_size=settings["batch_size"],
            lr=plain.lr,
            seed=context.seed,
        )
        return plain

    def _row(self, model: Any, context: Context) -> dict[str, float]:
        x = torch.cat(list(context.evaluator.test.first(self.num_images).batches()))
        ratios, pairs = contraction_ratios(model.encode, x, seed=context.seed)
        smallest_radius = next(iter(ratios.values()))
        return {
            "contraction_ratio": smallest_radius,
            "relative_contraction": smallest_radius / max(pairs, 1e-12),
            **_mean_errors(model, context.evaluator.test),
            **context.evaluator.score_features(model.features).metrics,
        }


@torch.inference_mode()
def _mean_errors(model: Any, test: Split) -> dict[str, float]:
    """Means over the test images of ‖∂f/∂x‖² and of the squared error summed over pixels."""
    totals = {"jacobian_frobenius_sq": 0.0, "sse": 0.0}
    for x in test.batches():
        jacobian = float(model.loss(x)["jacobian_frobenius_sq"])
        totals["jacobian_frobenius_sq"] += len(x) * jacobian
        totals["sse"] += float(squared_error(model.decode(model.encode(x)), x).sum())
    return {name: total / len(test) for name, total in totals.items()}


def tangent_rows(encoders: Sequence[Callable[[Tensor], Tensor]], x: Tensor) -> Tensor:
    """Rows (B · E, 1 + T, C, H, W) for images x (B, C, H, W) and E encoders.

    For each image, one row for each encoder: the image, then its T tangents; 0.5 is a value of 0.
    """
    by_encoder = []
    for encode in encoders:
        v = tangents(encode, x, NUM_TANGENTS)
        peak = v.flatten(2).amax(2)[:, :, None, None, None]
        by_encoder.append(torch.cat([x[:, None], 0.5 + 0.5 * v / peak], dim=1))
    return torch.stack(by_encoder, dim=1).flatten(0, 1)
