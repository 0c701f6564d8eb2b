"""Adam, and its learning rate that falls linearly to 0: the optimizer of most models."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from torch.optim import Adam, Optimizer
from torch.optim.lr_scheduler import LambdaLR
from torch.optim.optimizer import ParamsT

if TYPE_CHECKING:
    from lightning import LightningModule


def adam(parameters: ParamsT, lr: float, *, betas: tuple[float, float] = (0.9, 0.999)) -> Adam:
    """Adam (Kingma & Ba 2015), fused: one kernel for all parameters, on CPU and GPU.

    `parameters`: parameters, or groups of them as dicts with settings of their own.
    """
    return Adam(parameters, lr=lr, betas=betas, fused=True)


def adam_linear_decay(
    model: LightningModule, *, lr: float, betas: tuple[float, float] = (0.9, 0.999)
) -> dict[str, Any]:
    """Adam for all parameters of `model`; its rate falls linearly from `lr` to 0 in training.

    Returns what Lightning's `configure_optimizers` returns. `model` must have a trainer.
    """
    optimizer = adam(model.parameters(), lr, betas=betas)
    schedule = linear_decay(optimizer, int(model.trainer.estimated_stepping_batches))
    return {
        "optimizer": optimizer,
        "lr_scheduler": {"scheduler": schedule, "interval": "step"},
    }


def linear_decay(optimizer: Optimizer, total_steps: int) -> LambdaLR:
    """The optimizer's rate times 1 − step / total_steps, updated after each step."""
    return LambdaLR(optimizer, lambda step: max(0.0, 1 - step / total_steps))
