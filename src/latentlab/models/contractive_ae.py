"""Contractive autoencoder: a penalty makes the code insensitive to small changes of the image.

    z = f(x)     x̂ = σ(g(z))     min −Σ [x log x̂ + (1−x) log(1−x̂)] + λ ‖∂f(x)/∂x‖²

Reconstruction needs a code that distinguishes training images; the penalty makes it ignore every
other change. The code stays sensitive only to changes along the data: the Jacobian of the encoder
spans the tangent plane of the data manifold.

Paper: Rifai et al. 2011, "Contractive auto-encoders: explicit invariance during feature
extraction", one sigmoid layer with tied weights.
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
from latentlab.losses.jacobian import (
    exact_contraction,
    hutchinson_contraction,
    sigmoid_contraction,
)
from latentlab.losses.reconstruction import bernoulli_nll, squared_error
from latentlab.optim.adam import adam_linear_decay


class ContractiveAE(LightningModule):
    """`hidden`: widths of hidden sigmoid layers. `latent_dim` None: the number of values of x.

    The decoder mirrors the encoder, with tied weights. `penalty_weight`: λ ≥ 0. `jacobian`: how
    ‖∂f/∂x‖² is computed: "closed" (one layer only), "exact" (D backward passes), "hutchinson" (an
    estimate from `num_probes` backward passes). `lr`: Adam's rate, falls linearly to 0.
    """

    family = "AE"
    differentiable_encoder = True

    def __init__(
        self,
        image_shape: ImageShape,
        *,
        hidden: Sequence[int] = (),
        latent_dim: int | None = None,
        penalty_weight: float = 0.1,
        jacobian: Literal["closed", "exact", "hutchinson"] = "closed",
        num_probes: int = 1,
        lr: float = 1e-3,
    ) -> None:
        super().__init__()
        if penalty_weight < 0:
            raise ValueError(f"penalty_weight is {penalty_weight}: it must be ≥ 0")
        if num_probes < 1:
            raise ValueError(f"num_probes is {num_probes}: the estimate needs 1 or more")
        if jacobian == "closed" and hidden:
            raise ValueError(
                f"jacobian is 'closed', which exists for one layer, not for {len(hidden) + 1}:"
                " choose exact or hutchinson, or no hidden layer"
            )
        values = math.prod(image_shape)
        self.latent_dim = values if latent_dim is None else latent_dim
        self.image_shape, self.lr = image_shape, lr
        self.penalty_weight, self.jacobian, self.num_probes = penalty_weight, jacobian, num_probes
        sizes = [values, *hidden, self.latent_dim]
        self.layers = nn.ModuleList(nn.Linear(*pair) for pair in itertools.pairwise(sizes))
        for layer in self.layers:  # gain 4 keeps sigmoids away from 1/2 (Glorot & Bengio 2010)
            nn.init.xavier_uniform_(layer.get_parameter("weight"), gain=4)
        self.offsets = nn.ParameterList(torch.zeros(size) for size in sizes[:-1])  # decoder biases

    def encode(self, x: Tensor) -> Tensor:
        z = x.flatten(1)
        for layer in self.layers:
            z = layer(z).sigmoid()
        return z  # (B, D)

    features = encode

    def decode_logits(self, z: Tensor) -> Tensor:
        (first, offset), *deeper = zip(self.weights(), self.offsets, strict=True)
        for weight, bias in reversed(deeper):
            z = F.linear(z, weight.T, bias).sigmoid()
        return F.linear(z, first.T, offset).unflatten(1, self.image_shape)  # (B, C, H, W)

    def decode(self, z: Tensor) -> Tensor:
        return self.decode_logits(z).sigmoid()

    def weights(self) -> list[Tensor]:
        """W of each layer, (fan out, fan in)."""
        return [layer.get_parameter("weight") for layer in self.layers]

    def contraction(self, x: Tensor, z: Tensor) -> Tensor:
        """‖∂f(x)/∂x‖² of each image, (B,); z is f(x)."""
        if self.jacobian == "closed":
            return sigmoid_contraction(z, self.weights()[0])
        if self.jacobian == "exact":
            return exact_contraction(self.encode, x)
        return hutchinson_contraction(self.encode, x, num_probes=self.num_probes)

    def loss(self, x: Tensor) -> dict[str, Tensor]:
        z = self.encode(x)
        logits = self.decode_logits(z)
        error, contraction = bernoulli_nll(logits, x).mean(), self.contraction(x, z).mean()
        return {
            "loss": error + self.penalty_weight * contraction,
            "cross_entropy_nats": error,
            "jacobian_frobenius_sq": contraction,
            "sse": squared_error(logits.sigmoid(), x).mean(),
        }

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> dict[str, Tensor]:
        return self.loss(batch[0])

    validation_step = training_step

    def configure_optimizers(self) -> Any:
        return adam_linear_decay(self, lr=self.lr)
