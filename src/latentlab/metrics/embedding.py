"""t-SNE: two-dimensional maps of features, for plots only."""

from __future__ import annotations

import torch
from torch import Tensor


def tsne(features: Tensor, *, seed: int = 0) -> Tensor:
    """t-SNE of features (N, F), started from PCA: float32 (N, 2).

    van der Maaten & Hinton 2008, "Visualizing data using t-SNE". More than 50 features are first
    reduced to 50 by PCA. The perplexity is 30, or (N − 1) / 3 if this is less. For fewer than 5
    points, or features without variance, the result is all zeros.

    The gradient is approximated by the Barnes-Hut algorithm (van der Maaten 2014) with an angle of
    0.8. With scikit-learn's default of 0.5, the result is about as good and takes twice as long.
    """
    from sklearn.decomposition import PCA
    from sklearn.manifold import TSNE

    if len(features) < 5 or float(features.var(0).sum()) == 0:
        return torch.zeros(len(features), 2)
    if features.shape[1] == 1:
        # PCA of one feature starts on a line, on which no point can pass another. Noise adds a
        # second feature.
        noise = torch.randn(features.shape, generator=torch.Generator().manual_seed(seed))
        features = torch.cat([features, 0.01 * features.std() * noise], dim=1)
    points = features.double().numpy()
    if points.shape[1] > 50:
        points = PCA(min(50, len(points)), random_state=seed).fit_transform(points)
    perplexity = min(30.0, (len(points) - 1) / 3)
    model = TSNE(perplexity=perplexity, max_iter=500, angle=0.8, init="pca", random_state=seed)
    return torch.from_numpy(model.fit_transform(points)).float()
