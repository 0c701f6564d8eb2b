"""Diffusion model: a network predicts the noise in an image; images are sampled step by step.

    x_t = √ᾱ_t · x + √(1 − ᾱ_t) · eps,   eps ~ N(0, I)        loss = Σ (eps − eps_θ(x_t, t))²
    x̂_0 = (x_t − √(1 − ᾱ_t) · eps_θ) / √ᾱ_t             x_s = √ᾱ_s · x̂_0 + √(1 − ᾱ_s) · eps_θ

The second line is one step of DDIM, from time t to the earlier time s. It adds no new noise, so the
steps map a code of the image's size to an image. The same steps in reverse order encode (Song et
al. 2021, section 4.3). ᾱ follows the cosine schedule.

Paper: Ho, Jain & Abbeel 2020, "Denoising diffusion probabilistic models", arXiv:2006.11239, eq. 14.
Paper: Nichol & Dhariwal 2021, "Improved denoising diffusion probabilistic models", eq. 17.
Paper: Song, Meng & Ermon 2021, "Denoising diffusion implicit models", eq. 12 with η = 0.
"""

from __future__ import annotations

import itertools
import math
from typing import Any

import torch
from lightning import LightningModule
from torch import Tensor

from latentlab.contracts import ImageShape
from latentlab.losses.reconstruction import squared_error
from latentlab.networks.diffusion_unet import DiffusionUNet
from latentlab.optim.adam import adam_linear_decay

LAST_TIME = 0.9946  # √ᾱ is 0.0085 there, large enough for the division by it


class DDPM(LightningModule):
    """`width`: channels of the finest feature maps. `sampling_steps`: of `decode` and `encode`.

    The time is in [0, 1]: continuous in training, equal steps in sampling. Images are in [−1, 1]
    inside. `lr`: Adam's learning rate, decays linearly to 0.
    """

    family = "Diffusion"
    times: Tensor

    def __init__(
        self,
        image_shape: ImageShape,
        *,
        width: int = 32,
        sampling_steps: int = 20,
        lr: float = 2e-3,
    ) -> None:
        super().__init__()
        if sampling_steps < 1:
            raise ValueError(f"sampling_steps is {sampling_steps}: it must be ≥ 1")
        if width < 8 or width % 8:
            raise ValueError(f"width is {width}: it must be a multiple of 8")
        self.image_shape, self.lr = image_shape, lr
        self.latent_dim = math.prod(image_shape)
        self.denoiser = DiffusionUNet(image_shape, width=width)
        times = torch.linspace(0, LAST_TIME, sampling_steps + 1)
        self.register_buffer("times", times, persistent=False)

    @staticmethod
    def signal(t: Tensor) -> tuple[Tensor, Tensor]:
        """√ᾱ_t and √(1 − ᾱ_t) of times t (B,), (B, 1, 1, 1) each: cos and sin of one angle."""
        angle = (t + 0.008) / 1.008 * math.pi / 2
        return angle.cos()[:, None, None, None], angle.sin()[:, None, None, None]

    def noise(self, x_t: Tensor, t: Tensor) -> Tensor:
        """The predicted noise eps_θ(x_t, t), (B, C, H, W)."""
        return self.denoiser(x_t, t)

    def step_down(self, x_t: Tensor, t: Tensor, s: Tensor) -> Tensor:
        """One DDIM step from time t to the earlier time s; x̂_0 is clipped to [−1, 1]."""
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
        """One DDIM step from time t to the later time s.

        The noise is predicted for time s, because an image of time 0 has none.
        """
        keep_t, add_t = self.signal(t)
        keep_s, add_s = self.signal(s)
        eps = self.noise(x_t, s)
        return keep_s * (x_t - add_t * eps) / keep_t + add_s * eps

    def features(self, x: Tensor) -> Tensor:
        """The network's coarser feature maps of the clean image at time 0.1, (B, F)."""
        return self.denoiser.features(2 * x - 1, torch.full((len(x),), 0.1, device=x.device))

    def loss(self, x: Tensor) -> dict[str, Tensor]:
        x = 2 * x - 1
        # equal distances of the times and one random offset: each batch has all noise levels
        grid = torch.arange(len(x), device=x.device) / len(x)
        t = (grid + torch.rand(1, device=x.device)) % 1
        keep, add = self.signal(t)
        eps = torch.randn_like(x)
        return {"loss": squared_error(self.noise(keep * x + add * eps, t), eps).mean()}

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> dict[str, Tensor]:
        return self.loss(batch[0])

    validation_step = training_step

    def configure_optimizers(self) -> Any:
        return adam_linear_decay(self, lr=self.lr)
