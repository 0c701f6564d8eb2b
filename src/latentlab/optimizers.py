"""Step rules: the one optimizer and the one schedule that most of the zoo shares."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from torch.nn import Parameter
from torch.optim import Adam, Optimizer
from torch.optim.lr_scheduler import LambdaLR


def adam(
    parameters: Iterable[Parameter], lr: float, *, betas: tuple[float, float] = (0.9, 0.999)
) -> Adam:
    """Adam (Kingma & Ba 2015) in its fused form: one kernel for all parameters, CPU and GPU."""
    return Adam(parameters, lr=lr, betas=betas, fused=True)


def adam_linear_decay(
    parameters: Iterable[Parameter], lr: float, *, total_steps: int
) -> dict[str, Any]:
    """Adam whose rate falls in a straight line from `lr` to 0 over `total_steps` steps.

    Returns what Lightning's `configure_optimizers` takes.
    """
    optimizer = adam(parameters, lr)
    return {
        "optimizer": optimizer,
        "lr_scheduler": {"scheduler": linear_decay(optimizer, total_steps), "interval": "step"},
    }


def linear_decay(optimizer: Optimizer, total_steps: int) -> LambdaLR:
    """The optimizer's rate times 1 − step / total_steps, stepped once per batch."""
    return LambdaLR(optimizer, lambda step: max(0.0, 1 - step / total_steps))
