"""Regularization of a GAN's discriminator. Every option is off by default.

A model uses `DiscriminatorRegularization` as follows:

- `require_supported` refuses the options that the model cannot use.
- `packed_shape` and `batch_norm` decide how the discriminator is built.
- `apply_to` changes the initialized discriminator.
- `augment` (or `pack`, outside of training) prepares its input.
- `labels` are the targets of its loss; `r1_penalty` is added to its loss.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm

from latentlab.losses.adversarial import r1_penalty
from latentlab.transforms.augmentation import AUGMENTATIONS

Augmentation = Literal["brightness", "contrast", "translation", "cutout"]


@dataclass(frozen=True)
class DiscriminatorRegularization:
    """The `regularization` block of the configurations.

    `real_label`, `fake_label`: targets of the discriminator; 0.9 and 0 is one-sided label smoothing
    (Salimans et al. 2016, section 3.4). `instance_noise_std`: standard deviation of Gaussian noise
    on the input, which falls linearly to 0 in training (Sønderby et al. 2017). `minibatch_stddev`:
    the last layer also gets the standard deviation of the features over the batch (Karras et al.
    2018, section 3). `packing`: number of images, all real or all generated, for one logit (Lin et
    al. 2018, "PacGAN"). `spectral_norm`: the largest singular value of each layer is 1 (Miyato et
    al. 2018). `r1_gamma`: γ of the penalty γ/2 E‖∇D(x)‖² on real images (Mescheder et al. 2018).
    `r1_interval`: the penalty is computed at every `r1_interval`-th step, with `r1_interval` times
    the weight (Karras et al. 2020, appendix B). `diff_augment`: names of differentiable
    augmentations of the input (Zhao et al. 2020). Raise ValueError for values out of range.
    """

    real_label: float = 1.0
    fake_label: float = 0.0
    instance_noise_std: float = 0.0
    minibatch_stddev: bool = False
    packing: int = 1
    spectral_norm: bool = False
    r1_gamma: float = 0.0
    r1_interval: int = 1
    diff_augment: tuple[Augmentation, ...] = ()

    def __post_init__(self) -> None:
        if not 0 <= self.fake_label < self.real_label <= 1:
            raise ValueError(
                f"fake_label is {self.fake_label} and real_label {self.real_label}: both must be in"
                " [0, 1], and fake_label must be smaller than real_label"
            )
        for name, value in (
            ("instance_noise_std", self.instance_noise_std),
            ("r1_gamma", self.r1_gamma),
        ):
            if value < 0:
                raise ValueError(f"{name} is {value}: it must be ≥ 0; 0 is off")
        for name, value in (("packing", self.packing), ("r1_interval", self.r1_interval)):
            if value < 1:
                raise ValueError(f"{name} is {value}: it must be ≥ 1; 1 is off")
        if unknown := sorted(set(self.diff_augment) - set(AUGMENTATIONS)):
            known = ", ".join(AUGMENTATIONS)
            raise ValueError(f"unknown augmentation {unknown[0]!r}: choose from {known}")

    def require_supported(self, unsupported: Mapping[str, str], *, model: str) -> None:
        """Raise ValueError if an option is on that `model` does not support.

        `unsupported`: {name of the option: reason}.
        """
        for name, reason in unsupported.items():
            if getattr(self, name) != getattr(DiscriminatorRegularization, name):
                raise ValueError(
                    f"{name} is {getattr(self, name)}, but {model} does not support it: {reason};"
                    " remove it from `regularization`"
                )

    @property
    def labels(self) -> dict[str, float]:
        """The arguments `real_label` and `fake_label` of `make_adversarial_losses`."""
        return {"real_label": self.real_label, "fake_label": self.fake_label}

    @property
    def batch_norm(self) -> bool:
        """False if each logit must depend on its own image only: the discriminator is built so."""
        return not (self.spectral_norm or self.r1_gamma)

    def packed_shape(self, image_shape: tuple[int, int, int]) -> tuple[int, int, int]:
        """Image shape (C, H, W) → shape of the discriminator's input, (m·C, H, W)."""
        channels, height, width = image_shape
        return self.packing * channels, height, width

    def apply_to(self, discriminator: nn.Module, *, head: str = "head") -> nn.Module:
        """Change the discriminator in place, after its weights are initialized, and return it.

        `head`: name of the submodule with the last layers, a Linear or a Sequential that begins
        with a Linear.
        """
        if self.minibatch_stddev:
            last = discriminator.get_submodule(head)
            discriminator.set_submodule(head, _with_minibatch_stddev(last))
        if self.spectral_norm:
            for layer in list(discriminator.modules()):
                if isinstance(layer, nn.Conv2d | nn.Linear):
                    spectral_norm(layer)
        return discriminator

    def augment(self, x: Tensor, progress: float = 0.0) -> Tensor:
        """Images in [-1, 1] → the discriminator's input in training, (⌈B/m⌉, m·C, H, W).

        `progress`: fraction of the training that is done, for the instance noise.
        """
        for name in self.diff_augment:
            x = AUGMENTATIONS[name](x)
        if self.instance_noise_std:
            x = x + self.instance_noise_std * (1 - progress) * torch.randn_like(x)
        return self.pack(x)

    def augment_unit(self, x: Tensor, progress: float = 0.0) -> Tensor:
        """`augment` for images in [0, 1]."""
        return (self.augment(2 * x - 1, progress) + 1) / 2

    def pack(self, x: Tensor) -> Tensor:
        """(B, C, H, W) → (⌈B/m⌉, m·C, H, W); the first images also fill the last pack."""
        if self.packing == 1:
            return x
        packs = -(-len(x) // self.packing)
        rows = torch.arange(packs * self.packing, device=x.device) % len(x)
        return x[rows].unflatten(0, (packs, self.packing)).flatten(1, 2)

    def repeat(self, x: Tensor) -> Tensor:
        """(B, C, H, W) → (B, m·C, H, W): each pack is one image m times, for its features."""
        return x.repeat(1, self.packing, 1, 1)

    def has_r1(self, step: int) -> bool:
        """Return True if this step has the R1 penalty; `step` counts over the whole training."""
        return self.r1_gamma > 0 and step % self.r1_interval == 0

    def r1_penalty(self, real_logits: Tensor, x: Tensor, step: int) -> Tensor:
        """γ · interval · ½ E‖∇D(x)‖², a scalar; 0 in steps without the penalty.

        `x`: the augmented real images; they must require gradients in steps with the penalty,
        before the discriminator computes `real_logits`.
        """
        if not self.has_r1(step):
            return real_logits.new_zeros(())
        return self.r1_gamma * self.r1_interval * r1_penalty(real_logits, x)


class MinibatchStddev(nn.Module):
    """Features (B, F) → (B, F + 1): append the mean standard deviation over the batch."""

    def forward(self, h: Tensor) -> Tensor:
        std = (h.var(0, correction=0) + 1e-8).sqrt().mean()
        return torch.cat([h, std.expand(len(h), 1)], 1)


def _with_minibatch_stddev(head: Any) -> nn.Sequential:
    """`head` after MinibatchStddev. The weights of the new input are 0."""
    layers: list[Any] = list(head) if isinstance(head, nn.Sequential) else [head]
    first, *rest = layers
    biased = first.bias is not None
    wider = nn.Linear(first.in_features + 1, first.out_features, bias=biased)
    with torch.no_grad():
        wider.weight.zero_()
        wider.weight[:, :-1] = first.weight
        if biased:
            wider.bias.copy_(first.bias)
    return nn.Sequential(MinibatchStddev(), wider, *rest)
