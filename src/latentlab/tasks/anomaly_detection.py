"""Anomaly detection: images of unknown classes have a large reconstruction error.

One autoencoder is trained on the images of one class, the normal class. The anomaly score of an
image is its reconstruction error:

    s(x) = Σ_pixels (x̂ − x)²

The metric is the area under the ROC curve (AUROC) on all test images, normal class against all
other classes. Each class is the normal class once. Baseline: the same score from the PCA of the
normal class.

Sakurada & Yairi 2014, "Anomaly detection using autoencoders with nonlinear dimensionality
reduction".
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from latentlab.contracts import Split, Task, to_float
from latentlab.evaluation.results import Figure, Result
from latentlab.tasks.common.autoencoder import SmallAutoencoder
from latentlab.tasks.common.class_models import fit_class_autoencoder, of_class, pca_sse
from latentlab.tasks.common.context import Context
from latentlab.tasks.common.ranking import auroc, roc_curve
from latentlab.tasks.common.requirements import labels_of, require_at_least, require_classes
from latentlab.utils.errors import LatentlabError
from latentlab.utils.names import some
from latentlab.visualization.charts import Curve, save_curves
from latentlab.visualization.grids import save_rows

NUM_SHOWN = 10  # images in a row of a figure
CURVE_POINTS = 200
SUMMARY = (
    "Each of {} classes is the normal class once. The test images of all other classes are the"
    " anomalies ({:,} test images in total). AUROC is the probability that an anomaly has a larger"
    " reconstruction error than a normal image: 1 is perfect, 0.5 is chance. PCA has {} components."
)


@dataclass(frozen=True)
class AnomalyDetection(Task):
    """At most `num_classes` classes are the normal class.

    The autoencoder is P-`hidden`-D-`hidden`-P for images of P pixels, D = `latent_dim` (None: 16,
    or P / 8 if P / 8 is smaller). It trains for `steps` batches of `batch_size` images by Adam; the
    learning rate falls from `lr` to 0. PCA has `pca_components` components, or P / 4 if P / 4 is
    smaller.
    """

    needs_labels = True

    hidden: int = 256
    latent_dim: int | None = None
    steps: int = 400
    batch_size: int = 64
    lr: float = 4e-3
    pca_components: int = 25
    num_classes: int = 10

    def __post_init__(self) -> None:
        require_at_least(1, self, "hidden", "steps", "batch_size", "pca_components", "num_classes")

    def run(self, context: Context) -> Result:
        require_classes(context)
        test, order, measurable = common_classes_first(
            context.evaluator.train, context.evaluator.test, context.dataset.num_classes
        )
        names = [(context.dataset.classes or ())[label] for label in order]
        labels = labels_of(test)
        count = min(measurable, self.num_classes)
        train = [of_class(context.evaluator.train, label) for label in order[:count]]
        x = to_float(test.images).flatten(1)
        nets = [self.fit_autoencoder(split, context.seed) for split in train]
        num_components = min(self.pca_components, x.shape[1] // 4)
        scores = {  # (N, K) each
            "PCA": torch.stack([pca_sse(split, num_components, x) for split in train], 1),
            "autoencoder": torch.stack([net.reconstruction_sse(x) for net in nets], 1),
        }
        table = {method: auroc_by_class(s, labels, names) for method, s in scores.items()}
        return Result(
            title="Anomaly detection",
            summary=SUMMARY.format(count, len(x), num_components) + left_out(names[measurable:]),
            metrics={
                f"{method.lower()}_auroc_{key}": value
                for method, row in table.items()
                for key, value in (("mean", row["mean"]), ("worst", min(row.values())))
            },
            table=table,
            figures=make_figures(scores["autoencoder"], test, nets, names),
        )

    def fit_autoencoder(self, train: Split, seed: int) -> SmallAutoencoder:
        return fit_class_autoencoder(
            train,
            hidden=self.hidden,
            latent_dim=self.latent_dim,
            steps=self.steps,
            batch_size=self.batch_size,
            lr=self.lr,
            seed=seed,
        )


def common_classes_first(
    train: Split, test: Split, num_classes: int
) -> tuple[Split, list[int], int]:
    """Renumber the classes of `test`: first those that can be the normal class.

    A normal class needs a training image, a test image, and a test image of another class. Return
    the test images with new labels, the old label of each new one, and the number of such classes.

    Raises:
        LatentlabError: no class can be the normal class.
    """
    seen, tested = (labels_of(s).bincount(minlength=num_classes) for s in (train, test))
    usable = (seen > 0) & (tested > 0) & (tested < len(test))
    if not usable.any():
        raise LatentlabError(
            f"none of {num_classes} classes has training images, test images and test images of"
            " other classes. Add images, or remove the task from params.yaml"
        )
    order = usable.int().argsort(descending=True, stable=True)
    labels = order.argsort()[labels_of(test)]
    return Split(test.images, labels), order.tolist(), int(usable.sum())


def left_out(names: Sequence[str]) -> str:
    """A sentence for the summary on the classes without training or test images."""
    if not names:
        return ""
    return f" Left out, without training or test images: {some(names)}."


def auroc_by_class(scores: Tensor, labels: Tensor, names: Sequence[str]) -> dict[str, float]:
    """AUROC of each column of `scores` (N, K), where class k is normal, and their mean."""
    by_class = {names[k]: auroc(s, labels != k) for k, s in enumerate(scores.unbind(1))}
    return {"mean": sum(by_class.values()) / len(by_class), **by_class}


def make_figures(
    scores: Tensor, test: Split, nets: Sequence[SmallAutoencoder], names: Sequence[str]
) -> list[Figure]:
    """ROC curves, the images with the most surprising scores (N, K), and reconstructions."""
    labels = labels_of(test)
    curves = [roc_chart(scores[:, k], labels != k, names[k]) for k in range(len(nets))]
    save_roc = partial(save_curves, x="false positive rate", y="true positive rate")
    return [
        Figure("roc", "ROC curve for each normal class", partial(save_roc, curves)),
        Figure(
            "highest_normal",
            "Images of the normal class with the highest scores, one normal class per row (black:"
            f" fewer than {NUM_SHOWN} images)",
            partial(save_rows, extreme_images(scores, test, normal=True)),
        ),
        Figure(
            "lowest_anomalies",
            "Anomalies with the lowest scores, one normal class per row",
            partial(save_rows, extreme_images(scores, test, normal=False)),
        ),
        Figure(
            "reconstructions",
            "First row: a test image of each class. Rows below: its reconstructions by the"
            " autoencoder of each normal class",
            partial(save_rows, reconstruct_by_each(test, nets)),
        ),
    ]


def roc_chart(scores: Tensor, positive: Tensor, name: str) -> Curve:
    """The ROC curve at `CURVE_POINTS` false positive rates; they are dense near 0."""
    false, true = roc_curve(scores, positive)
    grid = torch.linspace(0, 1, CURVE_POINTS, dtype=torch.float64) ** 2
    at = torch.searchsorted(false, grid, right=True) - 1
    return Curve(name, grid.tolist(), true[at].tolist())


def extreme_images(scores: Tensor, test: Split, *, normal: bool) -> Tensor:
    """Images (K, NUM_SHOWN, C, H, W): one row for each normal class k, column k of `scores` (N, K).

    `normal`: the images of class k with the highest scores; else the images of other classes with
    the lowest scores. Rows with too few images are filled with black. With fewer than NUM_SHOWN
    test images, all rows are shorter.
    """
    labels = labels_of(test)
    rows = []
    for k, s in enumerate(scores.unbind(1)):
        candidates = (labels == k) == normal
        s = torch.where(candidates, s if normal else -s, -torch.inf)
        values, found = s.topk(min(NUM_SHOWN, len(s)))
        exists = (values > -torch.inf)[:, None, None, None]
        rows.append(torch.where(exists, to_float(test.images[found]), 0.0))
    return torch.stack(rows)


@torch.inference_mode()
def reconstruct_by_each(test: Split, nets: Sequence[SmallAutoencoder]) -> Tensor:
    """Images (1 + K, K, C, H, W): the first test image of each class, then x̂ by each network."""
    labels = labels_of(test)
    first = [int((labels == k).nonzero()[0]) for k in range(len(nets))]
    x = to_float(test.images[first])
    return torch.stack([x, *(net(x.flatten(1)).view_as(x) for net in nets)])
