"""One small model for each class, fitted to the images of this class only."""

from __future__ import annotations

from torch import Tensor

from latentlab.contracts import Split, to_float
from latentlab.losses.reconstruction import squared_error
from latentlab.metrics.pca import PCA
from latentlab.tasks.common.autoencoder import SmallAutoencoder, fit_autoencoder
from latentlab.tasks.common.requirements import labels_of
from latentlab.utils.errors import LatentlabError


def of_class(split: Split, label: int) -> Split:
    """The images of one class. Raises LatentlabError if there are fewer than 2."""
    labels = labels_of(split)
    chosen = labels == label
    if int(chosen.sum()) < 2:
        raise LatentlabError(
            f"class {label} has {int(chosen.sum())} training images: at least 2 are needed. Use"
            " more images, or data without this class"
        )
    return Split(split.images[chosen], labels[chosen])


def fit_class_autoencoder(
    train: Split,
    *,
    hidden: int,
    latent_dim: int | None,
    steps: int,
    lr: float,
    seed: int,
    batch_size: int = 128,
) -> SmallAutoencoder:
    """Fit a P-`hidden`-D-`hidden`-P autoencoder to the images of `train` with P pixels.

    D = `latent_dim`; None: 16, or P / 8 if P / 8 is smaller.
    """
    x = to_float(train.images).flatten(1)
    widths = [hidden, latent_dim or min(16, x.shape[1] // 8)]
    return fit_autoencoder(x, widths, steps=steps, batch_size=batch_size, lr=lr, seed=seed)


def pca_sse(train: Split, num_components: int, x: Tensor) -> Tensor:
    """Σ_pixels (x̂ − x)², (N,), of flat images x (N, P). x̂: from the PCA of `train`, not clipped."""
    pca = PCA.fit(train, max_components=num_components)
    return squared_error(pca.decode(pca.encode(x)), x)
