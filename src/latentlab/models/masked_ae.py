"""Masked autoencoder: to fill in three quarters of an image, one must know what it shows.

    min Σ_{pixels of hidden patches} (x̂ − x)² + Σ_pixels (decode(encode(x)) − x)²
    x̂ = σ(decoder(encoder(visible patches), mask tokens elsewhere)),   a quarter is visible
    encode(x) = S encoder(all patches),   decode(z) = σ(R(z)) patch by patch

The encoder spends nothing on what is hidden, and the decoder is light: a learned mask token stands
where nothing was seen. Features are the encoder's tokens of the whole image, averaged to 4×4.

Nobody asks that decoder for a patch that was seen, so it cannot draw a whole image from a code.
To stand under the same yardstick as every autoencoder there is a readout beside it: S keeps a few
numbers of each token, R draws the patch from them. Its error is taken on a part of each batch, and
the encoder learns from it too: it then sees whole images in training, not quarters alone.

He et al. 2022, "Masked autoencoders are scalable vision learners"; the second sum is not theirs.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from lightning import LightningModule
from torch import Tensor, nn

from latentlab.contracts import ImageShape
from latentlab.losses.likelihoods import squared_error
from latentlab.nets.mlp import mlp
from latentlab.nets.vit import (
    PatchDecoder,
    PatchEncoder,
    Positions,
    patch_side,
    patchify,
    unpatchify,
)
from latentlab.optimizers import adam_linear_decay

READ_OUT = 8  # one image in so many of a batch is also seen whole, for the second sum


class MaskedAE(LightningModule):
    """`patch` None: 2, 4, 4, 8 px for images of 8, 28, 32, 64 px (see `nets.vit.patch_side`).

    `width`: numbers of a token, None for 16 per pixel of a patch's side; the decoder has half of
    it. `code`: numbers of z per patch, None for a quarter of its pixels but at most 3. `lr`:
    Adam's rate, falling linearly to 0.
    """

    family = "AE"

    def __init__(
        self,
        image_shape: ImageShape,
        *,
        mask_ratio: float = 0.75,
        patch: int | None = None,
        width: int | None = None,
        depth: int = 4,
        decoder_depth: int = 1,
        code: int | None = None,
        positions: Positions = "sincos",
        lr: float = 2e-3,
    ) -> None:
        super().__init__()
        channels, height, columns = image_shape
        self.side = side = patch_side(image_shape, patch)
        grid = (height // side, columns // side)
        self.image_shape, self.grid, self.lr = image_shape, grid, lr
        self.patches = grid[0] * grid[1]  # N
        self.visible = _visible(self.patches, mask_ratio)  # V
        numbers, width = channels * side * side, width or 16 * side  # P, W
        self.code = code or max(1, min(3, numbers // 4))
        self.latent_dim = self.patches * self.code
        self.encoder = PatchEncoder(grid, numbers, width, depth=depth, positions=positions)
        self.decoder = PatchDecoder(
            grid, width, numbers, width // 2, depth=decoder_depth, positions=positions
        )
        self.squeeze = nn.Linear(width, self.code)  # S
        self.readout = mlp([self.code, width, numbers], activation="gelu")  # R

    def to_patches(self, x: Tensor) -> Tensor:
        return patchify(x, self.side)  # (B, N, P)

    def to_image(self, patches: Tensor) -> Tensor:
        return unpatchify(patches, self.image_shape, self.side)  # (B, C, H, W)

    def encode(self, x: Tensor) -> Tensor:
        return self.squeeze(self.encoder(self.to_patches(x))).flatten(1)  # (B, D)

    def decode(self, z: Tensor) -> Tensor:
        patches = self.readout(z.unflatten(1, (self.patches, self.code))).sigmoid()  # (B, N, P)
        return self.to_image(patches)

    def features(self, x: Tensor) -> Tensor:
        """Tokens with their places: one mean over all cost 6 points of the probe on MNIST."""
        tokens = self.encoder(self.to_patches(x)).transpose(1, 2)  # (B, W, N)
        return F.adaptive_avg_pool2d(tokens.unflatten(2, self.grid), 4).flatten(1)  # (B, 16 W)

    def draw_visible(self, x: Tensor) -> Tensor:
        """Places (B, V) of the patches left visible, a random set for each image, uniformly."""
        scores = torch.rand(len(x), self.patches, device=x.device)
        return scores.argsort(1)[:, : self.visible]

    def fill_in(self, x: Tensor, visible: Tensor) -> Tensor:
        """Patches (B, N, P) in [0, 1] from those of x (B, C, H, W) at the places `visible`."""
        patches = self.to_patches(x)
        seen = patches.gather(1, visible[..., None].expand(-1, -1, patches.shape[2]))
        return self.decoder(self.encoder(seen, visible), visible).sigmoid()

    def masked_error(self, x: Tensor, visible: Tensor) -> Tensor:
        """Squared error summed over the hidden pixels, (B,)."""
        error = (self.fill_in(x, visible) - self.to_patches(x)).square().sum(2)  # (B, N)
        return error.scatter(1, visible, 0.0).sum(1)

    def readout_error(self, x: Tensor) -> Tensor:
        """Squared error of decode(encode(x)), (B,)."""
        return squared_error(self.decode(self.encode(x)), x)

    def loss(self, x: Tensor, whole: Tensor) -> dict[str, Tensor]:
        sse_masked = self.masked_error(x, self.draw_visible(x)).mean()
        sse = self.readout_error(whole).mean()
        return {"loss": sse_masked + sse, "sse_masked": sse_masked, "sse": sse}

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> dict[str, Tensor]:
        x, _ = batch
        return self.loss(x, x[: max(1, len(x) // READ_OUT)])

    def validation_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> dict[str, Tensor]:
        return self.loss(batch[0], batch[0])

    def configure_optimizers(self) -> Any:
        steps = int(self.trainer.estimated_stepping_batches)
        return adam_linear_decay(self.parameters(), self.lr, total_steps=steps)


def _visible(patches: int, mask_ratio: float) -> int:
    """How many of N patches stay visible; ValueError unless some do and some do not."""
    visible = round(patches * (1 - mask_ratio))
    if not 1 <= visible < patches:
        raise ValueError(
            f"mask_ratio {mask_ratio} leaves {visible} of {patches} patches visible: choose it"
            f" between {0.5 / patches:.3f} and {1 - 0.5 / patches:.3f}, such as 0.75"
        )
    return visible
