"""Principal component analysis: the best linear autoencoder, and the baseline of all models.

Of all affine codes of size k, x̂ = mean + V_k V_kᵀ (x − mean) has the least summed squared error
on the data to which it was fitted (Eckart & Young 1936; Baldi & Hornik 1989 for linear
autoencoders).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from latentlab.contracts import Family, ImageShape, Split
from latentlab.utils.errors import LatentlabError

MAX_COVARIANCE_PIXELS = 4096  # a covariance of 4096² float64 takes 134 MB
GRAM_IMAGES = 2048
# Sums of products of integers 0…255 over 256 rows stay below 2²⁴, so they are exact in float32. The
# covariance has no rounding error, does not depend on the order, and is twice as fast as float64.
_EXACT_ROWS = 256


@dataclass(frozen=True)
class PCA:
    """`mean` (P,), orthonormal `components` (P, K), descending `variances` (K,); all float64.

    P = C·H·W pixel values in [0, 1]. Variances are unbiased, in squared pixel units. The entry of
    largest magnitude of each component is positive. This fixes the sign of the component.
    """

    mean: Tensor
    components: Tensor
    variances: Tensor

    @classmethod
    def fit(cls, split: Split, *, max_components: int | None = None) -> PCA:
        """Fit the images of `split`. Keep at most `max_components` (default: all).

        Up to 4096 pixel values, PCA is exact: it uses the covariance of all images, read in
        blocks. Above, it is the exact PCA of at most 2048 evenly spaced images, from their Gram
        matrix, with at most 2047 components. Nothing is random.

        Raises:
            LatentlabError: images are not uint8, fewer than 2, or all equal (above 4096 pixel
                values), or `max_components` < 1.
        """
        images = split.images
        if images.dtype != torch.uint8 or len(images) < 2:
            raise LatentlabError(
                f"PCA got {len(images)} images of {images.dtype}. At least 2 images of uint8 are "
                "needed. Fit it to a larger training split."
            )
        if max_components is not None and max_components < 1:
            raise LatentlabError(
                f"max_components is {max_components}. It must be at least 1. Use None for all."
            )
        pixels = images[0].numel()
        limit = min(max_components or pixels, pixels, len(images) - 1)
        compute = _from_covariance if pixels <= MAX_COVARIANCE_PIXELS else _from_gram
        mean, components, variances = compute(images, limit)
        peak = components.gather(0, components.abs().argmax(dim=0, keepdim=True))  # (1, K)
        return cls(mean, components * peak.sign(), variances)

    def encode(self, x: Tensor, *, k: int | None = None) -> Tensor:
        """Images (B, C, H, W) or (B, P) in [0, 1] → codes (B, k), in the dtype of x.

        `k`: number of components (default: all K).

        Raises:
            LatentlabError: another number of pixels, or k outside 1…K.
        """
        components = self.components[:, : self._checked(k)].to(x)
        if x[0].numel() != len(self.mean):
            raise LatentlabError(
                f"Images have {x[0].numel()} pixels, PCA was fitted to {len(self.mean)}. Both must "
                "be equal. Encode images of the fitted shape."
            )
        return (x.flatten(1) - self.mean.to(x)) @ components

    def decode(self, z: Tensor) -> Tensor:
        """Codes (B, k) for any k ≤ K → flat images (B, P), not clipped, in the dtype of z."""
        return z @ self.components[:, : self._checked(z.shape[1])].T.to(z) + self.mean.to(z)

    def _checked(self, k: int | None) -> int:
        available = self.components.shape[1]
        k = available if k is None else k
        if not 1 <= k <= available:
            raise LatentlabError(
                f"The PCA code size is {k}. Allowed is 1…{available}. Choose a smaller code or fit "
                "more components."
            )
        return k


class PCACoder:
    """A fitted PCA with the methods of contracts.Encoder and contracts.LinearDecoder, code size D.

    `encode` (B, C, H, W) → (B, D); `decode` (B, D) → (B, C, H, W) clipped to [0, 1]. The features
    are the codes.

    Raises:
        LatentlabError: `latent_dim` or `image_shape` does not match the PCA.
    """

    family: Family = "AE"

    def __init__(self, pca: PCA, latent_dim: int, image_shape: ImageShape) -> None:
        if torch.Size(image_shape).numel() != len(pca.mean):
            raise LatentlabError(
                f"The image shape {image_shape} has {torch.Size(image_shape).numel()} pixels, PCA "
                f"was fitted to {len(pca.mean)}. Use the (C, H, W) of the fitted images."
            )
        self.latent_dim = pca._checked(latent_dim)
        self.image_shape = image_shape
        # cast once to float32, the dtype of images, instead of at every batch
        self.pca = PCA(
            pca.mean.float(), pca.components[:, :latent_dim].float(), pca.variances[:latent_dim]
        )

    def encode(self, x: Tensor) -> Tensor:
        return self.pca.encode(x)

    def decode(self, z: Tensor) -> Tensor:
        return self.pca.decode(z).clamp(0, 1).unflatten(1, self.image_shape)

    def features(self, x: Tensor) -> Tensor:
        return self.encode(x)

    def decoder_basis(self) -> tuple[Tensor, Tensor]:
        return self.pca.components, self.pca.mean


def principal_angles(basis_a: Tensor, basis_b: Tensor) -> Tensor:
    """Angles in radians, ascending in [0, π/2], between the column spans of (P, A) and (P, B).

    min(A, B) angles, float64. Cosines are precise for large angles and sines for small angles
    (Björck & Golub 1973, "Numerical methods for computing angles between linear subspaces").

    Raises:
        LatentlabError: different P, or columns that are not linearly independent.
    """
    if basis_a.ndim != 2 or basis_b.ndim != 2 or len(basis_a) != len(basis_b):
        raise LatentlabError(
            f"Bases have shapes {tuple(basis_a.shape)} and {tuple(basis_b.shape)}. Both must be "
            "(P, columns) with the same P. Use models of one image shape."
        )
    a, b = sorted((_orthonormal(basis_a), _orthonormal(basis_b)), key=lambda q: -q.shape[1])
    overlap = a.T @ b
    cosines = torch.linalg.svdvals(overlap).clamp(max=1)  # descending
    sines = torch.linalg.svdvals(b - a @ overlap).clamp(max=1).flip(0)  # ascending
    return torch.where(cosines**2 < 0.5, cosines.acos(), sines.asin())


def _orthonormal(basis: Tensor) -> Tensor:
    u, s, _ = torch.linalg.svd(basis.detach().to(torch.float64), full_matrices=False)
    rank = int((s > s.max() * max(basis.shape) * torch.finfo(s.dtype).eps).sum())
    if rank < basis.shape[1] or rank == 0:
        raise LatentlabError(
            f"A basis of shape {tuple(basis.shape)} has rank {rank}. Its columns must be linearly "
            "independent. Dead codes of the decoder reduce the rank: use a smaller latent_dim."
        )
    return u


def _from_covariance(images: Tensor, limit: int) -> tuple[Tensor, Tensor, Tensor]:
    """Mean, first `limit` components (of any sign) and variances, from the covariance."""
    pixels, count = images[0].numel(), len(images)
    total = torch.zeros(pixels, dtype=torch.float64)
    moments = torch.zeros(pixels, pixels, dtype=torch.float64)
    for block in images.split(_EXACT_ROWS):
        rows = block.flatten(1).to(torch.float32)
        total += rows.sum(dim=0)
        moments += rows.T @ rows
    cov = (moments - torch.outer(total, total) / count) / (count - 1) / 255**2
    variances, components = torch.linalg.eigh(cov)  # ascending
    components, variances = components.flip(1)[:, :limit], variances.flip(0)[:limit]
    return total / count / 255, components, variances.clamp_min(0)


def _from_gram(images: Tensor, limit: int) -> tuple[Tensor, Tensor, Tensor]:
    """Mean, components and variances of a subset of n images, from its Gram matrix (n, n)."""
    count = min(GRAM_IMAGES, len(images))
    chosen = torch.linspace(0, len(images) - 1, count, dtype=torch.float64).round().long()
    subset = images[chosen].flatten(1)
    mean = subset.mean(dim=0, dtype=torch.float64)

    def centred() -> Iterator[Tensor]:  # blocks of pixels: float64 takes 8 times the bytes of uint8
        for part, part_mean in zip(subset.split(4096, dim=1), mean.split(4096), strict=True):
            yield (part.to(torch.float64) - part_mean) / 255

    gram = torch.zeros(count, count, dtype=torch.float64)
    for x in centred():
        gram += x @ x.T
    values, vectors = torch.linalg.eigh(gram)  # ascending
    keep = values > values[-1] * count * torch.finfo(values.dtype).eps
    if not keep.any():
        raise LatentlabError("All images are equal. PCA needs images that differ. Check the data.")
    values, vectors = values[keep].flip(0)[:limit], vectors[:, keep].flip(1)[:, :limit]
    components = torch.cat([x.T @ vectors for x in centred()])
    # exact columns would be orthogonal; QR makes them so, and gives them length 1
    return mean / 255, torch.linalg.qr(components).Q, values / (count - 1)
