"""Vision transformers: an image as a sequence of square patches that attend to each other.

Dosovitskiy et al. 2021, "An image is worth 16×16 words"; here in the two halves that a masked
autoencoder needs: an encoder that may see only some patches, a decoder that fills in the rest.
"""

from __future__ import annotations

import math
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

Positions = Literal["sincos", "learned"]
LARGEST_GRID = 8  # patches along the longer side, unless a patch size is given


def patch_side(image_shape: tuple[int, int, int], patch: int | None = None) -> int:
    """The side of a patch in pixels: `patch`, or the smallest that leaves at most 8×8 patches.

    8 → 2, 28 → 4, 32 → 4, 64 → 8. Raises ValueError where no patch ≥ 2 px divides the image into
    at least 2×2, or `patch` does not divide it.
    """
    _, height, width = image_shape
    common = math.gcd(height, width)
    divisors = [p for p in range(2, min(height, width) // 2 + 1) if common % p == 0]
    if patch is None and divisors:
        small = [p for p in divisors if max(height, width) // p <= LARGEST_GRID]
        return small[0] if small else divisors[-1]
    if patch is None or patch not in divisors:
        raise ValueError(
            f"patches of {patch or 'any'} px do not divide {height}×{width} pixels into 2×2 or"
            f" more: choose one of {divisors or 'none'}, or another data.size"
        )
    return patch


def patchify(x: Tensor, side: int) -> Tensor:
    """Images (B, C, H, W) → patches (B, N, C·side²), row by row; each patch in the order C, y, x.

    The same numbers as torch.nn.functional.unfold with kernel and stride `side`, transposed.
    """
    batch, channels, height, width = x.shape
    tiles = x.reshape(batch, channels, height // side, side, width // side, side)
    return tiles.permute(0, 2, 4, 1, 3, 5).reshape(batch, -1, channels * side * side)


def unpatchify(patches: Tensor, image_shape: tuple[int, int, int], side: int) -> Tensor:
    """The inverse of `patchify`: patches (B, N, C·side²) → images (B, C, H, W)."""
    channels, height, width = image_shape
    tiles = patches.reshape(-1, height // side, width // side, channels, side, side)
    return tiles.permute(0, 3, 1, 4, 2, 5).reshape(-1, channels, height, width)


def sincos_positions(rows: int, columns: int, width: int) -> Tensor:
    """Fixed positions (rows · columns, width): half of the numbers tell the row, half the column.

    Each half is [sin(p ω_k), cos(p ω_k)] with ω_k = 10000^(−k / (width/4)), k = 0 … width/4 − 1
    (Vaswani et al. 2017, section 3.5, once for each axis). Raises ValueError unless 4 divides
    `width`.
    """
    if width % 4:
        raise ValueError(f"sin-cos positions need a width that 4 divides, got {width}")
    omega = 10000.0 ** (-torch.arange(width // 4, dtype=torch.float64) / (width // 4))
    y, x = torch.meshgrid(torch.arange(rows), torch.arange(columns), indexing="ij")
    angles = [place.reshape(-1, 1) * omega for place in (y, x)]  # (N, width/4) each
    return torch.cat([f(angle) for angle in angles for f in (torch.sin, torch.cos)], 1).float()


class Block(nn.Module):
    """Tokens (B, N, W) → (B, N, W): attention, then a small network on each token.

    Both are residual and normalised at their entrance (Dosovitskiy et al. 2021, eqs. 2–3).
    """

    def __init__(self, width: int, *, heads: int, expansion: int = 4) -> None:
        super().__init__()
        if width % heads:
            raise ValueError(f"{heads} heads do not divide a width of {width}: choose a divisor")
        self.heads = heads
        self.norm_attention, self.norm_mlp = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.project = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.mlp = nn.Sequential(
            nn.Linear(width, expansion * width), nn.GELU(), nn.Linear(expansion * width, width)
        )

    def attend(self, tokens: Tensor) -> Tensor:
        """softmax(q kᵀ / √(W / heads)) v for each head."""
        qkv = self.qkv(tokens).unflatten(2, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        mixed = F.scaled_dot_product_attention(*qkv)  # (B, heads, N, W / heads)
        return self.project(mixed.transpose(1, 2).flatten(2))

    def forward(self, tokens: Tensor) -> Tensor:
        tokens = tokens + self.attend(self.norm_attention(tokens))
        return tokens + self.mlp(self.norm_mlp(tokens))


class _Transformer(nn.Module):
    """Blocks with a last normalisation, and a position for each place of the grid."""

    places: Tensor  # (N, W)

    def __init__(
        self, grid: tuple[int, int], width: int, *, depth: int, positions: Positions
    ) -> None:
        super().__init__()
        heads = max(1, width // 16)
        self.blocks = nn.Sequential(*(Block(width, heads=heads) for _ in range(depth)))
        self.norm = nn.LayerNorm(width)
        if positions == "sincos":
            self.register_buffer("places", sincos_positions(*grid, width))
        else:
            self.places = nn.Parameter(0.02 * torch.randn(grid[0] * grid[1], width))


class PatchEncoder(_Transformer):
    """Patches (B, V, P) and their places (B, V), None: all in order → tokens (B, V, W)."""

    def __init__(
        self,
        grid: tuple[int, int],
        numbers: int,
        width: int,
        *,
        depth: int,
        positions: Positions,
    ) -> None:
        super().__init__(grid, width, depth=depth, positions=positions)
        self.embed = nn.Linear(numbers, width)

    def forward(self, patches: Tensor, places: Tensor | None = None) -> Tensor:
        where = self.places if places is None else self.places[places]
        return self.norm(self.blocks(self.embed(patches) + where))


class PatchDecoder(_Transformer):
    """Codes (B, V, c) at their places (B, V), None: all in order → patch logits (B, N, P).

    Where no code is given stands the mask token, one learned vector (He et al. 2022, section 3).
    """

    def __init__(
        self,
        grid: tuple[int, int],
        code: int,
        numbers: int,
        width: int,
        *,
        depth: int,
        positions: Positions,
    ) -> None:
        super().__init__(grid, width, depth=depth, positions=positions)
        self.embed, self.head = nn.Linear(code, width), nn.Linear(width, numbers)
        self.mask_token = nn.Parameter(0.02 * torch.randn(width))

    def forward(self, codes: Tensor, places: Tensor | None = None) -> Tensor:
        tokens = self.embed(codes)
        if places is not None:
            every = self.mask_token.expand(len(codes), len(self.places), -1)
            where = places[..., None].expand_as(tokens)
            tokens = every.scatter(1, where, tokens.to(every.dtype))  # autocast halves tokens alone
        return self.head(self.norm(self.blocks(tokens + self.places)))
