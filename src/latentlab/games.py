"""What the players of a game share: their optimizers, their turns, an opponent that holds still.

A batch of a two-player game then reads as an algorithm box:

    turn(self, opt_d, d_loss)              # D's move
    with still(self.discriminator):
        turn(self, opt_g, g_loss)          # G's, against a D that does not move
    advance(self)                          # both rates fall

`play` is a whole game outside Lightning, for tasks that play many small ones.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from torch import Tensor, nn
from torch.nn import Parameter
from torch.optim import Optimizer

from latentlab.losses.adversarial import players
from latentlab.optimizers import adam, linear_decay

if TYPE_CHECKING:
    from lightning import LightningModule

    from latentlab.cures import Cures

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
def still(opponent: nn.Module) -> Iterator[None]:
    """Gradients pass through the opponent, and none is computed for its weights."""
    opponent.requires_grad_(False)
    try:
        yield
    finally:
        opponent.requires_grad_(True)


def advance(model: LightningModule) -> None:
    """Every schedule moves on by one batch, if there are any."""
    for schedule in model.trainer.lr_scheduler_configs:
        schedule.scheduler.step()  # type: ignore[call-arg]


def batch_number(model: LightningModule) -> int:
    """0, 1, … over the whole training: unlike `batch_idx`, it goes on from epoch to epoch."""
    return int(model.trainer.fit_loop.total_batch_idx)


def progress(model: LightningModule) -> float:
    """How much of the training is done, 0 … 1."""
    return batch_number(model) / model.trainer.estimated_stepping_batches


def told_apart(real_logits: Tensor, fake_logits: Tensor) -> dict[str, Tensor]:
    """Mean D(x) of images and of fakes, D = σ(logit): 0.5 and 0.5 where D cannot tell."""
    return {"d_real": real_logits.sigmoid().mean(), "d_fake": fake_logits.sigmoid().mean()}


def play(
    generator: nn.Module,
    discriminator: nn.Module,
    real: Callable[[], Tensor],
    codes: Callable[[], Tensor],
    *,
    loss: str,
    cures: Cures,
    steps: int,
    lr: float,
) -> None:
    """`steps` of both players on the same fakes, by Adam from `lr` linearly to 0, in place.

    `real` draws a batch of images (B, C, H, W) in [−1, 1], `codes` one of codes (B, D), which the
    generator makes into such images; `loss` is named as in `losses.adversarial`. The discriminator
    is built for `cures.packed` images and equipped.
    """
    d_loss, g_loss = players(loss, **cures.labels)
    both = [(network.parameters(), lr) for network in (generator, discriminator)]
    (opt_g, opt_d), schedules = adam_each(*both, steps=steps)
    for step in range(steps):
        progress = step / steps
        x, fake = real(), generator(codes())
        seen = cures.view(x, progress).requires_grad_(cures.r1 > 0)
        real_logits = discriminator(seen)
        fake_logits = discriminator(cures.view(fake.detach(), progress))
        penalty = cures.penalty(real_logits, seen, step)
        descend(opt_d, d_loss(real_logits, fake_logits) + penalty)
        with still(discriminator):
            descend(opt_g, g_loss(discriminator(cures.view(fake, progress))))
        for schedule in schedules:
            schedule.step()


def descend(optimizer: Optimizer, loss: Tensor) -> None:
    """A step of the optimizer down the gradient of `loss`, outside Lightning."""
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
