"""Images altered at random while a model trains: more of them than the training set has."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def random_shift(x: Tensor, reach: int) -> Tensor:
    """Each image (B, C, H, W) moved by whole pixels in −reach … reach both ways; zeros come in.

    All (2·reach + 1)² moves are equally likely, drawn from torch's global generator. Raises
    ValueError for a reach that is negative or moves images out of sight.
    """
    batch, _, height, width = x.shape
    if not 0 <= reach < min(height, width):
        raise ValueError(f"a shift of {reach} pixels: allowed is 0 … {min(height, width) - 1}")
    if reach == 0:
        return x
    moves = torch.randint(0, 2 * reach + 1, (2, batch, 1), device=x.device)
    rows = moves[0] + torch.arange(height, device=x.device)  # (B, H), in the padded image
    columns = moves[1] + torch.arange(width, device=x.device)  # (B, W)
    images = torch.arange(batch, device=x.device)[:, None, None]
    padded = F.pad(x, (reach,) * 4).movedim(1, 3)
    return padded[images, rows[:, :, None], columns[:, None, :]].movedim(3, 1)
