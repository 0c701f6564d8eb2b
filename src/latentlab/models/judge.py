"""The judge: a small convolutional classifier, the same eyes for every model's images.

Its accuracy on reconstructions says whether the class survived; its penultimate layer (128
numbers) is the space in which the Fréchet distance is measured, as Inception's is for natural
images (Heusel et al. 2017), but made for small grey ones. Cross-entropy, Adam, images shifted by up
to a tenth of their side at random. Without labels it stays as initialised: random features still
rank samples (Naeem et al. 2020, section 5), and the reports call them `random`.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from lightning import LightningModule
from torch import Tensor, nn

from latentlab.contracts import ImageShape
from latentlab.optimizers import adam_linear_decay


def _block(fan_in: int, fan_out: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(fan_in, fan_out, 3, padding=1, bias=False),
        nn.BatchNorm2d(fan_out),
        nn.ReLU(inplace=True),
    )


def shift(x: Tensor, reach: int) -> Tensor:
    """Each image moved by up to `reach` pixels both ways, zeros coming in: (B, C, H, W)."""
    if reach == 0:
        return x
    batch, _, height, width = x.shape
    padded = F.pad(x, (reach,) * 4)
    dy, dx = torch.randint(0, 2 * reach + 1, (2, batch, 1), device=x.device)
    rows = dy + torch.arange(height, device=x.device)  # (B, H)
    columns = dx + torch.arange(width, device=x.device)  # (B, W)
    every = torch.arange(batch, device=x.device)[:, None, None]
    return padded.movedim(1, 3)[every, rows[:, :, None], columns[:, None, :]].movedim(3, 1)


class Judge(LightningModule):
    """`width`: channels of the first layer; `num_classes` 0 means that nothing can be learned."""

    family = "judge"

    def __init__(
        self, image_shape: ImageShape, *, num_classes: int, width: int = 32, lr: float = 2e-3
    ) -> None:
        super().__init__()
        channels, height, _ = image_shape
        self.num_classes, self.lr, self.reach = num_classes, lr, height // 10
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

    def features(self, x: Tensor) -> Tensor:
        return self.trunk(x)  # (B, 128)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.trunk(x))  # (B, num_classes)

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> dict[str, Tensor]:
        x, y = batch
        return self.loss(shift(x, self.reach), y)

    def validation_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> dict[str, Tensor]:
        return self.loss(*batch)

    def loss(self, x: Tensor, y: Tensor) -> dict[str, Tensor]:
        logits = self(x)
        accuracy = (logits.argmax(1) == y).float().mean()
        return {"loss": F.cross_entropy(logits, y), "accuracy": accuracy}

    def configure_optimizers(self) -> Any:
        steps = int(self.trainer.estimated_stepping_batches)
        return adam_linear_decay(self.parameters(), self.lr, total_steps=steps)
