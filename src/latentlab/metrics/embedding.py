"""Two-dimensional maps of features, for the eye only."""

from __future__ import annotations

import torch
from torch import Tensor


def tsne(features: Tensor, *, seed: int = 0) -> Tensor:
    """t-SNE (van der Maaten & Hinton 2008) of features (N, F) → (N, 2), from a PCA start.

    Fewer than 5 points, or features without variance, are too few to map: zeros come back.
    """
    from sklearn.decomposition import PCA
    from sklearn.manifold import TSNE

    if len(features) < 5 or float(features.var(0).sum()) == 0:
        return torch.zeros(len(features), 2)
    if features.shape[1] == 1:  # PCA must start from a plane: on a line, no point can pass another
        noise = torch.randn(features.shape, generator=torch.Generator().manual_seed(seed))
        features = torch.cat([features, 0.01 * features.std() * noise], dim=1)
    points = features.double().numpy()
    if points.shape[1] > 50:
        points = PCA(min(50, len(points)), random_state=seed).fit_transform(points)
    perplexity = min(30.0, (len(points) - 1) / 3)
    map_ = TSNE(perplexity=perplexity, max_iter=500, init="pca", random_state=seed)
    return torch.from_numpy(map_.fit_transform(points)).float()
