"""Vision transformer: self-attention over square patches of an image.

Dosovitskiy et al. 2021, "An image is worth 16×16 words". `PatchEncoder` and `PatchDecoder` are the
two networks of a masked autoencoder: the encoder gets some of the patches, the decoder predicts
all of them. B images, N patches of P = C · patch_size² values, V visible patches, W = width.
"""

from __future__ import annotations

import math
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from latentlab.contracts import ImageShape

PositionEmbedding = Literal["sincos", "learned"]
LARGEST_GRID = 8  # most patches along the longer side, where no patch size is given


def choose_patch_size(image_shape: ImageShape, patch_size: int | None = None) -> int:
    """Return `patch_size`, or without it the smallest one that gives at most 8×8 patches, in px.

    8 → 2, 28 → 4, 32 → 4, 64 → 8. Raises ValueError if `patch_size`, or any size ≥ 2 px, does not
    divide the image into 2×2 patches or more.
    """
    _, height, width = image_shape
    common = math.gcd(height, width)
    divisors = [p for p in range(2, min(height, width) // 2 + 1) if common % p == 0]
    if patch_size is None and divisors:
        small = [p for p in divisors if max(height, width) // p <= LARGEST_GRID]
        return small[0] if small else divisors[-1]
    if patch_size is None or patch_size not in divisors:
        raise ValueError(
            f"patches of {patch_size or 'any'} px do not divide {height}×{width} pixels into 2×2 or"
            f" more: choose one of {divisors or 'none'}, or another data.size"
        )
    return patch_size


def patchify(x: Tensor, patch_size: int) -> Tensor:
    """Images (B, C, H, W) → patches (B, N, P), row by row; each patch in the order C, y, x.

    Equals torch.nn.functional.unfold with kernel and stride `patch_size`, transposed.
    """
    batch, channels, height, width = x.shape
    side = patch_size
    tiles = x.reshape(batch, channels, height // side, side, width // side, side)
    return tiles.permute(0, 2, 4, 1, 3, 5).flatten(3).flatten(1, 2)


def unpatchify(patches: Tensor, image_shape: ImageShape, patch_size: int) -> Tensor:
    """The inverse of `patchify`: patches (B, N, P) → images (B, C, H, W)."""
    channels, height, width = image_shape
    side = patch_size
    tiles = patches.reshape(-1, height // side, width // side, channels, side, side)
    return tiles.permute(0, 3, 1, 4, 2, 5).reshape(-1, channels, height, width)


def sincos_positions(rows: int, columns: int, width: int) -> Tensor:
    """Fixed embeddings (rows · columns, width): one half encodes the row, one half the column.

    Each half is [sin(p ω_k), cos(p ω_k)] with ω_k = 10000^(−k / (width/4)), k = 0 … width/4 − 1
    (Vaswani et al. 2017, section 3.5, once for each axis). Raises ValueError unless 4 divides
    `width`.
    """
    if width % 4:
        raise ValueError(f"sin-cos positions need a width that 4 divides, got {width}")
    omega = 10000.0 ** (-torch.arange(width // 4, dtype=torch.float64) / (width // 4))
    y, x = torch.meshgrid(torch.arange(rows), torch.arange(columns), indexing="ij")
    angles = [position.reshape(-1, 1) * omega for position in (y, x)]  # (N, width/4) each
    return torch.cat([f(angle) for angle in angles for f in (torch.sin, torch.cos)], 1).float()


class Block(nn.Module):
    """Tokens (B, N, W) → (B, N, W): self-attention, then an MLP on each token.

    Both are residual, with layer normalization of their input (Dosovitskiy et al. 2021, eqs. 2–3).
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


def count_heads(width: int) -> int:
    """The most heads that divide `width` into parts of 16 values or more: 8 for 128, 4 for 88."""
    return max(heads for heads in range(1, max(1, width // 16) + 1) if width % heads == 0)


class _Transformer(nn.Module):
    """`depth` blocks, layer normalization, and an embedding for each position of the grid."""

    positions: Tensor  # (N, W)

    def __init__(
        self, grid: tuple[int, int], width: int, *, depth: int, pos_embed: PositionEmbedding
    ) -> None:
        super().__init__()
        heads = count_heads(width)
        self.blocks = nn.Sequential(*(Block(width, heads=heads) for _ in range(depth)))
        self.norm = nn.LayerNorm(width)
        if pos_embed == "sincos":
            self.register_buffer("positions", sincos_positions(*grid, width))
        else:
            self.positions = nn.Parameter(0.02 * torch.randn(grid[0] * grid[1], width))


class PatchEncoder(_Transformer):
    """Patches (B, V, P) with indices (B, V), None: all patches in order → tokens (B, V, W)."""

    def __init__(
        self,
        grid: tuple[int, int],
        patch_values: int,
        *,
        width: int,
        depth: int,
        pos_embed: PositionEmbedding,
    ) -> None:
        super().__init__(grid, width, depth=depth, pos_embed=pos_embed)
        self.embed = nn.Linear(patch_values, width)

    def forward(self, patches: Tensor, indices: Tensor | None = None) -> Tensor:
        # embedding, not indexing: the gradient is the same on any number of CPU threads
        positions = self.positions if indices is None else F.embedding(indices, self.positions)
        return self.norm(self.blocks(self.embed(patches) + positions))


class PatchDecoder(_Transformer):
    """Tokens (B, V, E) with indices (B, V), None: all in order → logits of all patches (B, N, P).

    Every other token is the mask token, one learned vector (He et al. 2022, section 3).
    `token_values` is E.
    """

    def __init__(
        self,
        grid: tuple[int, int],
        token_values: int,
        patch_values: int,
        *,
        width: int,
        depth: int,
        pos_embed: PositionEmbedding,
    ) -> None:
        super().__init__(grid, width, depth=depth, pos_embed=pos_embed)
        self.embed, self.head = nn.Linear(token_values, width), nn.Linear(width, patch_values)
        self.mask_token = nn.Parameter(0.02 * torch.randn(width))

    def forward(self, tokens: Tensor, indices: Tensor | None = None) -> Tensor:
        h = self.embed(tokens)
        if indices is not None:
            masked = self.mask_token.expand(len(h), len(self.positions), -1)
            index = indices[..., None].expand_as(h)
            h = masked.scatter(1, index, h.to(masked.dtype))  # under autocast h has half precision
        return self.head(self.norm(self.blocks(h + self.positions)))
