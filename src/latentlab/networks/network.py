"""Encoder and decoder of one model, as a choice in its config: `network: {class_path, init_args}`.

    network:
      class_path: latentlab.networks.mlp.MLP      # or latentlab.networks.conv.Conv, …
      init_args: {hidden: [400], activation: relu}

A model takes `network: Network = MLP()` and calls `build` once in its `__init__`:

    self.encoder, self.decoder = network.build(image_shape, latent_dim)
    self.encoder, self.decoder = network.build(  # a VAE: mean and log-variance of each latent
        image_shape, latent_dim, outputs_per_latent=2, outputs_per_pixel=likelihood.outputs
    )
"""

from __future__ import annotations

from abc import ABC, abstractmethod

from torch import nn

from latentlab.contracts import ImageShape


class Network(ABC):
    """Builds the encoder and the decoder of one model. Subclasses are frozen dataclasses."""

    @abstractmethod
    def build(
        self,
        image_shape: ImageShape,
        latent_dim: int,
        *,
        outputs_per_latent: int = 1,
        outputs_per_pixel: int = 1,
    ) -> tuple[nn.Module, nn.Module]:
        """Return encoder and decoder, D = `latent_dim`, without output nonlinearities.

        Encoder: images (B, C, H, W) → (B, D · outputs_per_latent).
        Decoder: codes (B, D) → (B, C · outputs_per_pixel, H, W).
        One method builds both, because the order of the random initial weights is part of it.
        """

    def learning_rate(self, lr: float, image_shape: ImageShape) -> float:
        """The rate for images of this shape, given the rate `lr` of the config. Default: `lr`."""
        return lr
