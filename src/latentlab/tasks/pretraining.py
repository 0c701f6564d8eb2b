"""Unsupervised pretraining: what images without labels are worth when labels are few.

The same network, an encoder f and one linear layer on top, learns from n labels,

    min −1/n Σ log softmax(W f(x) + b)[y]

where f starts at random, or at the encoder of a denoising autoencoder that saw all training images
without their labels: min Σ_pixels (x̂(x̃) − x)², x̃ with a share of its pixels set to 0. "Frozen"
trains W and b alone. A linear layer on pixels is the baseline without any f.

Vincent et al. 2010, "Stacked denoising autoencoders"; Erhan et al. 2010, "Why does unsupervised
pre-training help deep learning?".
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from latentlab.charts import Curve, save_curves
from latentlab.contracts import LatentlabError, Split, Task, to_float
from latentlab.findings import Finding, Picture
from latentlab.metrics.probe import probe_accuracy
from latentlab.tasks import Context
from latentlab.tasks.fitting import Bottleneck, fit, fit_bottleneck

Errors = dict[str, dict[int, Tensor]]  # method → labels → test error in % of each draw (R,)
PIXELS, SCRATCH = "pixels, linear probe", "from scratch"
PRETRAINED, FROZEN = "pretrained", "pretrained, frozen"


@dataclass(frozen=True)
class Pretraining(Task):
    """`labels` that are at most the training images are tried, each with `draws` draws.

    A draw has as equal class counts as its size allows, and is the same for all methods. f is
    P-`hidden`-`hidden` for P pixels (4 P if that is less). Its autoencoder trains `pretrain_steps`
    batches of 128 with the share `corruption` of their pixels set to 0; a classifier trains
    `steps` batches of `batch_size`; both by Adam at rate 1e-3, falling to 0, a frozen one at 5e-3.
    """

    labels: tuple[int, ...] = (100, 600, 1000, 3000)
    draws: int = 5
    hidden: int = 500
    corruption: float = 0.5
    pretrain_steps: int = 1500
    steps: int = 200
    batch_size: int = 100

    def __post_init__(self) -> None:
        if not 0 <= self.corruption < 1 or self.draws < 2 or not self.labels:
            raise LatentlabError(
                f"corruption {self.corruption} must lie in [0, 1), draws {self.draws} be 2 or more"
                f" (their spread is the yardstick), and labels {list(self.labels)} name a number"
            )

    def run(self, context: Context) -> Finding:
        train, test, classes = context.yard.train, context.yard.test, context.meta.num_classes
        if classes < 2:
            raise LatentlabError(
                "the data have no classes, so there is nothing to fine-tune for: leave this task"
                " out of params.yaml"
            )
        counts = [n for n in self.labels if classes <= n <= len(train)]
        if not counts:
            raise LatentlabError(
                f"labels {list(self.labels)}: none lies between the {classes} classes and the"
                f" {len(train)} training images; choose one that does"
            )
        x = to_float(train.images).flatten(1)
        starts = {
            SCRATCH: self.encoder(x, 0, context.seed),
            PRETRAINED: self.encoder(x, self.pretrain_steps, context.seed),
        }
        errors: Errors = {method: {} for method in (PIXELS, SCRATCH, PRETRAINED, FROZEN)}
        for n in counts:
            drawn = [train.balanced(n, seed=context.seed + i) for i in range(self.draws)]
            scores = [self.scores(starts, few, test, classes) for few in drawn]
            for method, row in errors.items():
                row[n] = torch.tensor([each[method] for each in scores])
        return finding(errors, [n for n in self.labels if n not in counts])

    def encoder(self, x: Tensor, steps: int, seed: int) -> nn.Module:
        """f after `steps` batches of denoising; 0: as it was drawn."""
        hidden = min(self.hidden, 4 * x.shape[1])
        net: Bottleneck = fit_bottleneck(
            x, [hidden, hidden], steps=steps, lr=1e-3, seed=seed, corruption=self.corruption
        )
        return net.encoder

    def scores(
        self, starts: dict[str, nn.Module], few: Split, test: Split, classes: int
    ) -> dict[str, float]:
        """Test error in % of each method after learning from `few`."""
        assert few.labels is not None
        assert test.labels is not None
        x, y = to_float(few.images).flatten(1), few.labels
        x_test, y_test = to_float(test.images).flatten(1), test.labels
        probe = probe_accuracy(x, y, x_test, y_test, l2=1e-2)["probe_accuracy"]
        found = {PIXELS: 100 * (1 - probe)}
        for method in (SCRATCH, PRETRAINED):
            net = self.tuned(copy.deepcopy(starts[method]), x, y, classes, 1e-3)
            found[method] = error_percent(net, x_test, y_test)
        with torch.no_grad():
            z, z_test = starts[PRETRAINED](x), starts[PRETRAINED](x_test)
        top = self.tuned(nn.Sequential(), z, y, classes, 5e-3)
        return found | {FROZEN: error_percent(top, z_test, y_test)}

    def tuned(self, f: nn.Module, x: Tensor, y: Tensor, classes: int, lr: float) -> nn.Module:
        """f and a linear layer on top, fitted to inputs x (n, P) of classes y (n,)."""
        torch.manual_seed(0)
        with torch.no_grad():
            width = f(x[:1]).shape[1]
        net = nn.Sequential(f, nn.Linear(width, classes))
        loss = lambda a, b: F.cross_entropy(net(a), b)  # noqa: E731
        fit(net, loss, (x, y), steps=self.steps, batch_size=self.batch_size, lr=lr)
        return net


@torch.inference_mode()
def error_percent(net: nn.Module, x: Tensor, y: Tensor) -> float:
    guess = torch.cat([net(part).argmax(1) for part in x.split(2000)])
    return 100 * float(torch.ne(guess, y).double().mean())


def finding(errors: Errors, skipped: Sequence[int]) -> Finding:
    """The table of mean errors with their spread over the draws, and the chart."""
    left_out = f" Not tried with {', '.join(map(str, skipped))} labels." if skipped else ""
    return Finding(
        title="Unsupervised pretraining",
        text="Test error in % of one network that learned from few labels, from a random start or "
        "from the encoder of a denoising autoencoder of all training images; mean and standard "
        f"deviation over draws of the labelled images.{left_out}",
        numbers={
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
        pictures=[Picture("labels", "Test error by the number of labels", partial(draw, errors))],
    )


def draw(errors: Errors, path: Path) -> None:
    curves = []
    for method, row in errors.items():
        mean, std = ([float(f(e)) for e in row.values()] for f in (torch.mean, torch.std))
        curves.append(Curve(method, list(row), mean, std, "o"))
    save_curves(curves, path, x="labels", y="test error, %", logarithmic="x")
