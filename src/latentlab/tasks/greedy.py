"""Greedy or end to end: one deep network, trained layer by layer or all at once.

Both ways start from the same weights and see the same number of images. Layer by layer, the first
half goes to one pair of layers after another and the second half to all of them.
Bengio et al. 2007, "Greedy layer-wise training of deep networks"; Glorot & Bengio 2010,
"Understanding the difficulty of training deep feedforward neural networks", on why logistic units
need it: from a random start their gradients die away from layer to layer.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor

from latentlab.contracts import LatentlabError, Task, to_float
from latentlab.findings import Finding, Picture
from latentlab.losses.likelihoods import squared_error
from latentlab.plots import save_rows
from latentlab.tasks import Context
from latentlab.tasks.fitting import fit

SHOWN = 10
ROWS = {  # way → what it is called in the table
    "layers": "layer by layer, not tuned",
    "greedy": "layer by layer, then all",
    "whole": "all at once",
}


@dataclass(frozen=True)
class Greedy(Task):
    """`depth` layers, each half as wide as the one before, by each of `activations`.

    `steps` batches of `batch_size` for either way, half of the greedy one's in its layers.
    The network is of the class of the model that the task is about, a GreedyAE.
    """

    depth: int = 4
    activations: Sequence[str] = ("selu", "sigmoid")
    steps: int = 4000
    batch_size: int = 128
    lr: float = 2e-3

    def __post_init__(self) -> None:
        if self.depth < 2 or self.steps < 2 * self.depth:
            raise LatentlabError(
                f"depth {self.depth} in {self.steps} steps: it takes 2 layers or more to have an"
                " order, and 2 steps or more for each"
            )

    def run(self, context: Context) -> Finding:
        if not hasattr(context.trained.module, "phase_loss"):
            raise LatentlabError(
                f"{context.trained.name} is not trained in phases: name a GreedyAE as the task's"
                " `model` in params.yaml, such as greedy_ae"
            )
        train = to_float(context.yard.train.images)
        test = to_float(context.yard.test.images)
        table: dict[str, dict[str, float]] = {}
        numbers: dict[str, float] = {}
        drawn = [test[:SHOWN]]
        for activation in self.activations:
            for way, net in self._trained(context, activation, train).items():
                scores = {"train SSE": error(net, train[: len(test)]), "test SSE": error(net, test)}
                table[f"{activation}: {ROWS[way]}"] = scores
                numbers[f"{activation}_{way}_sse"] = scores["test SSE"]
                drawn.append(redrawn(net, test[:SHOWN]))
        widths = "-".join(map(str, self._widths(context.meta.image_shape)))
        return Finding(
            title="Greedy or end to end",
            text=f"A network of {widths} and back, {self.steps * self.batch_size:,} images for"
            " either way. Below the originals the rows of the table, in its order.",
            numbers=numbers,
            table=table,
            pictures=[
                Picture("ways", "Test images, each way", partial(save_rows, torch.stack(drawn)))
            ],
        )

    def _widths(self, image_shape: Sequence[int]) -> list[int]:
        pixels = torch.Size(image_shape).numel()
        return [max(2, pixels // 2**k) for k in range(1, self.depth + 1)]

    def _trained(self, context: Context, activation: str, x: Tensor) -> dict[str, Any]:
        """way → a network trained so."""
        shape, every = context.meta.image_shape, self.depth + 1
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(context.seed)
            kind = type(context.trained.module)
            fresh = kind(shape, widths=self._widths(shape), activation=activation)
        layers, whole = copy.deepcopy(fresh), copy.deepcopy(fresh)
        share = self.steps // (2 * self.depth)
        for phase in range(1, every):
            self._fit(layers, phase, x, share, context.seed)
        tuned = copy.deepcopy(layers)
        self._fit(tuned, every, x, self.steps - self.depth * share, context.seed)
        self._fit(whole, every, x, self.steps, context.seed)
        return {"layers": layers, "greedy": tuned, "whole": whole}

    def _fit(self, net: Any, phase: int, x: Tensor, steps: int, seed: int) -> None:
        loss = partial(net.phase_loss, phase)
        fit(net, loss, (x,), steps=steps, batch_size=self.batch_size, lr=self.lr, seed=seed)


def redrawn(net: Any, x: Tensor) -> Tensor:
    with torch.inference_mode():
        return torch.cat([net.decode(net.encode(part)) for part in x.split(500)])


def error(net: Any, x: Tensor) -> float:
    """Mean over the images of the squared error summed over pixels."""
    return float(squared_error(redrawn(net, x), x).mean())
