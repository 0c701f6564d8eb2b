"""Principal components: the best linear autoencoder, the baseline beside every learned one.

Of all affine codes of size k, x̂ = mean + V_k V_kᵀ (x − mean) has the least summed squared error
on the data it was fitted to (Eckart & Young 1936; Baldi & Hornik 1989 for linear autoencoders).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from latentlab.contracts import ImageShape, LatentlabError, Split

MAX_COVARIANCE_PIXELS = 4096  # above: 4096² float64 and its eigenvectors stop being small
GRAM_IMAGES = 2048
# Sums of products of integers 0…255 over 256 rows stay below 2²⁴, so float32 holds them exactly:
# the covariance has no rounding, at twice the speed of float64, and its order cannot matter.
_EXACT_ROWS = 256


@dataclass(frozen=True)
class PCA:
    """`mean` (P,), orthonormal `components` (P, K), `variances` (K,) falling; all float64.

    P = C·H·W pixels in [0, 1]; variances are unbiased, in squared pixel units. Each component's
    entry of largest magnitude is positive, which fixes its sign.
    """

    mean: Tensor
    components: Tensor
    variances: Tensor

    @classmethod
    def fit(cls, split: Split, *, max_components: int | None = None) -> PCA:
        """Fit the images of `split`, keeping at most `max_components` (default: all there are).

        Up to 4096 pixels: exact, from the covariance of all images, streamed in blocks. Above:
        the exact PCA of at most 2048 evenly spaced images through their Gram matrix, so an
        approximation when there are more, and at most 2047 components. No randomness. Raises
        LatentlabError for images that are not uint8, fewer than 2, or all the same (above 4096
        pixels), and for max_components < 1.
        """
        images = split.images
        if images.dtype != torch.uint8 or len(images) < 2:
            raise LatentlabError(
                f"PCA got {len(images)} images of {images.dtype}: at least 2 images of uint8 are "
                "needed; fit it to a larger training split"
            )
        if max_components is not None and max_components < 1:
            raise LatentlabError(f"max_components is {max_components}: it must be at least 1")
        pixels = images[0].numel()
        limit = min(max_components or pixels, pixels, len(images) - 1)
        compute = _from_covariance if pixels <= MAX_COVARIANCE_PIXELS else _from_gram
        mean, components, variances = compute(images, limit)
        peak = components.gather(0, components.abs().argmax(dim=0, keepdim=True))  # (1, K)
        return cls(mean, components * peak.sign(), variances)

    def encode(self, x: Tensor, *, k: int | None = None) -> Tensor:
        """Images (B, C, H, W) or (B, P) in [0, 1] → the first k codes (B, k), in x's dtype."""
        components = self.components[:, : self._checked(k)].to(x)
        if x[0].numel() != len(self.mean):
            raise LatentlabError(
                f"images have {x[0].numel()} pixels, PCA was fitted to {len(self.mean)}: encode "
                "images of the fitted shape"
            )
        return (x.flatten(1) - self.mean.to(x)) @ components

    def decode(self, z: Tensor) -> Tensor:
        """Codes (B, k) for any k ≤ K → images flat (B, P), not clipped, in z's dtype."""
        return z @ self.components[:, : self._checked(z.shape[1])].T.to(z) + self.mean.to(z)

    def _checked(self, k: int | None) -> int:
        available = self.components.shape[1]
        k = available if k is None else k
        if not 1 <= k <= available:
            raise LatentlabError(
                f"PCA code size {k}: allowed is 1…{available}; choose a smaller code or fit more "
                "components"
            )
        return k


class PCACoder:
    """A fitted PCA as a model (contracts.Autoencoder, contracts.LinearDecoder), code size D.

    `encode` (B, C, H, W) → (B, D); `decode` (B, D) → (B, C, H, W) clipped to [0, 1]; the features
    are the codes. Raises LatentlabError if `latent_dim` or `image_shape` does not fit the PCA.
    """

    def __init__(self, pca: PCA, latent_dim: int, image_shape: ImageShape) -> None:
        if torch.Size(image_shape).numel() != len(pca.mean):
            raise LatentlabError(
                f"image shape {image_shape} has {torch.Size(image_shape).numel()} pixels, PCA was "
                f"fitted to {len(pca.mean)}: give the fitted images' (C, H, W)"
            )
        self.latent_dim = pca._checked(latent_dim)
        self.image_shape = image_shape
        # float32 once, here: the images' precision, and no cast of the components at every batch
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

    min(A, B) angles, float64. Cosines resolve large angles and sines small ones, so angles down
    to rounding are exact (Björck & Golub 1973). Raises LatentlabError if the bases have
    different P or columns that are not linearly independent.
    """
    if basis_a.ndim != 2 or basis_b.ndim != 2 or len(basis_a) != len(basis_b):
        raise LatentlabError(
            f"bases of shape {tuple(basis_a.shape)} and {tuple(basis_b.shape)}: both must be "
            "(P, columns) with the same P"
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
            f"a basis of shape {tuple(basis.shape)} has rank {rank}: its columns must be linearly "
            "independent (a decoder with dead codes spans less than it seems)"
        )
    return u


def _from_covariance(images: Tensor, limit: int) -> tuple[Tensor, Tensor, Tensor]:
    """Mean, the first `limit` components (signs open) and variances, from all second moments."""
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
    """The same for wide images: of a subset, through its inner products (n, n)."""
    count = min(GRAM_IMAGES, len(images))
    chosen = torch.linspace(0, len(images) - 1, count, dtype=torch.float64).round().long()
    subset = images[chosen].flatten(1)
    mean = subset.mean(dim=0, dtype=torch.float64)

    def centred() -> Iterator[Tensor]:  # a slice of pixels at a time: float64 is 8× uint8
        for part, part_mean in zip(subset.split(4096, dim=1), mean.split(4096), strict=True):
            yield (part.to(torch.float64) - part_mean) / 255

    gram = torch.zeros(count, count, dtype=torch.float64)
    for x in centred():
        gram += x @ x.T
    values, vectors = torch.linalg.eigh(gram)  # ascending
    keep = values > values[-1] * count * torch.finfo(values.dtype).eps
    if not keep.any():
        raise LatentlabError("all images are the same: PCA needs images that differ")
    values, vectors = values[keep].flip(0)[:limit], vectors[:, keep].flip(1)[:, :limit]
    components = torch.cat([x.T @ (vectors / values.sqrt()) for x in centred()])
    # QR mends the orthogonality that division by a small singular value loses
    return mean / 255, torch.linalg.qr(components).Q, values / (count - 1)
