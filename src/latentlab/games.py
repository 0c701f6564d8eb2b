"""What the players of a game share: their optimizers, their turns, an opponent that holds still.

A batch of a two-player game then reads as an algorithm box:

    turn(self, opt_d, d_loss)              # D's move
    with still(self.discriminator):
        turn(self, opt_g, g_loss)          # G's, against a D that does not move
    advance(self)                          # both rates fall
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from torch import Tensor, nn
from torch.nn import Parameter

from latentlab.optimizers import adam, linear_decay

if TYPE_CHECKING:
    from lightning import LightningModule

Player = tuple[Iterable[Parameter], float]  # what it moves, and its learning rate


def adam_each(
    *players: Player,
    betas: tuple[float, float] = (0.5, 0.999),
    steps: int | Sequence[int] | None = None,
) -> Any:
    """Adam for each player; given `steps`, its rate falls linearly to 0 in so many of its turns.

    `steps`: one number for all players, or one each. Returns what `configure_optimizers` does.
    """
    made = [adam(parameters, lr, betas=betas) for parameters, lr in players]
    if steps is None:
        return made, []
    turns = [steps] * len(made) if isinstance(steps, int) else steps
    return made, [linear_decay(*pair) for pair in zip(made, turns, strict=True)]


def turn(model: LightningModule, optimizer: Any, loss: Tensor) -> None:
    """One player's move: a step of its optimizer down the gradient of `loss`."""
    optimizer.zero_grad()
    model.manual_backward(loss)
    optimizer.step()


@contextmanager
def still(*opponents: nn.Module) -> Iterator[None]:
    """Gradients pass through the opponents, and none is computed for their weights."""
    for network in opponents:
        network.requires_grad_(False)
    try:
        yield
    finally:
        for network in opponents:
            network.requires_grad_(True)


def advance(model: LightningModule) -> None:
    """Every schedule moves on by one batch, if there are any."""
    for schedule in model.trainer.lr_scheduler_configs:
        schedule.scheduler.step()  # type: ignore[call-arg]


def told_apart(real_logits: Tensor, fake_logits: Tensor) -> dict[str, Tensor]:
    """Mean D(x) of images and of fakes, D = σ(logit): 0.5 and 0.5 where D cannot tell."""
    return {"d_real": real_logits.sigmoid().mean(), "d_fake": fake_logits.sigmoid().mean()}
