"""Unsupervised pretraining: the value of images without labels if there are few labels.

A network with an encoder f and a linear layer learns from n labelled images:

    min −1/n Σ log softmax(W f(x) + b)[y]

f starts from random weights, or from the encoder of a denoising autoencoder (common/autoencoder.py)
that was trained on all training images without labels. "Frozen": only W and b are trained.
Baseline: a linear probe on pixels.

Vincent et al. 2010, "Stacked denoising autoencoders"; Erhan et al. 2010, "Why does unsupervised
pre-training help deep learning?".
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from latentlab.contracts import Split, Task, to_float
from latentlab.evaluation.results import Figure, Result
from latentlab.metrics.probe import probe_accuracy
from latentlab.tasks.common.autoencoder import fit_autoencoder
from latentlab.tasks.common.context import Context
from latentlab.tasks.common.fitting import fit
from latentlab.tasks.common.requirements import labels_of, require_classes
from latentlab.utils.errors import LatentlabError
from latentlab.visualization.charts import Curve, save_curves

Errors = dict[str, dict[int, Tensor]]  # method → n → test error in % of each repeat (R,)
PIXELS, SCRATCH = "pixels, linear probe", "from scratch"
PRETRAINED, FROZEN = "pretrained", "pretrained, frozen"


@dataclass(frozen=True)
class Pretraining(Task):
    """`num_labels`: the values of n; values above the number of training images are left out.

    Each n is repeated `num_repeats` times with other labelled images. The classes are as balanced
    as possible, and all methods get the same images. f is P-`hidden`-`hidden` for P pixels, or 4 P
    units if 4 P is smaller. Its autoencoder trains for `pretrain_steps` batches of 128; a fraction
    `corruption_level` of the pixels is set to 0. A classifier trains for `steps` batches of
    `batch_size`. Adam's learning rate falls to 0 from 1e-3, and from 5e-3 if f is frozen.
    """

    needs_labels = True

    num_labels: tuple[int, ...] = (100, 600, 1000, 3000)
    num_repeats: int = 5
    hidden: int = 500
    corruption_level: float = 0.5
    pretrain_steps: int = 1500
    steps: int = 200
    batch_size: int = 100

    def __post_init__(self) -> None:
        if not 0 <= self.corruption_level < 1:
            raise LatentlabError(
                f"corruption_level is {self.corruption_level}: it must be in [0, 1)"
            )
        if self.num_repeats < 2:
            raise LatentlabError(
                f"num_repeats is {self.num_repeats}: a standard deviation needs 2 or more"
            )
        if not self.num_labels:
            raise LatentlabError("num_labels is empty: give at least one number")

    def run(self, context: Context) -> Result:
        require_classes(context)
        train, test = context.evaluator.train, context.evaluator.test
        num_classes = context.dataset.num_classes
        counts = self._usable_counts(num_classes, len(train))
        x = to_float(train.images).flatten(1)
        encoders = {
            SCRATCH: self.encoder(x, 0, context.seed),
            PRETRAINED: self.encoder(x, self.pretrain_steps, context.seed),
        }
        errors: Errors = {method: {} for method in (PIXELS, SCRATCH, PRETRAINED, FROZEN)}
        for n in counts:
            subsets = [train.balanced(n, seed=context.seed + i) for i in range(self.num_repeats)]
            rows = [self.test_errors(encoders, subset, test, num_classes) for subset in subsets]
            for method, by_count in errors.items():
                by_count[n] = torch.tensor([row[method] for row in rows])
        return make_result(errors, [n for n in self.num_labels if n not in counts])

    def _usable_counts(self, num_classes: int, num_images: int) -> list[int]:
        counts = [n for n in self.num_labels if num_classes <= n <= num_images]
        if not counts:
            raise LatentlabError(
                f"num_labels is {list(self.num_labels)}: at least one value must be between the"
                f" {num_classes} classes and the {num_images} training images"
            )
        return counts

    def encoder(self, x: Tensor, steps: int, seed: int) -> nn.Module:
        """f after `steps` batches of denoising images x (N, P); 0: the initial weights."""
        hidden = min(self.hidden, 4 * x.shape[1])
        level = self.corruption_level
        return fit_autoencoder(
            x, [hidden, hidden], steps=steps, lr=1e-3, seed=seed, corruption_level=level
        ).encoder

    def test_errors(
        self, encoders: Mapping[str, nn.Module], labelled: Split, test: Split, num_classes: int
    ) -> dict[str, float]:
        """Test error in % of each method after training on `labelled`."""
        x, y = to_float(labelled.images).flatten(1), labels_of(labelled)
        x_test, y_test = to_float(test.images).flatten(1), labels_of(test)
        probe = probe_accuracy(x, y, x_test, y_test, l2=1e-2)
        errors = {PIXELS: 100 * (1 - probe)}
        for method in (SCRATCH, PRETRAINED):
            net = self.train(copy.deepcopy(encoders[method]), x, y, num_classes, lr=1e-3)
            errors[method] = error_percent(net, x_test, y_test)
        with torch.no_grad():
            z, z_test = encoders[PRETRAINED](x), encoders[PRETRAINED](x_test)
        head = self.train(nn.Sequential(), z, y, num_classes, lr=5e-3)
        return errors | {FROZEN: error_percent(head, z_test, y_test)}

    def train(
        self, f: nn.Module, x: Tensor, y: Tensor, num_classes: int, *, lr: float
    ) -> nn.Module:
        """Train f and a linear layer on inputs x (n, P) with labels y (n,)."""
        torch.manual_seed(0)
        with torch.no_grad():
            num_features = f(x[:1]).shape[1]
        net = nn.Sequential(f, nn.Linear(num_features, num_classes))
        loss = lambda a, b: F.cross_entropy(net(a), b)  # noqa: E731
        fit(net, loss, (x, y), steps=self.steps, batch_size=self.batch_size, lr=lr)
        return net


@torch.inference_mode()
def error_percent(net: nn.Module, x: Tensor, y: Tensor) -> float:
    """Percentage of inputs x (N, …) whose predicted class differs from the label y (N,)."""
    predicted = torch.cat([net(part).argmax(1) for part in x.split(2000)])
    return 100 * float(torch.ne(predicted, y).double().mean())


def make_result(errors: Errors, left_out: Sequence[int]) -> Result:
    """The table of mean and standard deviation over the repeats, and the chart."""
    note = f" Not measured: {', '.join(map(str, left_out))} labels." if left_out else ""
    return Result(
        title="Unsupervised pretraining",
        summary="Test error in % of a classifier that is trained with few labels; lower is"
        " better. Its encoder starts from random weights, or from a denoising autoencoder that"
        " was trained on all training images without labels. Mean and standard deviation (±) over"
        f" several random selections of the labelled images.{note}",
        metrics={
            f"{method.replace(',', '').replace(' ', '_')}_error_{n}_percent": float(e.mean())
            for method, row in errors.items()
            for n, e in row.items()
        },
        table={
            method: {
                f"{n:,} labels{unit}": float(value)
                for n, e in row.items()
                for unit, value in ((" %", e.mean()), (" ±", e.std()))
            }
            for method, row in errors.items()
        },
        figures=[Figure("labels", "Test error against number of labels", partial(save, errors))],
    )


def save(errors: Errors, path: Path) -> None:
    curves = []
    for method, row in errors.items():
        mean, std = ([float(f(e)) for e in row.values()] for f in (torch.mean, torch.std))
        curves.append(Curve(method, list(row), mean, std, "o"))
    save_curves(curves, path, x="number of labels", y="test error, %", logarithmic="x")
