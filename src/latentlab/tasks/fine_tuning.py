"""Fine-tuning: the value of pretraining without labels if there are few labels.

The network of a trained model gets a linear layer on its features, and all weights are trained on a
few labelled images. The same network is also trained from scratch. Baselines: a linear probe on the
frozen features of the trained model, and on raw pixels.

Erhan et al. 2010, "Why does unsupervised pre-training help deep learning?"; for masked autoencoders
He et al. 2022, section 4.
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

from latentlab.contracts import Task, to_float
from latentlab.evaluation.results import Figure, Result
from latentlab.metrics.fid.features import extract
from latentlab.metrics.probe import probe_accuracy
from latentlab.tasks.common.context import Context
from latentlab.tasks.common.fitting import fit, seeded
from latentlab.tasks.common.requirements import (
    labels_of,
    require_at_least,
    require_classes,
    require_differentiable_features,
    require_learned_without_labels,
)
from latentlab.visualization.grids import save_grid

NUM_SHOWN = 32


@dataclass(frozen=True)
class FineTuning(Task):
    """The labels of `num_labels` training images are used; `num_repeats` random selections.

    Both networks train on batches of `batch_size` by Adam; the learning rate falls from `lr` to 0.
    The pretrained network trains for `steps` batches, the network from scratch for
    `steps_from_scratch` batches, because it needs more.
    """

    needs_labels = True

    num_labels: int = 1000
    num_repeats: int = 2
    steps: int = 300
    steps_from_scratch: int = 900
    batch_size: int = 64
    lr: float = 1e-3

    def __post_init__(self) -> None:
        require_at_least(
            1, self, "num_labels", "num_repeats", "steps", "steps_from_scratch", "batch_size"
        )

    def run(self, context: Context) -> Result:
        require_classes(context)
        require_learned_without_labels(context)
        require_differentiable_features(context)
        train, test = context.evaluator.train, context.evaluator.test
        accuracies: dict[str, list[float]] = {}
        for repeat in range(self.num_repeats):
            seed = context.seed + repeat
            generator = torch.Generator().manual_seed(seed)
            rows = torch.randperm(len(train), generator=generator)[: self.num_labels]
            x, y = to_float(train.images[rows]), labels_of(train)[rows]
            correct = self._train_networks(context, x, y, seed)
            for name, right in correct.items():
                accuracies.setdefault(name, []).append(float(right.double().mean()))
            for name, accuracy in self._probe(context, x, y).items():
                accuracies.setdefault(name, []).append(accuracy)
        gained = ~correct["from scratch"] & correct["fine-tuned"]  # in the last repeat
        return self._result(context, accuracies, to_float(test.images[gained][:NUM_SHOWN]))

    def _train_networks(
        self, context: Context, x: Tensor, y: Tensor, seed: int
    ) -> dict[str, Tensor]:
        """Train on images x and labels y. For each network: is a test image correct, bool (N,)."""
        bodies = {
            "fine-tuned": (copy.deepcopy(context.trained.module), self.steps),
            "from scratch": (context.untrained_model(), self.steps_from_scratch),
        }
        test, num_classes = context.evaluator.test, context.dataset.num_classes
        correct = {}
        for name, (body, steps) in bodies.items():
            network = FineTunedClassifier(body, body.features(x[:1]).shape[1], num_classes)
            self._train(network, x, y, steps, seed)
            correct[name] = torch.eq(extract(network, test).argmax(1), labels_of(test))
        return correct

    def _train(self, network: nn.Module, x: Tensor, y: Tensor, steps: int, seed: int) -> None:
        def loss(images: Tensor, labels: Tensor) -> Tensor:
            return F.cross_entropy(network(images), labels)

        settings = {"steps": steps, "batch_size": self.batch_size, "seed": seed}
        with seeded(seed):
            fit(network, loss, (x, y), lr=self.lr, **settings)

    def _probe(self, context: Context, x: Tensor, y: Tensor) -> dict[str, float]:
        """Accuracy of linear probes that are fitted to images x and labels y."""
        test = context.evaluator.test
        functions = {
            "probe on features": context.trained.module.features,
            "probe on pixels": partial(torch.flatten, start_dim=1),
        }
        l2 = context.evaluator.settings.probe_l2
        accuracies = {}
        for name, function in functions.items():
            data = extract(function, x), y, extract(function, test), labels_of(test)
            accuracies[name] = probe_accuracy(*data, l2=l2)
        return accuracies

    def _result(
        self, context: Context, accuracies: dict[str, list[float]], gained: Tensor
    ) -> Result:
        table = {
            name: {
                "accuracy": statistics.mean(values),
                "std": statistics.stdev(values) if len(values) > 1 else 0.0,
            }
            for name, values in accuracies.items()
        }
        gain = table["fine-tuned"]["accuracy"] - table["from scratch"]["accuracy"]
        caption = "Test images that only the fine-tuned network classifies correctly"
        figure = Figure("gained", caption, partial(save_grid, gained, columns=8))
        num_labels = min(self.num_labels, len(context.evaluator.train))
        return Result(
            title="Fine-tuning",
            summary=f"Test accuracy with {num_labels:,} labelled images: mean and standard"
            f" deviation of {self.num_repeats} random selections. The network of"
            f" {context.trained.name} trains for {self.steps} steps from its pretrained weights,"
            f" and for {self.steps_from_scratch} steps from scratch.",
            metrics={f"{_key(name)}_accuracy": row["accuracy"] for name, row in table.items()}
            | {"gain": gain},
            table=table,
            figures=[figure] if len(gained) else [],
            warnings=[] if gain > 0 else ["pretraining did not help"],
        )


def _key(name: str) -> str:
    return name.replace(" ", "_").replace("-", "_")


class FineTunedClassifier(nn.Module):
    """Images (B, C, H, W) → logits (B, K): a linear layer, initially 0, on a model's features."""

    def __init__(self, body: Any, num_features: int, num_classes: int) -> None:
        super().__init__()
        self.body, self.head = body, nn.Linear(num_features, num_classes)
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.body.features(x))
