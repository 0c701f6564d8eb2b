"""Anomaly detection: what an autoencoder has never seen, it cannot draw.

One autoencoder is trained on one class, the normal one; the score of an image is its error,

    s(x) = Σ_pixels (x̂ − x)²

high for what is not of that class. Judged by the area under the ROC curve (AUROC) on all test
images, one class against the rest, averaged over the classes. The baseline is PCA of the same
class, whose residual is the same score.

Sakurada & Yairi 2014, "Anomaly detection using autoencoders with nonlinear dimensionality
reduction".
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from latentlab.charts import Curve, save_curves
from latentlab.contracts import LatentlabError, Split, Task, to_float
from latentlab.findings import Finding, Picture
from latentlab.metrics.ranking import auroc, roc_curve
from latentlab.plots import save_rows
from latentlab.tasks import Context
from latentlab.tasks.fitting import Bottleneck, fit_bottleneck, of_class, pca_errors

SHOWN = 10  # images a row of the pictures
POINTS = 200  # of a drawn ROC curve
TEXT = (
    "Each of {} classes is the normal one once; the rest of the {:,} test images are anomalies."
    " AUROC is the chance that an anomaly has a larger reconstruction error than a normal image: 1"
    " is perfect, 0.5 guessing. PCA has {} components."
)


@dataclass(frozen=True)
class Anomalies(Task):
    """Every class plays the normal one once, at most the first `classes`.

    The autoencoder is P-`hidden`-`code`-`hidden`-P for P pixels (code None: 16, or P / 8 if that is
    less) and trains `steps` batches of 128 at Adam's rate `lr`, falling to 0. PCA has `components`,
    or P / 4 if that is less.
    """

    hidden: int = 256
    code: int | None = None
    steps: int = 800
    lr: float = 2e-3
    components: int = 25
    classes: int = 10

    def run(self, context: Context) -> Finding:
        test, names = context.yard.test, context.meta.classes
        if names is None or test.labels is None or len(names) < 2:
            raise LatentlabError(
                "the data have no classes, so none can play the normal one: leave this task out of"
                " params.yaml, and try `latentlab anomalies MODEL FOLDER` on your images"
            )
        kinds = range(min(len(names), self.classes))
        train = [of_class(context.yard.train, kind) for kind in kinds]
        x = to_float(test.images).flatten(1)
        nets = [self.autoencoder(split, context.seed) for split in train]
        components = min(self.components, x.shape[1] // 4)
        scores = {  # (N, K) each
            "PCA": torch.stack([pca_errors(split, components, x) for split in train], 1),
            "autoencoder": torch.stack([net.errors(x) for net in nets], 1),
        }
        table = {method: areas(s, test.labels, names) for method, s in scores.items()}
        return Finding(
            title="Anomaly detection",
            text=TEXT.format(len(kinds), len(x), components),
            numbers={
                f"{method.lower()}_auroc_{key}": value
                for method, row in table.items()
                for key, value in (("mean", row["mean"]), ("worst", min(row.values())))
            },
            table=table,
            pictures=pictures(scores["autoencoder"], test, nets, names),
        )

    def autoencoder(self, train: Split, seed: int) -> Bottleneck:
        x = to_float(train.images).flatten(1)
        widths = [self.hidden, self.code or min(16, x.shape[1] // 8)]
        return fit_bottleneck(x, widths, steps=self.steps, lr=self.lr, seed=seed)


def areas(scores: Tensor, labels: Tensor, names: Sequence[str]) -> dict[str, float]:
    """AUROC of each column of `scores` (N, K), class k being normal; and their mean."""
    each = {names[kind]: auroc(s, labels != kind) for kind, s in enumerate(scores.unbind(1))}
    return {"mean": sum(each.values()) / len(each), **each}


def pictures(
    scores: Tensor, test: Split, nets: Sequence[Bottleneck], names: Sequence[str]
) -> list[Picture]:
    """ROC curves; each class' strangest images; what each autoencoder makes of each class."""
    assert test.labels is not None
    kinds = range(len(nets))
    curves = [roc(scores[:, kind], test.labels != kind, names[kind]) for kind in kinds]
    draw = partial(save_curves, x="normal images flagged", y="anomalies flagged")
    return [
        Picture("roc", "ROC curves, by the normal class", partial(draw, curves)),
        Picture(
            "strangest",
            "The most anomalous images of the normal class itself, one class a row, black where it"
            f" has fewer than {SHOWN}",
            partial(save_rows, extremes(scores, test, normal=True)),
        ),
        Picture(
            "missed",
            "Anomalies that pass most easily for the normal class of their row",
            partial(save_rows, extremes(scores, test, normal=False)),
        ),
        Picture(
            "redrawn",
            "Above: a test image of each class; below, what each class' autoencoder makes of them",
            partial(save_rows, redrawn(test, nets)),
        ),
    ]


def roc(scores: Tensor, positive: Tensor, name: str) -> Curve:
    false, true = roc_curve(scores, positive)
    grid = torch.linspace(0, 1, POINTS, dtype=torch.float64) ** 2  # dense where curves rise
    at = torch.searchsorted(false, grid, right=True) - 1
    return Curve(name, grid.tolist(), true[at].tolist())


def extremes(scores: Tensor, test: Split, *, normal: bool) -> Tensor:
    """Images (K, SHOWN, C, H, W): of class k the worst redrawn, or of the others the best.

    Black where there are fewer; fewer in every row where there are fewer images than SHOWN.
    """
    assert test.labels is not None
    rows = []
    for kind, s in enumerate(scores.unbind(1)):
        own = (test.labels == kind) == normal
        s = torch.where(own, s if normal else -s, -torch.inf)
        values, found = s.topk(min(SHOWN, len(s)))
        there = (values > -torch.inf)[:, None, None, None]
        rows.append(torch.where(there, to_float(test.images[found]), 0.0))
    return torch.stack(rows)


@torch.inference_mode()
def redrawn(test: Split, nets: Sequence[Bottleneck]) -> Tensor:
    """Images (1 + K, K, C, H, W): the first test image of each class, then net k's x̂ of them."""
    assert test.labels is not None
    first = [int((test.labels == kind).nonzero()[0]) for kind in range(len(nets))]
    x = to_float(test.images[first])
    return torch.stack([x, *(net(x.flatten(1)).view_as(x) for net in nets)])
