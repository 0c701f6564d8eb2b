"""Diffusion model: a network predicts the noise in an image; images are sampled step by step.

    x_t = √ᾱ_t · x + √(1 − ᾱ_t) · eps,   eps ~ N(0, I)        loss = Σ (eps − eps_θ(x_t, t))²
    x̂_0 = (x_t − √(1 − ᾱ_t) · eps_θ) / √ᾱ_t                 λ_t = log √ᾱ_t − log √(1 − ᾱ_t)
    x_s = √((1 − ᾱ_s) / (1 − ᾱ_t)) · x_t − √ᾱ_s · (e^−h − 1) · D,    h = λ_s − λ_t
    D   = x̂_0 + h / (2 h′) · (x̂_0 − x̂_0′),   ′: at the step before

The last two lines are one step from time t to time s: DPM-Solver++ (2M), which is DDIM where D is
x̂_0. It adds no new noise, so the steps map a code of the image's size to an image, and the same
steps in reverse order encode (Song et al. 2021, section 4.3). ᾱ follows the cosine schedule.

Differs from the paper: cosine schedule and continuous times, where Ho et al. have a linear β of
1,000 steps.
Differs from the paper: a few steps without new noise, where Ho et al. sample noise in each of
1,000; they begin at time 0.9946, because a division by √ᾱ would enlarge the error of the network
20,000 times at time 1.
Differs from the paper: a hundredth of the network. FID values of this model say little of diffusion
models.

Paper: Ho, Jain & Abbeel 2020, "Denoising diffusion probabilistic models", arXiv:2006.11239, eq. 14.
Paper: Nichol & Dhariwal 2021, "Improved denoising diffusion probabilistic models", eq. 17.
Paper: Song, Meng & Ermon 2021, "Denoising diffusion implicit models", eq. 12 with η = 0.
Paper: Lu et al. 2022, "DPM-Solver++: fast solver for guided sampling of diffusion probabilistic
models", arXiv:2211.01095, algorithm 2.
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
MAX_BETA = 0.999


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
        """√ᾱ_t and √(1 − ᾱ_t) of times t (B,), (B, 1, 1, 1) each.

        ᾱ_t = f(t) / f(0), f = cos² of `angle`: 1 at time 0. Its lower bound is what β ≤ 0.999 makes
        of the last of 1,000 steps.
        """
        angle, start, last = (angle_of(each) for each in (t, t.new_zeros(()), t.new_tensor(0.999)))
        least = math.sqrt(1 - MAX_BETA) * last.cos() / start.cos()
        keep = torch.maximum(angle.cos() / start.cos(), least)
        # 1 − cos²(a) / cos²(b) = sin(a − b) sin(a + b) / cos²(b), without cancellation at time 0
        add = ((angle - start).sin() * (angle + start).sin()).clamp(min=0).sqrt() / start.cos()
        return keep[:, None, None, None], add[:, None, None, None]

    def noise(self, x_t: Tensor, t: Tensor) -> Tensor:
        """The predicted noise eps_θ(x_t, t), (B, C, H, W)."""
        return self.denoiser(x_t, t)

    def predict(self, x_t: Tensor, t: Tensor) -> Tensor:
        """x̂_0, the prediction of the image at one time t (), clipped to [−1, 1]."""
        keep, add = self.signal(t[None])
        return ((x_t - add * self.noise(x_t, t.expand(len(x_t)))) / keep).clamp(-1, 1)

    def solve(self, x: Tensor, times: Tensor) -> Tensor:
        """Images x of the first of the `times` → images of the last, by DPM-Solver++ (2M).

        The first step has first order, and so has a step to time 0, where λ is infinite: it gives
        x̂_0, which is in [−1, 1].
        """
        x_0, h = x, x.new_zeros(())
        for index, (t, s) in enumerate(itertools.pairwise(times)):
            before, h_before = x_0, h
            x_0 = self.predict(x, t)
            if s == 0:
                return x_0
            (keep_t, add_t), (keep_s, add_s) = self.signal(t[None]), self.signal(s[None])
            h = (keep_s / add_s).log() - (keep_t / add_t).log()
            slope = (x_0 - before) / h_before if index else torch.zeros_like(x_0)
            x = add_s / add_t * x - keep_s * torch.expm1(-h) * (x_0 + h / 2 * slope)
        return x

    def decode(self, z: Tensor) -> Tensor:
        x = self.solve(z.unflatten(1, self.image_shape), self.times.flip(0))  # (B, C, H, W)
        return (x + 1) / 2

    def encode(self, x: Tensor) -> Tensor:
        first = self.leave_time_0(2 * x - 1, self.times[1])
        return self.solve(first, self.times[1:]).flatten(1)  # (B, D)

    def leave_time_0(self, x: Tensor, s: Tensor) -> Tensor:
        """A DDIM step from time 0 to the time s (). The noise is predicted for s: x has none."""
        keep, add = self.signal(s[None])
        return keep * x + add * self.noise(x, s.expand(len(x)))

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


def angle_of(t: Tensor) -> Tensor:
    """(t + s) / (1 + s) · π/2 with s = 0.008, of times t in [0, 1] (Nichol & Dhariwal, eq. 17)."""
    return (t + 0.008) / 1.008 * math.pi / 2
