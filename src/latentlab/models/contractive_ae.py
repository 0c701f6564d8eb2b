"""Contractive autoencoder: a code that hardly notices small changes of the image.

    z = f(x)     x̂ = σ(g(z))     min −Σ [x log x̂ + (1−x) log(1−x̂)] + λ ‖∂f(x)/∂x‖²

To reconstruct, the code must tell training images apart; to pay little, it must ignore every other
change. What it still answers to are the directions along the data: the encoder's Jacobian spans
the tangent plane of their manifold.

Rifai, Vincent, Muller, Glorot & Bengio 2011, "Contractive auto-encoders: explicit invariance during
feature extraction"; one sigmoid layer with tied weights is theirs.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import Any, Literal

import torch
import torch.nn.functional as F
from lightning import LightningModule
from torch import Tensor, nn

from latentlab.contracts import ImageShape
from latentlab.losses.contraction import (
    exact_contraction,
    hutchinson_contraction,
    sigmoid_contraction,
)
from latentlab.losses.likelihoods import bernoulli_nll, squared_error
from latentlab.optimizers import adam_linear_decay


class ContractiveAE(LightningModule):
    """`widths` of the encoder's sigmoid layers, the last is the code (None: as wide as the image).

    The decoder is their mirror, its weights the encoder's transposed (tied). `weight` λ ≥ 0; 0 is
    the plain autoencoder. `jacobian` names how ‖J‖² is found: "closed" (one layer only), "exact"
    (any, D backward passes), "hutchinson" (any, an estimate from `probes` passes).
    `lr`: Adam's rate, falling linearly to 0.
    """

    family = "AE"
    smooth_encoder = True  # the tangents study may ask for its Jacobian

    def __init__(
        self,
        image_shape: ImageShape,
        *,
        widths: Sequence[int] | None = None,
        weight: float = 0.1,
        jacobian: Literal["closed", "exact", "hutchinson"] = "closed",
        probes: int = 1,
        lr: float = 1e-3,
    ) -> None:
        super().__init__()
        pixels = math.prod(image_shape)
        widths = [pixels] if widths is None else list(widths)
        if weight < 0:
            raise ValueError(f"weight is {weight}: a penalty needs a weight ≥ 0")
        if probes < 1:
            raise ValueError(f"probes is {probes}: the estimate needs 1 or more")
        if jacobian == "closed" and len(widths) > 1:
            raise ValueError(
                f"jacobian is 'closed', which exists for one layer, not for {len(widths)}:"
                " choose exact or hutchinson, or one width"
            )
        self.image_shape, self.latent_dim, self.lr = image_shape, widths[-1], lr
        self.weight, self.jacobian, self.probes = weight, jacobian, probes
        sizes = [pixels, *widths]
        self.layers = nn.ModuleList(nn.Linear(*pair) for pair in itertools.pairwise(sizes))
        for layer in self.layers:  # wide enough that sigmoids leave 1/2 (Glorot & Bengio 2010)
            nn.init.xavier_uniform_(layer.get_parameter("weight"), gain=4)
        self.offsets = nn.ParameterList(torch.zeros(size) for size in sizes[:-1])  # decoder biases

    def encode(self, x: Tensor) -> Tensor:
        z = x.flatten(1)
        for layer in self.layers:
            z = layer(z).sigmoid()
        return z  # (B, D)

    def decode_logits(self, z: Tensor) -> Tensor:
        (first, offset), *deeper = zip(self.weights(), self.offsets, strict=True)
        for weight, bias in reversed(deeper):
            z = F.linear(z, weight.T, bias).sigmoid()
        return F.linear(z, first.T, offset).unflatten(1, self.image_shape)  # (B, C, H, W)

    def decode(self, z: Tensor) -> Tensor:
        return self.decode_logits(z).sigmoid()

    def features(self, x: Tensor) -> Tensor:
        return self.encode(x)

    def weights(self) -> list[Tensor]:
        """Each layer's W, (fan out, fan in)."""
        return [layer.get_parameter("weight") for layer in self.layers]

    def contraction(self, x: Tensor, z: Tensor) -> Tensor:
        """‖∂f(x)/∂x‖² of each image, (B,), as `jacobian` says; z is f(x)."""
        if self.jacobian == "closed":
            return sigmoid_contraction(z, self.weights()[0])
        if self.jacobian == "exact":
            return exact_contraction(self.encode, x)
        return hutchinson_contraction(self.encode, x, probes=self.probes)

    def loss(self, x: Tensor) -> dict[str, Tensor]:
        z = self.encode(x)
        logits = self.decode_logits(z)
        error, contraction = bernoulli_nll(logits, x).mean(), self.contraction(x, z).mean()
        return {
            "loss": error + self.weight * contraction,
            "cross_entropy_nats": error,
            "jacobian_sq": contraction,
            "sse": squared_error(logits.sigmoid(), x).mean(),
        }

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> dict[str, Tensor]:
        return self.loss(batch[0])

    def validation_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> dict[str, Tensor]:
        return self.loss(batch[0])

    def configure_optimizers(self) -> Any:
        steps = int(self.trainer.estimated_stepping_batches)
        return adam_linear_decay(self.parameters(), self.lr, total_steps=steps)
