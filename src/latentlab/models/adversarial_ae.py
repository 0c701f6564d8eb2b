"""Adversarial autoencoder: a discriminator, not a formula, draws the codes towards the prior.

    min_{f,g} −log p(x|g(f(x)))
    min_f max_D  E log D(z) + E log(1 − D(f(x))),   z ~ prior

Any prior one can sample will do: its density is never asked for. Each batch: one step
of D, then one of encoder and decoder on the reconstruction and, non-saturating, against D.

Makhzani et al. 2016, "Adversarial autoencoders", section 2.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

from lightning import LightningModule
from torch import Tensor

from latentlab.contracts import ImageShape, Sampler
from latentlab.games import advance, still, told_apart, turn
from latentlab.losses.adversarial import discriminator_loss, non_saturating
from latentlab.losses.pixels import PixelLikelihood
from latentlab.nets.mlp import mlp
from latentlab.optimizers import adam, linear_decay


class AdversarialAE(LightningModule):
    """Fully connected, deterministic encoder; `prior` draws what the codes are to look like.

    `critic`: widths of the discriminator of codes. `adversarial_weight` weighs the encoder's part
    in the game, in nats per image; `lr` is Adam's for the reconstruction, `game_lr` for the game,
    both falling linearly to 0.
    """

    family = "VAE"
    codes_are_normal = True  # or should be

    def __init__(
        self,
        image_shape: ImageShape,
        *,
        prior: Sampler,
        latent_dim: int = 20,
        hidden: Sequence[int] = (400,),
        critic: Sequence[int] = (200, 200),
        likelihood: Literal["bernoulli", "gaussian"] = "bernoulli",
        scale: float | None = None,
        adversarial_weight: float = 10.0,
        lr: float = 1e-3,
        game_lr: float = 5e-4,
    ) -> None:
        super().__init__()
        if adversarial_weight <= 0:
            raise ValueError(f"adversarial_weight is {adversarial_weight}: it must be > 0")
        self.automatic_optimization = False
        self.image_shape, self.latent_dim, self.prior = image_shape, latent_dim, prior
        self.adversarial_weight, self.lr, self.game_lr = adversarial_weight, lr, game_lr
        channels, height, width = image_shape
        pixels = channels * height * width
        self.pixels = PixelLikelihood(likelihood, scale=scale)
        self.encoder = mlp([pixels, *hidden, latent_dim])
        self.decoder = mlp([latent_dim, *reversed(hidden), pixels])
        self.discriminator = mlp([latent_dim, *critic, 1])

    def encode(self, x: Tensor) -> Tensor:
        return self.encoder(x.flatten(1))  # (B, D)

    def decode_logits(self, z: Tensor) -> Tensor:
        return self.decoder(z).unflatten(1, self.image_shape)  # (B, C, H, W)

    def decode(self, z: Tensor) -> Tensor:
        return self.pixels.mean(self.decode_logits(z))

    def features(self, x: Tensor) -> Tensor:
        return self.encode(x)

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> dict[str, Tensor]:
        x, _ = batch
        opt_ae, opt_d = self.optimizers()  # type: ignore[attr-defined]

        z = self.encode(x)
        real_logits = self.discriminator(self.sample_prior(x)).squeeze(1)
        fake_logits = self.discriminator(z.detach()).squeeze(1)
        d_loss = discriminator_loss(real_logits, fake_logits)
        turn(self, opt_d, d_loss)

        with still(self.discriminator):
            nll_nats = self.pixels.nll(self.decode_logits(z), x).mean()
            loss = nll_nats + self.adversarial_weight * non_saturating(
                self.discriminator(z).squeeze(1)
            )
            turn(self, opt_ae, loss)
        advance(self)
        return {
            "loss": loss,
            "nll_nats": nll_nats,
            "d_loss": d_loss,
            **told_apart(real_logits, fake_logits),
        }

    def validation_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> dict[str, Tensor]:
        """Reconstruction, and how D tells codes from the prior: 0.5 and 0.5 where it cannot."""
        x, _ = batch
        z = self.encode(x)
        return {
            "nll_nats": self.pixels.nll(self.decode_logits(z), x).mean(),
            **told_apart(self.discriminator(self.sample_prior(x)), self.discriminator(z)),
        }

    def sample_prior(self, like: Tensor) -> Tensor:
        return self.prior.sample((len(like), self.latent_dim)).to(like.device)

    def configure_optimizers(self) -> Any:
        autoencoder = [*self.encoder.parameters(), *self.decoder.parameters()]
        autoencoder += self.pixels.parameters()
        players = [
            adam(autoencoder, self.lr),
            adam(self.discriminator.parameters(), self.game_lr, betas=(0.5, 0.999)),
        ]
        steps = int(self.trainer.estimated_stepping_batches)
        return players, [linear_decay(player, steps) for player in players]
