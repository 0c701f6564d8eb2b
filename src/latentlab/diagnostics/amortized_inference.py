"""Amortized inference: predicted sparse codes against codes optimized for each image.

    E(z) = ½ ‖x − B z‖² + λ ‖z‖₁        energy excess of z: E(z) / min E − 1

The optimal code needs many steps of FISTA for each image. The encoder needs one pass.

Kavukcuoglu, Ranzato & LeCun 2008, "Fast inference in sparse coding algorithms with applications to
object recognition".
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from latentlab.contracts import SparseInference
from latentlab.evaluation.evaluator import Evaluator
from latentlab.evaluation.results import Figure, Result
from latentlab.inference.trained import TrainedModel
from latentlab.losses.reconstruction import squared_error
from latentlab.visualization.charts import Curve, save_curves
from latentlab.visualization.grids import save_rows

NUM_IMAGES, NUM_SHOWN = 500, 10
STEPS = (1, 2, 3, 5, 10, 20, 30, 50, 100, 200)
OPTIMAL_STEPS = 500  # steps of FISTA whose result counts as the minimum
TOLERANCE = 0.01  # energy excess at which FISTA counts as converged
AXIS_MIN = 1e-6  # of the logarithmic axis


def applies(model: Any) -> bool:
    return isinstance(model, SparseInference)


@torch.no_grad()
def diagnose(trained: TrainedModel, evaluator: Evaluator) -> Result:
    """Compare predicted codes with those of FISTA: energy, reconstruction error, operations."""
    model = trained.module
    x = next(evaluator.test.first(NUM_IMAGES).batches()).to(trained.device)
    optimal, predicted = model.infer(x, steps=OPTIMAL_STEPS), model.encode(x)
    excess = energy_excess(model, x, optimal)
    from_zero = {n: excess(model.infer(x, steps=n)) for n in STEPS}
    from_predicted = {n: excess(model.infer(x, steps=n, start=predicted)) for n in STEPS}
    metrics = {
        "predicted_energy_excess": excess(predicted),
        "fista_steps_to_predicted": float(steps_to_reach(excess(predicted), from_zero)),
        **_compare_codes(model, x, optimal, predicted),
        **_count_operations(model, x, steps_to_reach(TOLERANCE, from_zero)),
    }
    curves = {"FISTA from zero": from_zero, "FISTA from the predicted code": from_predicted}
    plot = partial(_save_energy, curves, metrics["predicted_energy_excess"])
    rows = torch.stack([x, model.decode(optimal), model.decode(predicted)])[:, :NUM_SHOWN].cpu()
    caption = "Images; reconstructions from optimal codes; from predicted codes"
    return Result(
        title="Amortized inference",
        summary=_summary(metrics),
        metrics=metrics,
        figures=[
            Figure("energy", "Energy excess after some steps of FISTA", plot),
            Figure("reconstructions", caption, partial(save_rows, rows)),
        ],
    )


def energy_excess(model: SparseInference, x: Tensor, optimal: Tensor) -> Callable[[Tensor], float]:
    """Return the function z → E(z) / E(optimal) − 1, from means over the images x (N, C, H, W)."""
    minimum = model.energy(x, optimal).mean()
    return lambda z: float(model.energy(x, z).mean() / minimum) - 1


def _compare_codes(model: Any, x: Tensor, optimal: Tensor, predicted: Tensor) -> dict[str, float]:
    difference = (predicted - optimal).square().sum()
    return {
        "predicted_sq_error_fraction": float(difference / optimal.square().sum()),
        "predicted_sse": float(squared_error(model.decode(predicted), x).mean()),
        "optimal_sse": float(squared_error(model.decode(optimal), x).mean()),
        "optimal_inactive_fraction": float((optimal == 0).double().mean()),
    }


def _count_operations(model: SparseInference, x: Tensor, steps: int) -> dict[str, float]:
    fista, encoder = flops(partial(model.infer, x, steps=steps)), flops(partial(model.encode, x))
    return {"fista_steps_to_optimal": float(steps), "operations_ratio": fista / encoder}


def steps_to_reach(target: float, excess: Mapping[int, float]) -> int:
    """The first number of steps with an energy excess ≤ target; OPTIMAL_STEPS if there is none."""
    return next((n for n, value in excess.items() if value <= target), OPTIMAL_STEPS)


def flops(function: Callable[[], Tensor]) -> float:
    """Floating-point operations of the matrix products of a call."""
    with FlopCounterMode(display=False) as counter:
        function()
    return float(counter.get_total_flops())


def _summary(metrics: Mapping[str, float]) -> str:
    return (
        f"The energy of the predicted codes is {metrics['predicted_energy_excess']:.1%} above the "
        f"minimum. FISTA from zero reaches this energy in {metrics['fista_steps_to_predicted']:.0f}"
        f" steps. It comes within {TOLERANCE:.0%} of the minimum in "
        f"{metrics['fista_steps_to_optimal']:.0f} steps, which need "
        f"{metrics['operations_ratio']:.1f} times the operations of the encoder. The squared error "
        f"of reconstructions is {metrics['predicted_sse']:.2f} from predicted codes and "
        f"{metrics['optimal_sse']:.2f} from optimal codes. Rows of the second figure: images, "
        "reconstructions from optimal codes, reconstructions from predicted codes."
    )


def _save_energy(curves: Mapping[str, Mapping[int, float]], predicted: float, path: Path) -> None:
    save_curves(
        [
            Curve(name, list(excess), [max(e, AXIS_MIN) for e in excess.values()], marker="o")
            for name, excess in curves.items()
        ],
        path,
        x="steps of FISTA",
        y="E / min E − 1",
        level=("predicted code", max(predicted, AXIS_MIN)),
        logarithmic="xy",
    )
