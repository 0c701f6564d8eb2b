"""Fine-tuning: what pretraining without labels is worth when labels are few.

The same network learns the same few labelled images twice: once from the weights that a model
learned without labels, once from scratch, under a linear layer on its features, all weights free.
Beside them a linear classifier on the frozen features and one on raw pixels.

Erhan et al. 2010, "Why does unsupervised pre-training help deep learning?"; for masked
autoencoders He et al. 2022, section 4.
"""

from __future__ import annotations

import copy
import statistics
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from latentlab.contracts import LatentlabError, Split, Task, to_float
from latentlab.findings import Finding, Picture
from latentlab.metrics.features import extract
from latentlab.metrics.probe import probe_accuracy
from latentlab.plots import save_grid
from latentlab.tasks import Context
from latentlab.tasks.fitting import fit

SHOWN = 32


@dataclass(frozen=True)
class FineTuning(Task):
    """`labels` training images keep theirs, drawn anew for each of `draws`.

    Each network trains by Adam from `lr` on batches of `batch_size`: `steps` of them from the
    pretrained weights, `scratch_steps`, more since it starts further away, from scratch.
    """

    labels: int = 1000
    draws: int = 2
    steps: int = 300
    scratch_steps: int = 900
    batch_size: int = 64
    lr: float = 1e-3

    def __post_init__(self) -> None:
        for name in ("labels", "draws", "steps", "scratch_steps"):
            if getattr(self, name) < 1:
                raise LatentlabError(f"{name} is {getattr(self, name)}: it must be ≥ 1")

    def run(self, context: Context) -> Finding:
        train, test = context.yard.train, context.yard.test
        labels = _labels(train)
        shares: dict[str, list[float]] = {}
        for draw in range(self.draws):
            generator = torch.Generator().manual_seed(context.seed + draw)
            rows = torch.randperm(len(train), generator=generator)[: self.labels]
            x, y = to_float(train.images[rows]), labels[rows]
            right = self._networks(context, x, y, context.seed + draw)
            for name, correct in right.items():
                shares.setdefault(name, []).append(float(correct.double().mean()))
            for name, accuracy in self._probes(context, x, y).items():
                shares.setdefault(name, []).append(accuracy)
        gained = ~right["from scratch"] & right["fine-tuned"]  # of the last draw
        return self._finding(context, shares, to_float(test.images[gained][:SHOWN]))

    def _networks(self, context: Context, x: Tensor, y: Tensor, seed: int) -> dict[str, Tensor]:
        """Which test images each network classifies rightly after training, bool (N,)."""
        bodies = {
            "fine-tuned": (copy.deepcopy(context.trained.module), self.steps),
            "from scratch": (context.fresh(), self.scratch_steps),
        }
        test = context.yard.test
        right: dict[str, Tensor] = {}
        for name, (body, steps) in bodies.items():
            network = Classifier(body, body.features(x[:1]).shape[1], context.meta.num_classes)
            self._train(network, x, y, steps, seed)
            right[name] = torch.eq(extract(network, test).argmax(1), _labels(test))
        return right

    def _train(self, network: nn.Module, x: Tensor, y: Tensor, steps: int, seed: int) -> None:
        def loss(images: Tensor, labels: Tensor) -> Tensor:
            return F.cross_entropy(network(images), labels)

        with torch.random.fork_rng(devices=[]):
            fit(
                network,
                loss,
                (x, y),
                steps=steps,
                batch_size=self.batch_size,
                lr=self.lr,
                seed=seed,
            )

    def _probes(self, context: Context, x: Tensor, y: Tensor) -> dict[str, float]:
        test = context.yard.test
        eyes = {
            "probe on its features": context.trained.module.features,
            "probe on pixels": partial(torch.flatten, start_dim=1),
        }
        l2 = context.yard.settings.probe_l2
        scored = {}
        for name, see in eyes.items():
            features = extract(see, x), y, extract(see, test), _labels(test)
            scored[name] = probe_accuracy(*features, l2=l2)["probe_accuracy"]
        return scored

    def _finding(self, context: Context, shares: dict[str, list[float]], gained: Tensor) -> Finding:
        table = {
            name: {
                "accuracy": statistics.mean(values),
                "spread": statistics.stdev(values) if len(values) > 1 else 0.0,
            }
            for name, values in shares.items()
        }
        tuned, scratch = table["fine-tuned"]["accuracy"], table["from scratch"]["accuracy"]
        count = min(self.labels, len(context.yard.train))
        caption = "Test images that only the fine-tuned network classifies rightly"
        return Finding(
            title="Fine-tuning",
            text=f"{count:,} labelled images, drawn {self.draws}×: the network of "
            f"{context.trained.name} reaches {tuned:.2%} of the test split from its pretrained "
            f"weights in {self.steps} steps, and {scratch:.2%} from scratch in "
            f"{self.scratch_steps}.",
            numbers={
                f"{name.replace(' ', '_').replace('-', '_')}_accuracy": row["accuracy"]
                for name, row in table.items()
            }
            | {"gain": tuned - scratch},
            table=table,
            pictures=[Picture("gained", caption, partial(save_grid, gained, columns=8))]
            if len(gained)
            else [],
            flags=[] if tuned > scratch else ["pretraining did not help"],
        )


def _labels(split: Split) -> Tensor:
    if split.labels is None or int(split.labels.max()) < 1:
        raise LatentlabError(
            "fine-tuning needs images with labels of two classes or more, and these have none:"
            " choose other data, or take the task off the list in params.yaml"
        )
    return split.labels


class Classifier(nn.Module):
    """A linear layer, at first zero, on the features of a model: images → logits (B, K)."""

    def __init__(self, body: Any, features: int, num_classes: int) -> None:
        super().__init__()
        self.body, self.head = body, nn.Linear(features, num_classes)
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.body.features(x))
