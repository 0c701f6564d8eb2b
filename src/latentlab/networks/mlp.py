"""Fully connected networks.

`MLP` is the `network` of a config (networks/network.py). `mlp` and `noisy_mlp`, `softplus_mlp`
make the layers; `FlatGenerator` and `FlatDiscriminator` are the two players of a GAN.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn.utils.parametrizations import weight_norm

from latentlab.contracts import ImageShape
from latentlab.networks.network import Network

ACTIVATIONS: dict[str, type[nn.Module]] = {
    "relu": nn.ReLU,
    "gelu": nn.GELU,
    "selu": nn.SELU,
    "silu": nn.SiLU,
    "tanh": nn.Tanh,
    "sigmoid": nn.Sigmoid,
}
MNIST_VALUES = 28 * 28  # values of the image for which the papers give their layer widths

Scaling = Literal["none", "linear", "sqrt"]


@dataclass(frozen=True)
class MLP(Network):
    """Fully connected encoder with the widths `hidden`; the decoder is its mirror image.

    `activation`: a key of ACTIVATIONS, between the layers. `scaling`: how `hidden` follows the
    number P = C·H·W of values of an image, see `scaled_width`; the learning rate then follows too,
    see `scaled_rate`. `init`: "pytorch" keeps PyTorch's initial weights, "lecun" is `init_lecun`.
    `centered`: the mean training image is subtracted first, see `Centering`.

        MLP([1000, 500, 250], activation="selu", scaling="sqrt", init="lecun")
    """

    hidden: Sequence[int] = (400,)
    activation: str = "relu"
    scaling: Scaling = "none"
    init: Literal["pytorch", "lecun"] = "pytorch"
    centered: bool = False

    def build(
        self,
        image_shape: ImageShape,
        latent_dim: int,
        *,
        outputs_per_latent: int = 1,
        outputs_per_pixel: int = 1,
    ) -> tuple[nn.Sequential, nn.Sequential]:
        channels, height, width = image_shape
        values = channels * height * width
        hidden = [scaled_width(h, image_shape, self.scaling) for h in self.hidden]
        sizes = [values, *hidden, outputs_per_latent * latent_dim]
        center = [Centering(image_shape)] if self.centered else []
        encoder = nn.Sequential(*center, nn.Flatten(), *mlp(sizes, activation=self.activation))
        sizes = [latent_dim, *reversed(hidden), outputs_per_pixel * values]
        output_shape = (outputs_per_pixel * channels, height, width)
        decoder = nn.Sequential(
            *mlp(sizes, activation=self.activation), nn.Unflatten(1, output_shape)
        )
        if self.init == "lecun":
            encoder.apply(init_lecun)
            decoder.apply(init_lecun)
        return encoder, decoder

    def learning_rate(self, lr: float, image_shape: ImageShape) -> float:
        return lr if self.scaling == "none" else scaled_rate(lr, image_shape)


class Centering(nn.Module):
    """x − mean, images (B, C, H, W). `mean`: the mean training image, set before the training.

    Pixel values are all positive, so the gradients of a unit's weights have one sign, and a step of
    Adam with rate η changes its activation by up to η Σ|x|: by 3 on colour images of 32×32 pixels
    for η = 0.002, by 0.2 on MNIST. Centred values add up at random instead (LeCun et al. 1998,
    "Efficient backprop", section 4.3).
    """

    mean: Tensor  # (C, H, W)

    def __init__(self, image_shape: ImageShape) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(image_shape))

    def center_on(self, mean: Tensor) -> None:
        self.mean.copy_(mean)

    def forward(self, x: Tensor) -> Tensor:
        return x - self.mean


def scaled_rate(lr: float, image_shape: ImageShape) -> float:
    """Learning rate for images of P = C·H·W values, given the rate `lr` on MNIST (P = 784).

    lr · √(784/P) for larger images, `lr` for others. A step of Adam changes each weight by the
    rate, whatever the gradient, so the change of an activation grows with the number of its inputs.
    """
    return lr * min(1.0, (MNIST_VALUES / math.prod(image_shape)) ** 0.5)


def scaled_width(width: int, image_shape: ImageShape, scaling: Scaling) -> int:
    """Width of a layer for images of P = C·H·W values, given its `width` on MNIST (P = 784).

    "none": `width`. "linear": times P/784. "sqrt": times √(P/784). Rounded.
    """
    ratio = math.prod(image_shape) / MNIST_VALUES
    factor = {"none": 1.0, "linear": ratio, "sqrt": ratio**0.5}[scaling]
    return round(width * factor)


def mlp(sizes: Sequence[int], *, activation: str = "relu") -> nn.Sequential:
    """Linear layers sizes[0] → … → sizes[-1] with `activation` between them, none at the end.

    Raises ValueError for an activation that is not in ACTIVATIONS, and for fewer than two sizes.
    """
    check_sizes(sizes)
    if activation not in ACTIVATIONS:
        known = ", ".join(sorted(ACTIVATIONS))
        raise ValueError(f"unknown activation {activation!r}: choose one of {known}")
    layers: list[nn.Module] = []
    for fan_in, fan_out in itertools.pairwise(sizes):
        layers += [nn.Linear(fan_in, fan_out), ACTIVATIONS[activation]()]
    return nn.Sequential(*layers[:-1])


def check_sizes(sizes: Sequence[int]) -> None:
    """Raise ValueError for fewer than two sizes."""
    if len(sizes) < 2:
        raise ValueError(f"an MLP needs at least an input and an output size, got {list(sizes)}")


def init_lecun(module: nn.Module) -> None:
    """Sample weights from N(0, 1/fan_in), set biases to 0: a layer keeps its input's variance.

    The initial weights that SELU needs (Klambauer et al. 2017, section 2, "Initialization"). For
    `Module.apply`; changes linear layers only.
    """
    if isinstance(module, nn.Linear):
        nn.init.normal_(module.weight, 0.0, module.in_features**-0.5)
        nn.init.zeros_(module.bias)


def dense(
    fan_in: int, fan_out: int, *, slope: float = 0.0, batch_norm: bool = True
) -> nn.Sequential:
    """Linear, batch normalization, LeakyReLU: (B, fan_in) → (B, fan_out); slope 0 is ReLU."""
    return nn.Sequential(
        nn.Linear(fan_in, fan_out, bias=not batch_norm),
        *([nn.BatchNorm1d(fan_out)] if batch_norm else []),
        nn.LeakyReLU(slope),
    )


class FlatGenerator(nn.Module):
    """Codes (B, D) → logits (B, C, H, W): linear, batch normalization, ReLU for each width."""

    def __init__(self, image_shape: ImageShape, *, latent_dim: int, hidden: Sequence[int]) -> None:
        super().__init__()
        self.image_shape = image_shape
        sizes = [latent_dim, *hidden]
        layers = [dense(fan_in, fan_out) for fan_in, fan_out in itertools.pairwise(sizes)]
        self.layers = nn.Sequential(*layers, nn.Linear(sizes[-1], math.prod(image_shape)))

    def forward(self, z: Tensor) -> Tensor:
        return self.layers(z).unflatten(1, self.image_shape)


class FlatDiscriminator(nn.Module):
    """Images (B, C, H, W) → logits (B,): linear, LeakyReLU 0.2 for each width."""

    def __init__(self, image_shape: ImageShape, *, hidden: Sequence[int]) -> None:
        super().__init__()
        sizes = [math.prod(image_shape), *hidden]
        layers: list[nn.Module] = [nn.Flatten()]
        for fan_in, fan_out in itertools.pairwise(sizes):
            layers += [nn.Linear(fan_in, fan_out), nn.LeakyReLU(0.2)]
        self.trunk = nn.Sequential(*layers)
        self.head = nn.Linear(sizes[-1], 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.trunk(x)).squeeze(1)

    def features(self, x: Tensor) -> Tensor:
        """The last hidden layer, (B, F)."""
        return self.trunk(x)


class GaussianNoise(nn.Module):
    """x + scale · eps, eps ~ N(0, I), in training; x in evaluation."""

    def __init__(self, scale: float) -> None:
        super().__init__()
        self.scale = scale

    def forward(self, x: Tensor) -> Tensor:
        return x + self.scale * torch.randn_like(x) if self.training else x


def noisy_mlp(sizes: Sequence[int], *, noise: tuple[float, float]) -> nn.Sequential:
    """Layers sizes[0] → … → sizes[-1]: Gaussian noise, linear with weight normalization, ReLU.

    `noise`: standard deviations at the input and between the layers (Salimans et al. 2016,
    section 5; weight normalization: Salimans & Kingma 2016). Raises ValueError for fewer than two
    sizes.
    """
    check_sizes(sizes)
    layers: list[nn.Module] = []
    for index, (fan_in, fan_out) in enumerate(itertools.pairwise(sizes)):
        layers += [
            GaussianNoise(noise[0] if index == 0 else noise[1]),
            weight_norm(nn.Linear(fan_in, fan_out)),
            nn.ReLU(),
        ]
    return nn.Sequential(*layers)


def softplus_mlp(sizes: Sequence[int]) -> nn.Sequential:
    """Layers sizes[0] → … → sizes[-1] with batch normalization and softplus between them."""
    layers: list[nn.Module] = []
    for fan_in, fan_out in itertools.pairwise(sizes[:-1]):
        layers += [
            nn.Linear(fan_in, fan_out, bias=False),
            nn.BatchNorm1d(fan_out),
            nn.Softplus(),
        ]
    return nn.Sequential(*layers, nn.Linear(sizes[-2], sizes[-1]))
