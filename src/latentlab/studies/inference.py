"""Inference: what a feed-forward guess of sparse codes costs, and what it gives away.

    E(z) = ½ ‖x − B z‖² + λ ‖z‖₁        excess of z: E(z) / min E − 1

The exact code takes many steps of FISTA per image, the encoder one product with a matrix.

Kavukcuoglu, Ranzato & LeCun 2008, "Fast inference in sparse coding algorithms with applications to
object recognition".
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from latentlab.charts import Curve, save_curves
from latentlab.evaluation import Yardsticks
from latentlab.findings import Finding, Picture
from latentlab.losses.likelihoods import squared_error
from latentlab.plots import save_rows
from latentlab.trained import Trained

IMAGES, SHOWN = 500, 10
STEPS = (1, 2, 3, 5, 10, 20, 30, 50, 100, 200)
EXACT = 500  # steps of FISTA that stand for the minimum
CLOSE = 0.01  # excess from which on an optimization counts as done


@runtime_checkable
class PredictedCodes(Protocol):
    """`encode` guesses what `infer` finds, codes (B, D) of least `energy` (B,)."""

    def encode(self, x: Tensor) -> Tensor: ...

    def infer(self, x: Tensor, *, steps: int, start: Tensor | None = None) -> Tensor: ...

    def energy(self, x: Tensor, z: Tensor) -> Tensor: ...


def applies(model: Any) -> bool:
    return isinstance(model, PredictedCodes)


@torch.no_grad()
def study(trained: Trained, yard: Yardsticks) -> Finding:
    """Energy, reconstruction and operations of the guess, of FISTA, and of FISTA from the guess."""
    model = trained.module
    x = next(yard.test.first(IMAGES).batches()).to(trained.device)
    exact, guess = model.infer(x, steps=EXACT), model.encode(x)
    least = model.energy(x, exact).mean()
    excess = lambda z: float(model.energy(x, z).mean() / least) - 1  # noqa: E731
    cold = {n: excess(model.infer(x, steps=n)) for n in STEPS}
    warm = {n: excess(model.infer(x, steps=n, start=guess)) for n in STEPS}
    matched = next((n for n in STEPS if cold[n] <= excess(guess)), EXACT)
    done = next((n for n in STEPS if cold[n] <= CLOSE), EXACT)
    saved = flops(partial(model.infer, x, steps=done)) / flops(partial(model.encode, x))
    codes = {"exact": exact, "guess": guess}
    sse = {name: float(squared_error(model.decode(z), x).mean()) for name, z in codes.items()}
    return Finding(
        title="Guessed against exact codes",
        text=f"The encoder's guess has an energy {excess(guess):.1%} above the least possible. "
        f"FISTA from zero needs {matched} steps for that, and {done} to come within {CLOSE:.0%}, "
        f"which takes {saved:.1f} times the encoder's arithmetic. Reconstructions from the guess "
        f"have a squared error of {sse['guess']:.2f}, from the exact codes {sse['exact']:.2f}. "
        "Rows of the picture: images, reconstructed from exact codes, and from guesses.",
        numbers={
            "guess_energy_excess": excess(guess),
            "guess_sq_error_share": float((guess - exact).square().sum() / exact.square().sum()),
            "guess_sse": sse["guess"],
            "exact_sse": sse["exact"],
            "exact_inactive_share": float((exact == 0).double().mean()),
            "fista_steps_to_guess": float(matched),
            "fista_steps_to_exact": float(done),
            "operations_ratio": saved,
        },
        pictures=[
            Picture("energy", "Energy above the least", _curves(cold, warm, excess(guess))),
            Picture(
                "reconstructions",
                "Images; from exact codes; from the encoder's guess",
                partial(
                    save_rows,
                    torch.stack([x, *(model.decode(z) for z in codes.values())])[:, :SHOWN].cpu(),
                ),
            ),
        ],
    )


def _curves(cold: dict[int, float], warm: dict[int, float], guess: float) -> Callable[[Any], None]:
    floor = 1e-6  # of a logarithmic axis
    lines = {"FISTA from zero": cold, "FISTA from the guess": warm}
    return partial(
        save_curves,
        [
            Curve(k, list(v), [max(e, floor) for e in v.values()], marker="o")
            for k, v in lines.items()
        ],
        x="steps of FISTA",
        y="E / min E − 1",
        level=("the encoder's guess", max(guess, floor)),
        logarithmic="xy",
    )


def flops(function: Callable[[], Tensor]) -> float:
    """Floating-point operations of its matrix products."""
    with FlopCounterMode(display=False) as counter:
        function()
    return float(counter.get_total_flops())
