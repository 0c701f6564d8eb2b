"""What the contractive penalty buys: the model against its twin, trained alike with λ = 0.

    ‖f(x + d) − f(x)‖ / ‖d‖        for small random d, and for d that lead to another image

Rifai et al. 2011, "Contractive auto-encoders: explicit invariance during feature extraction".
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor

from latentlab.contracts import LatentlabError, Split, Task, to_float
from latentlab.findings import Finding, Picture
from latentlab.losses.contraction import tangents
from latentlab.losses.likelihoods import squared_error
from latentlab.metrics.contraction import contraction_ratios
from latentlab.plots import save_rows
from latentlab.tasks import Context
from latentlab.tasks.fitting import fit

DIRECTIONS = 10


@runtime_checkable
class Penalised(Protocol):
    """An autoencoder whose `loss` has a term `jacobian_sq`, ‖∂f/∂x‖², times `weight`."""

    weight: float
    lr: float
    smooth_encoder: bool

    def encode(self, x: Tensor) -> Tensor: ...

    def loss(self, x: Tensor) -> dict[str, Tensor]: ...


@dataclass(frozen=True)
class Contraction(Task):
    """`images` test images measure the ratios, `shown` are drawn with their tangents."""

    images: int = 1000
    shown: int = 3

    def __post_init__(self) -> None:
        if not 1 <= self.shown <= self.images or self.images < 2:
            raise LatentlabError(
                f"images is {self.images} and shown {self.shown}: pairs need images ≥ 2, and"
                " shown must lie between 1 and images"
            )

    def run(self, context: Context) -> Finding:
        model = context.trained.module
        if not isinstance(model, Penalised):
            raise LatentlabError(f"{context.trained.name} is not contractive: name one that is")
        models = {"contractive": model, "plain": self._twin(context)}
        table = {name: self._row(each, context) for name, each in models.items()}
        x = next(context.yard.test.first(self.shown).batches())
        ratio = table["plain"]["contraction_ratio"] / table["contractive"]["contraction_ratio"]
        return Finding(
            title="Contraction against the plain autoencoder",
            text=f"The same network, trained on the same images with and without the penalty "
            f"(λ = {model.weight}). A small random change moves the contractive code {ratio:.1f} "
            "times less. The relative ratio divides by what the way from one test image to another "
            "does, so the scale of the code drops out. Rows: an image, and the changes its code "
            "answers to most, with the penalty and, below, without.",
            numbers={f"{name}_{key}": v for name, row in table.items() for key, v in row.items()},
            table=table,
            pictures=[
                Picture(
                    "tangents",
                    "Images and their tangents: contractive above, plain below",
                    partial(save_rows, rows([each.encode for each in models.values()], x)),
                )
            ],
        )

    def _twin(self, context: Context) -> Any:
        """The trained model's class and settings, but λ = 0, trained alike."""
        settings = context.trained.card["resolved"]["trainer"]
        twin = context.fresh()
        twin.weight = 0.0
        fit(
            twin,
            lambda x: twin.loss(x)["loss"],
            (to_float(context.yard.train.images),),
            steps=settings["images"] // settings["batch_size"],
            batch_size=settings["batch_size"],
            lr=twin.lr,
            seed=context.seed,
        )
        return twin

    def _row(self, model: Any, context: Context) -> dict[str, float]:
        x = torch.cat(list(context.yard.test.first(self.images).batches()))
        ratios, pairs = contraction_ratios(model.encode, x, seed=context.seed)
        small = next(iter(ratios.values()))
        return {
            "contraction_ratio": small,
            "relative_contraction": small / max(pairs, 1e-12),
            **_errors(model, context.yard.test),
            **context.yard.score_features(model.features),
        }


@torch.inference_mode()
def _errors(model: Any, test: Split) -> dict[str, float]:
    """Means over the test images of ‖∂f/∂x‖² and of the squared error."""
    totals = {"jacobian_sq": 0.0, "sse": 0.0}
    for x in test.batches():
        totals["jacobian_sq"] += len(x) * float(model.loss(x)["jacobian_sq"])
        totals["sse"] += float(squared_error(model.decode(model.encode(x)), x).sum())
    return {name: total / len(test) for name, total in totals.items()}


def rows(encoders: list[Any], x: Tensor) -> Tensor:
    """For each image one row an encoder: the image, then its tangents around grey 0.5."""
    made = []
    for encode in encoders:
        v = tangents(encode, x, DIRECTIONS)
        peak = v.flatten(2).amax(2)[:, :, None, None, None]
        made.append(torch.cat([x[:, None], 0.5 + 0.5 * v / peak], dim=1))
    return torch.stack(made, dim=1).flatten(0, 1)
