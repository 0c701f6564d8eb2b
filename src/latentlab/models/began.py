"""BEGAN: the discriminator is an autoencoder, and fakes must be as easy to rebuild as images.

    L(x) = |x − D(x)| per pixel      min_D  L(x) − k L(G(z))      min_G  L(G(z))
    k ← k + λ (γ L(x) − L(G(z))), within [0, 1]      M = L(x) + |γ L(x) − L(G(z))|

Berthelot et al. 2017, "BEGAN: boundary equilibrium generative adversarial networks", section 3.4.
k keeps the two at E L(G(z)) = γ E L(x): γ near 1 asks for variety, near 0 for clean images. M falls
as training converges, which no other GAN's loss does.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from lightning import LightningModule
from torch import Tensor

from latentlab.contracts import ImageShape, Sampler
from latentlab.nets.mlp import mlp
from latentlab.nets.noisy import softplus_mlp
from latentlab.optimizers import adam, linear_decay


class BEGAN(LightningModule):
    """Fully connected; `hidden` are the widths of D's encoder, mirrored in its decoder and in G.

    G has batch normalisation, which the paper's has not: it lost fewer classes so on digits.

    `latent_dim`: the length of z and of D's own code; `gamma` is γ, `balance_rate` λ; `lr`: Adam's
    rate, falling linearly to 0; `beta1`: Adam's.
    """

    family = "GAN"
    balance: Tensor  # k

    def __init__(
        self,
        image_shape: ImageShape,
        *,
        prior: Sampler,
        latent_dim: int = 32,
        hidden: Sequence[int] = (512, 256),
        activation: str = "gelu",
        gamma: float = 0.7,
        balance_rate: float = 1e-2,
        lr: float = 5e-4,
        beta1: float = 0.5,
    ) -> None:
        super().__init__()
        if not 0 < gamma <= 1 or not balance_rate > 0:
            raise ValueError(
                f"gamma is {gamma} and balance_rate {balance_rate}: gamma must lie in (0, 1], the"
                " share of the images' error that the fakes may have, and balance_rate be > 0"
            )
        self.automatic_optimization = False
        self.prior, self.image_shape, self.latent_dim = prior, image_shape, latent_dim
        self.gamma, self.balance_rate, self.lr, self.beta1 = gamma, balance_rate, lr, beta1
        pixels = image_shape[0] * image_shape[1] * image_shape[2]
        down, up = [pixels, *hidden, latent_dim], [latent_dim, *reversed(hidden), pixels]
        self.generator = softplus_mlp(up)
        self.discriminator = torch.nn.Sequential(
            mlp(down, activation=activation), mlp(up, activation=activation)
        )
        self.register_buffer("balance", torch.zeros(()))

    def decode(self, z: Tensor) -> Tensor:
        return self.generator(z).sigmoid().unflatten(1, self.image_shape)  # (B, C, H, W)

    def features(self, x: Tensor) -> Tensor:
        """The code of the autoencoder inside D; it is not G's: decode cannot read it."""
        return self.discriminator[0](x.flatten(1))

    def error(self, x: Tensor) -> Tensor:
        """L(x): mean over batch and pixels of |x − D(x)|, in grey levels 0…1."""
        flat = x.flatten(1)
        return (flat - self.discriminator(flat).sigmoid()).abs().mean()

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> dict[str, Tensor]:
        x = batch[0]
        opt_g, opt_d = self.optimizers()  # type: ignore[attr-defined]
        x_fake = self.decode(self.sample_prior(x))

        real_error, fake_error = self.error(x), self.error(x_fake.detach())
        opt_d.zero_grad()
        self.manual_backward(real_error - self.balance * fake_error)
        opt_d.step()

        self.discriminator.requires_grad_(False)  # G's step needs no gradient of D's weights
        g_loss = self.error(x_fake)
        opt_g.zero_grad()
        self.manual_backward(g_loss)
        opt_g.step()
        self.discriminator.requires_grad_(True)

        gap = self.gamma * real_error.detach() - g_loss.detach()
        gap = self.trainer.strategy.reduce(gap, reduce_op="mean")  # one k for all processes
        self.balance.add_(self.balance_rate * gap).clamp_(0, 1)
        for schedule in self.trainer.lr_scheduler_configs:
            schedule.scheduler.step()  # type: ignore[call-arg]
        return {
            "loss": real_error + g_loss,
            "real_error": real_error,
            "g_loss": g_loss,
            "balance": self.balance.clone(),
            "convergence": real_error + gap.abs(),
        }

    def validation_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> dict[str, Tensor]:
        """L of held-out images and of fakes, and the convergence measure M of the two."""
        x = batch[0]
        real_error, fake_error = self.error(x), self.error(self.decode(self.sample_prior(x)))
        return {
            "real_error": real_error,
            "fake_error": fake_error,
            "convergence": real_error + (self.gamma * real_error - fake_error).abs(),
        }

    def sample_prior(self, like: Tensor) -> Tensor:
        return self.prior.sample((len(like), self.latent_dim)).to(like.device)

    def configure_optimizers(self) -> Any:
        players = [
            adam(network.parameters(), self.lr, betas=(self.beta1, 0.999))
            for network in (self.generator, self.discriminator)
        ]
        steps = int(self.trainer.estimated_stepping_batches)
        return players, [linear_decay(optimizer, steps) for optimizer in players]
