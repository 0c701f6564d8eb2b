"""Unsupervised pretraining: what images without labels are worth when labels are few.

The same network, an encoder f and one linear layer on top, learns from n labels,

    min −Σ log softmax(W f(x) + b)[y]

where f starts at random, at the trained model's weights, or at those of a denoising autoencoder of
the same shape, trained on all images without their labels: min Σ_pixels (x̂(x̃) − x)², x̃ with a
share of its pixels set to 0. "Frozen" trains W and b alone. A linear layer on pixels is the
baseline without any f.

Vincent et al. 2010, "Stacked denoising autoencoders"; Erhan et al. 2010, "Why does unsupervised
pre-training help deep learning?".
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from latentlab.contracts import LatentlabError, Split, Task, to_float
from latentlab.findings import Finding, Picture
from latentlab.losses.likelihoods import squared_error
from latentlab.metrics.probe import probe_accuracy
from latentlab.tasks import Context
from latentlab.tasks.drawing import Curve, save_curves
from latentlab.tasks.fitting import draw_labelled, fit

Errors = dict[str, dict[int, Tensor]]  # method → labels → test error in % of each draw (R,)


class Classifier(nn.Module):
    """logits = W f(x) + b, (B, K), of images x (B, C, H, W); f is the encoder of `model`."""

    def __init__(self, model: Any, classes: int) -> None:
        super().__init__()
        self.model = model
        self.head = nn.Linear(model.latent_dim, classes)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.model.encode(x))

    def loss(self, x: Tensor, y: Tensor) -> Tensor:
        return F.cross_entropy(self(x), y)

    @torch.inference_mode()
    def error_percent(self, test: Split) -> float:
        assert test.labels is not None
        guess = torch.cat([self(x).argmax(1) for x in test.batches()])
        return 100 * float(torch.ne(guess, test.labels).double().mean())


@dataclass(frozen=True)
class Pretraining(Task):
    """`labels` that are fewer than the training images are tried, each with `draws` draws.

    A draw has as equal class counts as its size allows, and is the same for all methods. The
    denoising autoencoder trains `pretrain_steps` batches of 128 with the share `corruption` of its
    pixels set to 0; a classifier `steps` batches of `batch_size` at Adam's rate `lr`, falling to 0.
    """

    labels: tuple[int, ...] = (100, 600, 1000, 3000)
    draws: int = 5
    corruption: float = 0.3
    pretrain_steps: int = 4000
    pretrain_lr: float = 1e-3
    steps: int = 400
    batch_size: int = 100
    lr: float = 1e-3

    def __post_init__(self) -> None:
        if not 0 <= self.corruption < 1 or self.draws < 2 or not self.labels:
            raise LatentlabError(
                f"corruption {self.corruption} must lie in [0, 1), draws {self.draws} be 2 or more"
                f" (their spread is the yardstick), and labels {self.labels} name a number"
            )

    def run(self, context: Context) -> Finding:
        train, classes = context.yard.train, context.meta.num_classes
        if classes < 2 or not context.trained.has_encoder:
            raise LatentlabError(
                f"{context.trained.name} on these data cannot be fine-tuned: the task needs classes"
                " and a model with an encoder; leave it out of params.yaml, or name another model"
            )
        counts = [n for n in self.labels if classes <= n <= len(train)]
        errors = self.errors(context, counts)
        return finding(errors, context.trained.name, sorted(set(self.labels) - set(counts)))

    def errors(self, context: Context, counts: Sequence[int]) -> Errors:
        starts = {
            "from scratch": context.fresh(),
            context.trained.name: context.trained.module,
            "denoising": self.pretrained(context),
        }
        found: Errors = {"pixels, linear probe": {}}
        found |= {f"{name}{how}": {} for name in starts for how in ("", ", frozen")}
        del found["from scratch, frozen"]  # random features are no question here
        train = context.yard.train
        for n in counts:
            each: dict[str, list[float]] = {method: [] for method in found}
            for draw in range(self.draws):
                few = draw_labelled(train, n, seed=context.seed + draw)
                each["pixels, linear probe"].append(probed(few, context.yard.test))
                for method in list(found)[1:]:
                    model = starts[method.removesuffix(", frozen")]
                    net = self.tuned(model, few, context, frozen=method.endswith("frozen"))
                    each[method].append(net.error_percent(context.yard.test))
            for method, values in each.items():
                found[method][n] = torch.tensor(values)
        return found

    def pretrained(self, context: Context) -> Any:
        """A fresh model of the trained one's shape, as a denoising autoencoder of all images."""
        model, x = context.fresh(), to_float(context.yard.train.images)

        def loss(batch: Tensor) -> Tensor:
            x_tilde = batch * (torch.rand_like(batch) >= self.corruption)
            return squared_error(model.decode(model.encode(x_tilde)), batch).mean()

        fit(model, loss, (x,), steps=self.pretrain_steps, lr=self.pretrain_lr, seed=context.seed)
        return model

    def tuned(self, start: Any, few: Split, context: Context, *, frozen: bool) -> Classifier:
        """A classifier that begins at `start`, a copy of it, and has learned from `few`."""
        torch.manual_seed(context.seed)
        net = Classifier(copy.deepcopy(start), context.meta.num_classes)
        net.model.requires_grad_(not frozen)
        data = (to_float(few.images), few.labels)
        lr = 10 * self.lr if frozen else self.lr  # a single layer takes larger steps
        fit(net, net.loss, data, steps=self.steps, batch_size=self.batch_size, lr=lr)  # type: ignore[arg-type]
        return net


def probed(few: Split, test: Split) -> float:
    """Test error in % of a linear classifier on pixels."""
    assert few.labels is not None
    assert test.labels is not None
    x, x_test = to_float(few.images).flatten(1), to_float(test.images).flatten(1)
    scores = probe_accuracy(x, few.labels, x_test, test.labels, l2=1e-2)
    return 100 * (1 - scores["probe_accuracy"])


def finding(errors: Errors, trained: str, skipped: Sequence[int]) -> Finding:
    """The table of mean errors with their spread, the gain over scratch, the chart."""
    counts = list(errors["from scratch"])
    table = {
        method: {
            f"{n:,} labels{unit}": float(value)
            for n, e in row.items()
            for unit, value in ((" %", e.mean()), (" ±", e.std()))
        }
        for method, row in errors.items()
    }
    best = {n: min(errors[m][n].mean() for m in (trained, "denoising")) for n in counts}
    numbers = {
        f"scratch_error_{n}_percent": float(errors["from scratch"][n].mean()) for n in counts
    }
    numbers |= {f"pretrained_error_{n}_percent": float(best[n]) for n in counts}
    left_out = f" {', '.join(map(str, skipped))} labels are more than there are." if skipped else ""
    return Finding(
        title="Unsupervised pretraining",
        text="Test error in % of one network, fine-tuned with few labels from different starts; "
        "mean and standard deviation over draws of the labelled images. Frozen starts keep their "
        f"encoder as it is.{left_out}",
        numbers=numbers,
        table=table,
        pictures=[Picture("labels", "Test error by labels", partial(draw, errors))],
    )


def draw(errors: Errors, path: Path) -> None:
    curves = [
        Curve(
            method,
            list(row),
            [float(e.mean()) for e in row.values()],
            [float(e.std()) for e in row.values()],
            "o",
        )
        for method, row in errors.items()
    ]
    save_curves(curves, path, x="labels", y="test error, %", log_x=True)
