"""Diffusion model: learn to take a little noise away, then start from nothing but noise.

    x_t = √ᾱ_t · x + √(1 − ᾱ_t) · eps,   eps ~ N(0, I)        loss = Σ (eps − eps_θ(x_t, t))²
    x̂_0 = (x_t − √(1 − ᾱ_t) · eps_θ) / √ᾱ_t             x_s = √ᾱ_s · x̂_0 + √(1 − ᾱ_s) · eps_θ

Ho, Jain & Abbeel 2020, "Denoising diffusion probabilistic models", eq. 14, with the cosine schedule
of Nichol & Dhariwal 2021 (eq. 17). Song, Meng & Ermon 2021, "Denoising diffusion implicit models",
eq. 12 at η = 0: a walk without new noise, from a code of the image's size to the image; walked
backwards (section 4.3) it encodes.
"""

from __future__ import annotations

import itertools
import math
from typing import Any

import torch
from lightning import LightningModule
from torch import Tensor

from latentlab.contracts import ImageShape
from latentlab.losses.likelihoods import squared_error
from latentlab.nets.denoiser import Denoiser
from latentlab.optimizers import adam_linear_decay

LAST = 0.9946  # time of the noisiest step: √ᾱ is 0.0085 there, and can still be divided by


class DDPM(LightningModule):
    """`width`: channels of the finest maps; `walk`: DDIM steps of `decode` and of `encode`.

    Time runs over [0, 1]: continuous in training, in equal steps for a walk. Images are scaled to
    [−1, 1] inside. `lr`: Adam's rate, falling linearly to 0.
    """

    family = "Diffusion"
    times: Tensor

    def __init__(
        self, image_shape: ImageShape, *, width: int = 32, walk: int = 20, lr: float = 2e-3
    ) -> None:
        super().__init__()
        if walk < 1:
            raise ValueError(f"walk is {walk}: a walk takes 1 step or more")
        if width < 8 or width % 8:
            raise ValueError(f"width is {width}: it must be a multiple of 8")
        self.image_shape, self.lr = image_shape, lr
        self.latent_dim = math.prod(image_shape)
        self.denoiser = Denoiser(image_shape, width=width)
        self.register_buffer("times", torch.linspace(0, LAST, walk + 1), persistent=False)

    @staticmethod
    def signal(t: Tensor) -> tuple[Tensor, Tensor]:
        """√ᾱ_t and √(1 − ᾱ_t), shaped to multiply images: cos and sin of one angle."""
        angle = (t + 0.008) / 1.008 * math.pi / 2
        return angle.cos()[:, None, None, None], angle.sin()[:, None, None, None]

    def noise(self, x_t: Tensor, t: Tensor) -> Tensor:
        """eps_θ(x_t, t)."""
        return self.denoiser(x_t, t)

    def step_down(self, x_t: Tensor, t: Tensor, s: Tensor) -> Tensor:
        """DDIM from time t to the earlier s, with x̂_0 kept in [−1, 1]."""
        keep_t, add_t = self.signal(t)
        keep_s, add_s = self.signal(s)
        eps = self.noise(x_t, t)
        x_0 = ((x_t - add_t * eps) / keep_t).clamp(-1, 1)
        eps = (x_t - keep_t * x_0) / add_t
        return keep_s * x_0 + add_s * eps

    def decode(self, z: Tensor) -> Tensor:
        x = z.unflatten(1, self.image_shape)  # (B, C, H, W)
        for t, s in itertools.pairwise(self.times.flip(0)):
            x = self.step_down(x, t.expand(len(x)), s.expand(len(x)))
        return ((x + 1) / 2).clamp(0, 1)

    def encode(self, x: Tensor) -> Tensor:
        x = 2 * x - 1
        for t, s in itertools.pairwise(self.times):
            x = self.step_up(x, t.expand(len(x)), s.expand(len(x)))
        return x.flatten(1)  # (B, D)

    def step_up(self, x_t: Tensor, t: Tensor, s: Tensor) -> Tensor:
        """DDIM from t to the later s. The noise is asked for as if x_t had time s: at 0 is none."""
        keep_t, add_t = self.signal(t)
        keep_s, add_s = self.signal(s)
        eps = self.noise(x_t, s)
        return keep_s * (x_t - add_t * eps) / keep_t + add_s * eps

    def features(self, x: Tensor) -> Tensor:
        """The denoiser's deepest maps of the clean image, told that a little noise is there."""
        return self.denoiser.features(2 * x - 1, torch.full((len(x),), 0.1, device=x.device))

    def loss(self, x: Tensor) -> dict[str, Tensor]:
        x = 2 * x - 1
        # one uniform draw, spread evenly over the batch: every noise level is seen each time
        spread = torch.arange(len(x), device=x.device) / len(x)
        t = (spread + torch.rand(1, device=x.device)) % 1
        keep, add = self.signal(t)
        eps = torch.randn_like(x)
        return {"loss": squared_error(self.noise(keep * x + add * eps, t), eps).mean()}

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> dict[str, Tensor]:
        return self.loss(batch[0])

    def validation_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> dict[str, Tensor]:
        return self.loss(batch[0])

    def configure_optimizers(self) -> Any:
        steps = int(self.trainer.estimated_stepping_batches)
        return adam_linear_decay(self.parameters(), self.lr, total_steps=steps)
