"""Cures for sick games: what the literature gives a discriminator that is too sure, as switches.

A GAN takes `cures: Cures` and asks it in five places: which images the discriminator is built for
(`packed`), what is done to it once it is initialised (`equip`), what it sees of images (`view`),
what is added to its loss (`penalty`), and which labels it learns (`labels`); and it says which of
them it cannot take (`without`).
Two more need no switch here: the players' own learning rates (Heusel et al. 2017) are arguments of
the models, and the average of the weights (Yazıcı et al. 2019) is `trainer.ema_decay`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm

from latentlab.losses.penalties import r1_penalty

Augmentation = Literal["brightness", "contrast", "translation", "cutout"]


@dataclass(frozen=True)
class Cures:
    """All off by default; images are (B, C, H, W) in [−1, 1].

    `real_label`, `fake_label`: 0.9 and 0 is one-sided, 0.9 and 0.1 two-sided label smoothing
    (Salimans et al. 2016, section 3.4). `instance_noise`: standard deviation of Gaussian noise on
    all that D sees, falling linearly to 0 at the end of training (Sønderby et al. 2017).
    `minibatch_std`: D's last layer also reads how much its features vary over the batch (Karras et
    al. 2018, section 3). `packing`: D judges that many images at a time, of one kind (Lin et al.
    2018). `spectral_norm`: each layer of D has largest singular value 1 (Miyato et al. 2018).
    `r1`: weight γ of γ/2 E‖∇D(x)‖² on real images (Mescheder et al. 2018), at every `r1_every`-th
    step with that much more weight (Karras et al. 2020, appendix B). `augment`: random
    differentiable changes of all that D sees (Zhao et al. 2020).
    """

    real_label: float = 1.0
    fake_label: float = 0.0
    instance_noise: float = 0.0
    minibatch_std: bool = False
    packing: int = 1
    spectral_norm: bool = False
    r1: float = 0.0
    r1_every: int = 1
    augment: tuple[Augmentation, ...] = ()

    def __post_init__(self) -> None:
        if not 0 <= self.fake_label < self.real_label <= 1:
            raise ValueError(
                f"labels {self.fake_label} (fake) and {self.real_label} (real): they must be in"
                " [0, 1], the fake one smaller"
            )
        for name in ("instance_noise", "r1"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} is {getattr(self, name)}: it must be ≥ 0; 0 is off")
        for name in ("packing", "r1_every"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}: it must be ≥ 1; 1 is off")
        if unknown := sorted(set(self.augment) - set(AUGMENTATIONS)):
            known = ", ".join(AUGMENTATIONS)
            raise ValueError(f"unknown augmentation {unknown[0]!r}: choose of {known}")

    def without(self, refused: Mapping[str, str], *, model: str) -> Cures:
        """These cures, if none of the `refused` is on: {its name: why `model` cannot take it}.

        Raises ValueError otherwise.
        """
        for name, why in refused.items():
            if getattr(self, name) != getattr(Cures, name):
                given = f"{name} is {getattr(self, name)}"
                raise ValueError(f"{given}, which {model} cannot take: {why}; leave it out")
        return self

    @property
    def labels(self) -> dict[str, Any]:
        """What D learns to say of images and of fakes, as `losses.adversarial` takes it."""
        return {"real_label": self.real_label, "fake_label": self.fake_label}

    @property
    def batch_norm(self) -> bool:
        """Whether D may normalise over the batch: no, where its slope at one image is limited."""
        return not (self.spectral_norm or self.r1)

    def packed(self, image_shape: tuple[int, int, int]) -> tuple[int, int, int]:
        """The shape (m·C, H, W) of what D judges at a time."""
        channels, height, width = image_shape
        return self.packing * channels, height, width

    def equip(self, discriminator: nn.Module, *, head: str = "head") -> nn.Module:
        """Change D in place, once its weights are initialised.

        `head`: where D's last layers are, a Linear or a Sequential that begins with one.
        """
        if self.minibatch_std:
            last = discriminator.get_submodule(head)
            discriminator.set_submodule(head, _reading_spread(last))
        if self.spectral_norm:
            for layer in list(discriminator.modules()):
                if isinstance(layer, nn.Conv2d | nn.Linear):
                    spectral_norm(layer)
        return discriminator

    def view(self, x: Tensor, progress: float = 0.0) -> Tensor:
        """What D sees of images (B, C, H, W) while it learns: (⌈B/m⌉, m·C, H, W)."""
        for name in self.augment:
            x = AUGMENTATIONS[name](x)
        if self.instance_noise:
            x = x + self.instance_noise * (1 - progress) * torch.randn_like(x)
        return self.pack(x)

    def view_unit(self, x: Tensor, progress: float = 0.0) -> Tensor:
        """`view` of images in [0, 1], for a D that knows them so."""
        return (self.view(2 * x - 1, progress) + 1) / 2

    def pack(self, x: Tensor) -> Tensor:
        """(B, C, H, W) → (⌈B/m⌉, m·C, H, W); the first images fill up the last pack."""
        if self.packing == 1:
            return x
        packs = -(-len(x) // self.packing)
        rows = torch.arange(packs * self.packing, device=x.device) % len(x)
        return x[rows].unflatten(0, (packs, self.packing)).flatten(1, 2)

    def penalty(self, real_logits: Tensor, seen: Tensor, step: int) -> Tensor:
        """R1 where this step has it, else 0; `real_logits` are D's of `seen`, a `view` of images.

        `seen` must require gradients: `.requires_grad_(cures.r1 > 0)` before D sees it. `step`
        counts over the whole training: began it anew at each epoch, R1 would come more often than
        its weight allows for.
        """
        if not self.r1 or step % self.r1_every:
            return real_logits.new_zeros(())
        return self.r1 * self.r1_every * r1_penalty(real_logits, seen)


class MinibatchStd(nn.Module):
    """Features (B, F) → (B, F + 1): one more tells how much all of them vary over the batch."""

    def forward(self, h: Tensor) -> Tensor:
        spread = (h.var(0, correction=0) + 1e-8).sqrt().mean()
        return torch.cat([h, spread.expand(len(h), 1)], 1)


def _reading_spread(head: Any) -> nn.Sequential:
    """`head`, with one more input that it ignores at first."""
    layers: list[Any] = list(head) if isinstance(head, nn.Sequential) else [head]
    first, *rest = layers
    biased = first.bias is not None
    wider = nn.Linear(first.in_features + 1, first.out_features, bias=biased)
    with torch.no_grad():
        wider.weight.zero_()
        wider.weight[:, :-1] = first.weight
        if biased:
            wider.bias.copy_(first.bias)
    return nn.Sequential(MinibatchStd(), wider, *rest)


# Zhao et al. 2020, "Differentiable augmentation for data-efficient GAN training", section 3. What
# moves in or is cut out is 0, mid-grey, so that the augmentation shows and G need not draw it.


def _uniform(x: Tensor, low: float, high: float) -> Tensor:
    return torch.empty(len(x), 1, 1, 1, device=x.device, dtype=x.dtype).uniform_(low, high)


def brightness(x: Tensor) -> Tensor:
    """Add a number from [−0.5, 0.5] to each image."""
    return x + _uniform(x, -0.5, 0.5)


def contrast(x: Tensor) -> Tensor:
    """Stretch each image about its mean by a factor from [0.5, 1.5]."""
    mean = x.mean((1, 2, 3), keepdim=True)
    return mean + (x - mean) * _uniform(x, 0.5, 1.5)


def translation(x: Tensor) -> Tensor:
    """Move each image by whole pixels, at most an eighth of its side, each way."""
    height, width = x.shape[2:]
    x = _shift(x, 2, round(height / 8))
    return _shift(x, 3, round(width / 8))


def _shift(x: Tensor, axis: int, reach: int) -> Tensor:
    side = x.shape[axis]
    padding = [0, 0, reach, reach] if axis == 2 else [reach, reach, 0, 0]
    start = torch.randint(0, 2 * reach + 1, (len(x), 1), device=x.device)
    rows = start + torch.arange(side, device=x.device)  # (B, side)
    place = rows[:, None, :, None] if axis == 2 else rows[:, None, None, :]
    return F.pad(x, padding).gather(axis, place.expand_as(x))


def cutout(x: Tensor) -> Tensor:
    """Blank a square of half the side, its centre anywhere in the image."""
    mask = torch.ones(len(x), 1, 1, 1, device=x.device, dtype=torch.bool)
    for axis in (2, 3):
        side = x.shape[axis]
        centre = torch.randint(0, side, (len(x), 1), device=x.device)
        near = (torch.arange(side, device=x.device) - centre + side // 4) // (side // 2) == 0
        mask = mask & (near[:, None, :, None] if axis == 2 else near[:, None, None, :])
    return x.masked_fill(mask, 0.0)


AUGMENTATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "brightness": brightness,
    "contrast": contrast,
    "translation": translation,
    "cutout": cutout,
}
