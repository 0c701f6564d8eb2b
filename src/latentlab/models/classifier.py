"""Classifier: a small convolutional network that scores and compares the images of every model.

    loss = −log softmax(h(x))_y        for an image x of class y

Its accuracy on reconstructions measures whether the class survives. It has two feature spaces.
`local_features`, 2×2 means of the second block (256 values), see strokes, edges and texture: FID
and the other metrics of samples use them. `features`, the penultimate layer (128 values), is
nearly the class: a blurred digit is as good there as a sharp one. Inception's features have this
role for natural images; these are for small ones. Training images are shifted at random, by up to
a tenth of their side. Without labels the network keeps its initial weights: random features still
rank samples (Naeem et al. 2020, in the experiments with random embeddings), and the reports call
them `random`.

Paper: Heusel et al. 2017, "GANs trained by a two time-scale update rule", section 3 (the FID).
Paper: Naeem et al. 2020, "Reliable fidelity and diversity metrics for generative models".
"""

from __future__ import annotations

from copy import deepcopy
from typing import Any, Self

import torch
import torch.nn.functional as F
from lightning import LightningModule
from torch import Tensor, nn
from torch.nn.utils import fuse_conv_bn_eval

from latentlab.contracts import ImageShape
from latentlab.optim.adam import adam_linear_decay
from latentlab.transforms.augmentation import random_translation

LOCAL_BLOCKS = 3  # layers of the trunk up to the end of the second block
LOCAL_SIDE = 2  # cells along each side, over which the second block is averaged


def _block(fan_in: int, fan_out: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(fan_in, fan_out, 3, padding=1, bias=False),
        nn.BatchNorm2d(fan_out),
        nn.ReLU(inplace=True),
    )


class Classifier(LightningModule):
    """`width`: channels of the first layer. `num_classes` 0: data without labels.

    `lr`: Adam's learning rate, decays linearly to 0.
    """

    family = "classifier"
    feature_scale: Tensor

    def __init__(
        self, image_shape: ImageShape, *, num_classes: int, width: int = 32, lr: float = 2e-3
    ) -> None:
        super().__init__()
        channels, height, _ = image_shape
        self.num_classes, self.lr, self.max_shift = num_classes, lr, height // 10
        self.trunk = nn.Sequential(
            _block(channels, width),
            nn.MaxPool2d(2),
            _block(width, 2 * width),
            nn.AdaptiveMaxPool2d(max(height // 4, 1)),
            _block(2 * width, 2 * width),
            nn.AdaptiveAvgPool2d(4),
            nn.Flatten(),
            nn.Linear(2 * width * 16, 128),
            nn.ReLU(),
        )
        self.head = nn.Linear(128, max(num_classes, 1))
        self.register_buffer("feature_scale", torch.ones(()))

    @torch.no_grad()
    def fit_feature_scale(self, x: Tensor) -> None:
        """Set the scale of `local_features` by images x (N, C, H, W): mean variance 1 over them.

        So distances do not depend on the size of the weights, and an untrained network, whose
        outputs are tiny, has distances of the same order. Images that are all equal keep the scale.
        """
        parts = [self.local_features(part).double() for part in x.split(500)]
        variance = torch.cat(parts).var(0).mean() / self.feature_scale.double() ** 2
        if variance > 0:
            self.feature_scale.fill_(float(variance.rsqrt()))

    def frozen(self) -> Self:
        """A copy for inference, equal but for rounding, in half of the time on a CPU.

        Batch normalization, which is an affine map here, is part of the convolutions, and the
        memory layout of images is NHWC.
        """
        copy = deepcopy(self).eval()
        blocks: list[Any] = [part for part in copy.trunk if isinstance(part, nn.Sequential)]
        for block in blocks:
            block[0], block[1] = fuse_conv_bn_eval(block[0], block[1]), nn.Identity()
        return copy.requires_grad_(False).to(memory_format=torch.channels_last)

    def local_features(self, x: Tensor) -> Tensor:
        """Images (B, C, H, W) → 2×2 means of the second block, (B, 8 · width), scaled."""
        return self._local(self.trunk[:LOCAL_BLOCKS](x))

    def both_features(self, x: Tensor) -> Tensor:
        """`local_features` and behind them `features`, (B, 8 · width + 128), in one pass."""
        h = self.trunk[:LOCAL_BLOCKS](x)
        return torch.cat([self._local(h), self.trunk[LOCAL_BLOCKS:](h)], 1)

    def _local(self, h: Tensor) -> Tensor:
        return F.adaptive_avg_pool2d(h, LOCAL_SIDE).flatten(1) * self.feature_scale

    def features(self, x: Tensor) -> Tensor:
        return self.trunk(x)  # (B, 128)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.trunk(x))  # (B, num_classes)

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> dict[str, Tensor]:
        x, y = batch
        return self.loss(random_translation(x, self.max_shift), y)

    def validation_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> dict[str, Tensor]:
        return self.loss(*batch)

    def loss(self, x: Tensor, y: Tensor) -> dict[str, Tensor]:
        logits = self(x)
        accuracy = (logits.argmax(1) == y).float().mean()
        return {"loss": F.cross_entropy(logits, y), "accuracy": accuracy}

    def configure_optimizers(self) -> Any:
        return adam_linear_decay(self, lr=self.lr)
