"""Adam, and its learning rate that falls linearly to 0: the optimizer of most models."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor
from torch.optim import Adam, Optimizer
from torch.optim.lr_scheduler import LambdaLR
from torch.optim.optimizer import ParamsT

if TYPE_CHECKING:
    from lightning import LightningModule


def adam(parameters: ParamsT, lr: float, *, betas: tuple[float, float] = (0.9, 0.999)) -> Adam:
    """Adam (Kingma & Ba 2015), fused: one kernel for all parameters, on CPU and GPU.

    `parameters`: parameters, or groups of them as dicts with settings of their own.
    """
    return FusedAdam(parameters, lr=lr, betas=betas)


class FusedAdam(Adam):
    """torch.optim.Adam with `fused`: the same numbers, with less work in Python at each step.

    Torch collects parameters, averages and step counts in lists at each step, sorts them by device
    and type, and gives them to its fused kernel. Here the lists of one step serve the next ones. A
    step that is not fused, has a GradScaler, or a parameter without a gradient is torch's own.
    """

    _kept: list[_Lists] | None = None  # of each parameter group

    def __init__(self, params: ParamsT, *, lr: float, betas: tuple[float, float]) -> None:
        super().__init__(params, lr=lr, betas=betas, fused=True)

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        gradients = [[p.grad for p in group["params"]] for group in self.param_groups]
        complete = all(g is not None for grads in gradients for g in grads)
        plain = complete and getattr(self, "grad_scale", None) is None
        if not plain or self._kept is None or not all(g["fused"] for g in self.param_groups):
            _own_step(self)
            self._kept = self._lists() if plain else None
            return loss
        with torch.no_grad():
            for group, grads, lists in zip(self.param_groups, gradients, self._kept, strict=True):
                torch._foreach_add_(lists.steps, 1)
                torch._fused_adam_(
                    *(group["params"], grads, lists.means, lists.squares, [], lists.steps),
                    lr=group["lr"],
                    **{f"beta{i}": beta for i, beta in enumerate(group["betas"], 1)},
                    weight_decay=group["weight_decay"],
                    eps=group["eps"],
                    amsgrad=False,
                    maximize=False,
                )
        return loss

    def _lists(self) -> list[_Lists] | None:
        """The state of each group; None if a group is on several devices or has several types."""
        kept = []
        for group in self.param_groups:
            if len({(p.device, p.dtype) for p in group["params"]}) > 1:
                return None
            states = [self.state[p] for p in group["params"]]
            columns = ([s[name] for s in states] for name in ("exp_avg", "exp_avg_sq", "step"))
            kept.append(_Lists(*columns))
        return kept

    def __setstate__(self, state: dict[str, Any]) -> None:
        """`load_state_dict` calls this with new tensors."""
        super().__setstate__(state)
        self._kept = None

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        super().add_param_group(param_group)
        self._kept = None


def _own_step(optimizer: Adam) -> None:
    """Adam's step. Its class runs the hooks of a step, but those of `optimizer` run already."""
    step: Any = Adam.step
    (step.__wrapped__ if getattr(step, "hooked", False) else step)(optimizer)


class _Lists(NamedTuple):
    """The state of one parameter group: averages of g and g², and step counts."""

    means: list[Tensor]
    squares: list[Tensor]
    steps: list[Tensor]


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
