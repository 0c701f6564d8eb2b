"""Greedy autoencoder: trained one layer at a time, each on the output of the layer before.

    h_k = f_k(h_{k−1}),  h_0 = x        phase k ≤ K:  min over f_k, g_k of  Σ (g_k(h_k) − h_{k−1})²
    z = h_K,  x̂ = g_1(… g_K(z))         phase K + 1:  min over all layers of  Σ_pixels (x̂ − x)²

f_k and g_k are one layer each, the outermost pair first. In phase k only f_k and g_k change. Each
of these phases is a shallow problem. The last phase, fine-tuning, starts near a solution: in 2006
this made deep networks trainable. The phase follows from the number of optimizer steps done.

Paper: Bengio et al. 2007, "Greedy layer-wise training of deep networks".
Paper: Hinton & Salakhutdinov 2006, the same phases with restricted Boltzmann machines.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from lightning import LightningModule
from torch import Tensor, nn
from torch.optim.lr_scheduler import LambdaLR

from latentlab.contracts import ImageShape
from latentlab.losses.reconstruction import squared_error
from latentlab.networks.mlp import mlp, scaled_rate, scaled_width
from latentlab.optim.adam import adam


class GreedyAE(LightningModule):
    """`hidden`: widths of the encoder's hidden layers, mirrored in the decoder.

    `hidden` and `latent_dim` None: 300 and 150 for MNIST, in proportion to the number of values for
    other images. `layerwise_fraction`: the fraction of all steps for phases 1 … K, divided equally;
    the other steps fine-tune. `lr`: Adam's rate, falls linearly to 0 in each phase.
    """

    family = "AE"

    def __init__(
        self,
        image_shape: ImageShape,
        *,
        hidden: Sequence[int] | None = None,
        latent_dim: int | None = None,
        activation: str = "relu",
        layerwise_fraction: float = 0.5,
        lr: float = 1e-3,
    ) -> None:
        super().__init__()
        if not 0 < layerwise_fraction < 1:
            raise ValueError(
                f"layerwise_fraction is {layerwise_fraction}: it must be between 0 and 1, both"
                " excluded; choose stacked_ae for training without layerwise phases"
            )
        hidden = [scaled_width(300, image_shape, "linear")] if hidden is None else list(hidden)
        self.latent_dim = latent_dim or scaled_width(150, image_shape, "linear")
        self.image_shape, self.lr = image_shape, scaled_rate(lr, image_shape)
        self.layerwise_fraction, self.depth = layerwise_fraction, len(hidden) + 1  # K
        sizes = [math.prod(image_shape), *hidden, self.latent_dim]
        self.encoder = mlp(sizes, activation=activation)
        self.decoder = mlp(sizes[::-1], activation=activation)

    def encode(self, x: Tensor) -> Tensor:
        return self.encoder(x.flatten(1))  # (B, D)

    features = encode

    def decode(self, z: Tensor) -> Tensor:
        return self.decoder(z).sigmoid().unflatten(1, self.image_shape)  # (B, C, H, W)

    def layer(self, k: int) -> tuple[nn.Module, nn.Module]:
        """Return (f_k, g_k), k = 1 … K, with their nonlinearities: none for z, logistic for x̂."""
        f, g = self.encoder[2 * k - 2 : 2 * k], self.decoder[2 * (self.depth - k) :][:2]
        return f, nn.Sequential(*g, nn.Sigmoid()) if k == 1 else g

    def phase_loss(self, phase: int, x: Tensor) -> Tensor:
        """Squared error of phase 1 … K + 1, mean over the batch."""
        if phase > self.depth:
            return squared_error(self.decode(self.encode(x)), x).mean()
        with torch.no_grad():
            h = self.encoder[: 2 * phase - 2](x.flatten(1))
        f, g = self.layer(phase)
        return squared_error(g(f(h)), h).mean()

    def progress(self, step: int, total_steps: int) -> tuple[int, float]:
        """Return the phase 1 … K + 1 after `step` steps, and the fraction of it that is done."""
        steps_per_layer = total_steps * self.layerwise_fraction / self.depth
        ends = [*(round(steps_per_layer * k) for k in range(self.depth + 1)), total_steps]
        phase = next((k for k, end in enumerate(ends) if step < end), self.depth + 1)
        start, end = ends[phase - 1], ends[phase]
        return phase, (step - start) / max(end - start, 1)

    def phase(self) -> int:
        total_steps = int(self.trainer.estimated_stepping_batches)
        return self.progress(self.trainer.global_step, total_steps)[0]

    def frozen_parameters(self, phase: int) -> list[nn.Parameter]:
        """The parameters that do not change in phase 1 … K + 1."""
        if phase > self.depth:
            return []
        trained = {id(p) for part in self.layer(phase) for p in part.parameters()}
        return [p for p in self.parameters() if id(p) not in trained]

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> dict[str, Tensor]:
        phase = self.phase()
        loss = self.phase_loss(phase, batch[0])
        # With several processes every parameter needs a gradient: zero for the frozen ones.
        loss = loss + sum(0.0 * p.sum() for p in self.frozen_parameters(phase))
        return {"loss": loss, "phase": loss.new_tensor(phase)}

    def on_before_optimizer_step(self, optimizer: Any) -> None:
        for p in self.frozen_parameters(self.phase()):
            p.grad = None  # with a gradient of 0, Adam's momentum would still change the weights

    def validation_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> dict[str, Tensor]:
        sse = self.phase_loss(self.depth + 1, batch[0])
        return {"loss": sse, "sse": sse}

    def configure_optimizers(self) -> Any:
        total_steps = int(self.trainer.estimated_stepping_batches)
        optimizer = adam(self.parameters(), self.lr)
        rate = LambdaLR(optimizer, lambda step: 1 - self.progress(step, total_steps)[1])
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": rate, "interval": "step"}}
