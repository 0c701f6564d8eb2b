"""A small fully connected autoencoder, plain or denoising.

    z = f(x)    x̂ = σ(g(z))        min mean_x Σ_pixels (x̂(x̃) − x)²

x̃ is x with a random fraction of its pixels set to 0; without corruption, x̃ = x.

Vincent et al. 2010, "Stacked denoising autoencoders".
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from latentlab.losses.reconstruction import squared_error
from latentlab.networks.mlp import mlp
from latentlab.tasks.common.fitting import fit, seeded

BATCH = 2000


class SmallAutoencoder(nn.Module):
    """Flat images (B, P) → codes (B, D) → flat images (B, P) in [0, 1].

    `widths`: the layers of the encoder; the last one is D. The decoder is the mirror image.
    `corruption_level`: fraction of the pixels that `loss` sets to 0, in [0, 1).
    """

    def __init__(
        self,
        num_pixels: int,
        widths: Sequence[int],
        *,
        corruption_level: float = 0.0,
        activation: str = "relu",
    ) -> None:
        super().__init__()
        self.corruption_level = corruption_level
        self.encoder = mlp([num_pixels, *widths], activation=activation)
        self.decoder = mlp([*reversed(widths), num_pixels], activation=activation)

    def forward(self, x: Tensor) -> Tensor:
        return self.decoder(self.encoder(x)).sigmoid()

    def loss(self, x: Tensor) -> Tensor:
        """Mean over the batch of the squared error summed over pixels."""
        x_tilde = x
        if self.corruption_level:
            x_tilde = x * (torch.rand_like(x) >= self.corruption_level)
        return squared_error(self(x_tilde), x).mean()

    @torch.inference_mode()
    def reconstruction_sse(self, x: Tensor) -> Tensor:
        """Σ_pixels (x̂ − x)² of each uncorrupted image, (B,)."""
        return torch.cat([squared_error(self(part), part) for part in x.split(BATCH)])


def fit_autoencoder(
    x: Tensor,
    widths: Sequence[int],
    *,
    steps: int,
    lr: float,
    seed: int,
    max_epochs: int | None = None,
    batch_size: int = 128,
    corruption_level: float = 0.0,
    activation: str = "relu",
) -> SmallAutoencoder:
    """Fit a `SmallAutoencoder` to flat images x (N, P). 0 steps: return the initial weights.

    The training has `steps` batches, but at most `max_epochs` epochs if this is given.
    """
    with seeded(seed):
        net = SmallAutoencoder(
            x.shape[1], widths, corruption_level=corruption_level, activation=activation
        )
        if steps:
            settings = {"steps": steps, "batch_size": batch_size, "seed": seed}
            fit(net, net.loss, (x,), max_epochs=max_epochs, lr=lr, **settings)
    return net.eval()
