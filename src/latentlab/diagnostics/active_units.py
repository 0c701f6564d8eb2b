"""Active units: the latent units that carry information, and a test for posterior collapse.

    A_u = Var_x( E_{q(u|x)}[u] )          unit u is active if A_u > 0.01

Burda et al. 2016, "Importance weighted autoencoders", section 5.2.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

import torch
from torch import Tensor

from latentlab.contracts import GaussianPosterior, LikelihoodModel
from latentlab.diagnostics.metrics.importance_sampling import binarized
from latentlab.evaluation.evaluator import Evaluator
from latentlab.evaluation.results import Figure, Result
from latentlab.inference.trained import TrainedModel
from latentlab.losses.variational import unit_kl_standard_normal
from latentlab.visualization.grids import save_rows

THRESHOLD = 0.01  # of A_u
NUM_TRAVERSED = 8  # units in the figure


def applies(model: Any) -> bool:
    return isinstance(model, GaussianPosterior)


@torch.inference_mode()
def diagnose(trained: TrainedModel, evaluator: Evaluator) -> Result:
    """Count the active units on the test split. Plot traversals of the most active ones."""
    pairs = [trained.module.posterior(x) for x in observations(trained, evaluator)]
    mu, logvar = (torch.cat(part).double() for part in zip(*pairs, strict=True))  # (N, D)
    variance = mu.var(0)
    kl = unit_kl_standard_normal(mu, logvar).mean(0)  # (D,) nats
    active = int((variance > THRESHOLD).sum())
    units = variance.argsort(descending=True)[:NUM_TRAVERSED]
    images = traversals(trained, mu[:1].float(), units)
    return Result(
        title="Active units",
        summary=_summary(active, len(variance)),
        metrics={
            "active_units": float(active),
            "active_fraction": active / len(variance),
            "kl_nats": float(kl.sum()),
            "kl_max_unit_nats": float(kl.max()),
        },
        figures=[
            Figure("traversals", "One unit per row, from −3 to 3", partial(save_rows, images))
        ],
        warnings=[] if active else ["posterior collapse: no unit is active"],
    )


def _summary(active: int, units: int) -> str:
    return (
        f"{active} of {units} latent units are active: the variance of their posterior mean over "
        f"the test images is above {THRESHOLD}. Figure: each row decodes the code of one test "
        f"image while one unit changes from −3 to 3. The {min(NUM_TRAVERSED, units)} most active "
        "units are included."
    )


def observations(trained: TrainedModel, evaluator: Evaluator) -> Iterator[Tensor]:
    """Test images as in training: each batch is sampled as 0 or 1 if the likelihood is binary."""
    model = trained.module
    binary = isinstance(model, LikelihoodModel) and model.likelihood.binary
    for index, x in enumerate(evaluator.test.batches()):
        yield binarized(x, evaluator.settings.seed + index) if binary else x


def traversals(trained: TrainedModel, z: Tensor, units: Tensor, *, steps: int = 10) -> Tensor:
    """Images (U, steps, C, H, W) of the code z (1, D): row u changes one unit from −3 to 3."""
    codes = z.repeat(len(units) * steps, 1).unflatten(0, (len(units), steps))
    for row, unit in enumerate(units.tolist()):
        codes[row, :, unit] = torch.linspace(-3, 3, steps)
    return trained.decode(codes.flatten(0, 1)).unflatten(0, (len(units), steps))
