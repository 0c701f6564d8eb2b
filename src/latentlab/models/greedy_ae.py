"""Greedy autoencoder: a stack trained one layer at a time, each on the codes of the one before.

    h_k = f_k(h_{k−1}),  h_0 = x        phase k ≤ K:  min over f_k, g_k of  Σ (g_k(h_k) − h_{k−1})²
    z = h_K,  x̂ = g_1(… g_K(z))         phase K + 1:  min over all layers of  Σ_pixels (x̂ − x)²

f_k and g_k are one layer each, the outermost pair first; what is below layer k rests. Greedy layers
once made deep networks trainable at all: each phase is a shallow problem, and the joint
fine-tuning starts near a solution. The phase follows from the number of steps done.
Bengio et al. 2007, "Greedy layer-wise training of deep networks"; Hinton & Salakhutdinov 2006 did
the same with restricted Boltzmann machines.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from lightning import LightningModule
from torch import Tensor, nn
from torch.optim.lr_scheduler import LambdaLR

from latentlab.contracts import ImageShape
from latentlab.losses.likelihoods import squared_error
from latentlab.nets.mlp import mlp
from latentlab.optimizers import adam

CLASSIC = (300 / 784, 150 / 784)


class GreedyAE(LightningModule):
    """`widths` of the encoder, input aside; None scales 300-150 to the image as StackedAE does.

    `greedy` is the share of all steps that goes to the layers, split equally among them; the rest
    fine-tunes all. `lr`: Adam's rate, falling linearly to 0 within each phase.
    """

    family = "AE"

    def __init__(
        self,
        image_shape: ImageShape,
        *,
        widths: Sequence[int] | None = None,
        activation: str = "relu",
        greedy: float = 0.5,
        lr: float = 1e-3,
    ) -> None:
        super().__init__()
        if not 0 < greedy < 1:
            raise ValueError(
                f"greedy is {greedy}: a share of the training between 0 and 1, both excluded; train"
                " stacked_ae for none"
            )
        channels, height, width = image_shape
        pixels = channels * height * width
        widths = list(widths or [round(pixels * share) for share in CLASSIC])
        self.image_shape, self.latent_dim, self.lr = image_shape, widths[-1], lr
        self.greedy, self.depth = greedy, len(widths)
        self.encoder = mlp([pixels, *widths], activation=activation)
        self.decoder = mlp([*reversed(widths), pixels], activation=activation)

    def layer(self, k: int) -> tuple[nn.Module, nn.Module]:
        """(f_k, g_k), k = 1 … K, each with its nonlinearity: none on the code, σ on the image."""
        f, g = self.encoder[2 * k - 2 : 2 * k], self.decoder[2 * (self.depth - k) :][:2]
        return f, nn.Sequential(*g, nn.Sigmoid()) if k == 1 else g

    def encode(self, x: Tensor) -> Tensor:
        return self.encoder(x.flatten(1))  # (B, D)

    def decode(self, z: Tensor) -> Tensor:
        return self.decoder(z).sigmoid().unflatten(1, self.image_shape)  # (B, C, H, W)

    def features(self, x: Tensor) -> Tensor:
        return self.encode(x)

    def phase_loss(self, phase: int, x: Tensor) -> Tensor:
        """Mean over the batch of phase 1 … K + 1's squared error."""
        if phase > self.depth:
            return squared_error(self.decode(self.encode(x)), x).mean()
        with torch.no_grad():
            h = self.encoder[: 2 * phase - 2](x.flatten(1))
        f, g = self.layer(phase)
        return squared_error(g(f(h)), h).mean()

    def place(self, step: int, steps: int) -> tuple[int, float]:
        """After `step` of `steps` steps: (phase 1 … K + 1, the share of it that is done)."""
        layer = steps * self.greedy / self.depth
        ends = [*(round(layer * k) for k in range(self.depth + 1)), steps]
        phase = next((k for k, end in enumerate(ends) if step < end), self.depth + 1)
        start, end = ends[phase - 1], ends[phase]
        return phase, (step - start) / max(end - start, 1)

    def resting(self, phase: int) -> list[nn.Parameter]:
        """The parameters that phase 1 … K + 1 leaves alone."""
        if phase > self.depth:
            return []
        moving = {id(p) for part in self.layer(phase) for p in part.parameters()}
        return [p for p in self.parameters() if id(p) not in moving]

    def phase(self) -> int:
        steps = int(self.trainer.estimated_stepping_batches)
        return self.place(self.trainer.global_step, steps)[0]

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> dict[str, Tensor]:
        phase = self.phase()
        loss = self.phase_loss(phase, batch[0])
        # several processes wait for every parameter's gradient: the others get one of zero
        loss = loss + sum(0.0 * p.sum() for p in self.resting(phase))
        return {"loss": loss, "phase": loss.new_tensor(phase)}

    def on_before_optimizer_step(self, optimizer: Any) -> None:
        for p in self.resting(self.phase()):
            p.grad = None  # Adam's memory would move it even without a gradient

    def validation_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> dict[str, Tensor]:
        sse = self.phase_loss(self.depth + 1, batch[0])
        return {"loss": sse, "sse": sse}

    def configure_optimizers(self) -> Any:
        steps = int(self.trainer.estimated_stepping_batches)
        optimizer = adam(self.parameters(), self.lr)
        rate = LambdaLR(optimizer, lambda step: 1 - self.place(step, steps)[1])
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": rate, "interval": "step"}}
