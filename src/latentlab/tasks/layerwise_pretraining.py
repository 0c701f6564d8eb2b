"""Layer-wise pretraining: one deep autoencoder, trained layer by layer or all layers at once.

Both start from the same weights and train on the same number of images. Layer by layer: the first
half of the steps trains one pair of layers (encoder, decoder) after the other, and the second half
trains all layers.

Bengio et al. 2007, "Greedy layer-wise training of deep networks". Glorot & Bengio 2010,
"Understanding the difficulty of training deep feedforward neural networks", explain why sigmoid
units profit: from random weights, the gradients vanish from layer to layer.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor

from latentlab.contracts import LayerwiseTraining, Task, to_float
from latentlab.evaluation.results import Figure, Result
from latentlab.losses.reconstruction import squared_error
from latentlab.tasks.common.context import Context
from latentlab.tasks.common.fitting import fit, seeded
from latentlab.utils.errors import LatentlabError
from latentlab.visualization.grids import save_rows

NUM_SHOWN = 10
METHODS = {  # key of the metric → name of the row
    "layerwise": "layer by layer",
    "layerwise_tuned": "layer by layer, then all",
    "end_to_end": "all at once",
}


@dataclass(frozen=True)
class LayerwisePretraining(Task):
    """An encoder of `depth` layers, each half as wide as the previous one; the decoder mirrors it.

    One network is trained for each of the `activations` and each method. `steps` batches of
    `batch_size` for each method, by Adam; the learning rate falls from `lr` to 0 in each phase. The
    network has the class of the trained model, which must be a `LayerwiseTraining`.
    """

    depth: int = 4
    activations: Sequence[str] = ("selu", "sigmoid")
    steps: int = 4000
    batch_size: int = 128
    lr: float = 2e-3

    def __post_init__(self) -> None:
        if self.depth < 2 or self.steps < 2 * self.depth:
            raise LatentlabError(
                f"depth is {self.depth} and steps is {self.steps}: depth must be ≥ 2, and steps ≥"
                " 2 · depth"
            )

    def run(self, context: Context) -> Result:
        if not isinstance(context.trained.module, LayerwiseTraining):
            raise LatentlabError(
                f"{context.trained.name} is not trained layer by layer: set the task's `model` in"
                " params.yaml to greedy_ae"
            )
        train = to_float(context.evaluator.train.images)
        test = to_float(context.evaluator.test.images)
        table: dict[str, dict[str, float]] = {}
        metrics: dict[str, float] = {}
        rows = [test[:NUM_SHOWN]]
        for activation in self.activations:
            for method, net in self._train_all(context, activation, train).items():
                train_sse, test_sse = mean_sse(net, train[: len(test)]), mean_sse(net, test)
                row = f"{activation}: {METHODS[method]}"
                table[row] = {"train SSE": train_sse, "test SSE": test_sse}
                metrics[f"{activation}_{method}_sse"] = test_sse
                rows.append(reconstruct(net, test[:NUM_SHOWN]))
        return self._result(context, table, metrics, torch.stack(rows))

    def _result(
        self,
        context: Context,
        table: dict[str, dict[str, float]],
        metrics: dict[str, float],
        rows: Tensor,
    ) -> Result:
        widths = "-".join(map(str, self._widths(context.dataset.image_shape)))
        caption = "Test images, and below their reconstructions in the order of the table"
        return Result(
            title="Layer-wise pretraining",
            summary=f"An autoencoder with the layers {widths} and a mirrored decoder. “Layer by"
            f" layer, then all” and “all at once” train on {self.steps * self.batch_size:,} images"
            " each. SSE is the squared error of a reconstruction, summed over pixels; lower is"
            " better.",
            metrics=metrics,
            table=table,
            figures=[Figure("reconstructions", caption, partial(save_rows, rows))],
        )

    def _widths(self, image_shape: Sequence[int]) -> list[int]:
        num_pixels = torch.Size(image_shape).numel()
        return [max(2, num_pixels // 2**k) for k in range(1, self.depth + 1)]

    def _train_all(self, context: Context, activation: str, x: Tensor) -> dict[str, Any]:
        """Train on images x (N, C, H, W). Return one network for each of METHODS."""
        shape = context.dataset.image_shape
        *hidden, latent_dim = self._widths(shape)
        with seeded(context.seed):
            model_class = type(context.trained.module)
            initial = model_class(
                shape, hidden=hidden, latent_dim=latent_dim, activation=activation
            )
        layerwise, end_to_end = copy.deepcopy(initial), copy.deepcopy(initial)
        steps_per_layer, last_phase = self.steps // (2 * self.depth), self.depth + 1
        for phase in range(1, last_phase):
            self._fit(layerwise, phase, x, steps_per_layer, context.seed)
        tuned = copy.deepcopy(layerwise)
        steps_left = self.steps - self.depth * steps_per_layer
        self._fit(tuned, last_phase, x, steps_left, context.seed)
        self._fit(end_to_end, last_phase, x, self.steps, context.seed)
        return {"layerwise": layerwise, "layerwise_tuned": tuned, "end_to_end": end_to_end}

    def _fit(self, net: Any, phase: int, x: Tensor, steps: int, seed: int) -> None:
        loss = partial(net.phase_loss, phase)
        fit(net, loss, (x,), steps=steps, batch_size=self.batch_size, lr=self.lr, seed=seed)


@torch.inference_mode()
def reconstruct(net: Any, x: Tensor) -> Tensor:
    return torch.cat([net.decode(net.encode(part)) for part in x.split(500)])


def mean_sse(net: Any, x: Tensor) -> float:
    """Mean over images x (N, C, H, W) of the squared error summed over pixels."""
    return float(squared_error(reconstruct(net, x), x).mean())
