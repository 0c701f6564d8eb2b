"""Style and class: the same noise under every class, where the class is a part of the code.

Kingma et al. 2014, "Semi-supervised learning with deep generative models", figure 1: with the class
told, the noise is left with slant, width and weight of the pen.
"""

from __future__ import annotations

from functools import partial
from typing import Any, Protocol, runtime_checkable

import torch
import torch.nn.functional as F
from torch import Tensor

from latentlab.evaluation import Yardsticks
from latentlab.findings import Finding, Picture
from latentlab.plots import save_rows
from latentlab.trained import Trained

DRAWN = 100  # codes per class that the judge sees
SHOWN = 8  # rows of the picture
MOST = 20  # classes that are drawn


@runtime_checkable
class NoiseThenClass(Protocol):
    """Codes are `noise_dim` numbers of N(0, I), then one of `num_classes` classes, one-hot."""

    noise_dim: int
    num_classes: int

    def decode(self, z: Tensor) -> Tensor: ...


def applies(model: Any) -> bool:
    return (
        isinstance(model, NoiseThenClass)
        and getattr(model, "latent_dim", 0) == model.noise_dim + model.num_classes
    )


@torch.inference_mode()
def study(trained: Trained, yard: Yardsticks) -> Finding:
    """Draw noise, decode it under every class, and let the judge say what it sees."""
    model = trained.module
    generator = torch.Generator().manual_seed(yard.settings.seed)
    noise = torch.randn(DRAWN, model.noise_dim, generator=generator)
    codes = with_classes(noise, model.num_classes)  # (N, K, D)
    images = trained.decode(codes.flatten(0, 1)).unflatten(0, codes.shape[:2])
    numbers = {}
    text = "Rows: one draw of noise; columns: the classes it is decoded with."
    if yard.judge is not None:
        seen = yard.judge(images.flatten(0, 1)).argmax(1).view(codes.shape[:2])
        wanted = torch.arange(model.num_classes)
        right = float((seen == wanted).float().mean())
        numbers["requested_class_accuracy"] = right
        text += f" The judge sees the requested class in {100 * right:.1f} % of {seen.numel():,}."
    sheet = images[:SHOWN, :MOST]
    picture = Picture(
        "grid", "One draw of noise a row, one class a column", partial(save_rows, sheet)
    )
    return Finding(title="Style and class", text=text, numbers=numbers, pictures=[picture])


def with_classes(noise: Tensor, classes: int) -> Tensor:
    """Noise (N, D) → codes (N, K, D + K), each noise with each class."""
    onehot = F.one_hot(torch.arange(classes), classes).to(noise.dtype).expand(len(noise), -1, -1)
    return torch.cat([noise[:, None].expand(-1, classes, -1), onehot], 2)
