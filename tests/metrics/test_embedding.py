"""t-SNE: neighbours stay neighbours for any number of features."""

import pytest
import torch

from latentlab.metrics.embedding import tsne


@pytest.mark.parametrize("count", [1, 2, 60])
def test_distant_clusters_stay_separate(count):
    g = torch.Generator().manual_seed(0)
    labels = torch.arange(60) % 3
    features = 100 * labels[:, None] + torch.randn(60, count, generator=g)
    points = tsne(features)
    assert points.shape == (60, 2)
    distances = torch.cdist(points, points)
    distances.fill_diagonal_(torch.inf)
    assert torch.equal(labels[distances.argmin(1)], labels)


def test_too_few_or_constant_points_give_zeros():
    assert torch.equal(tsne(torch.rand(4, 3)), torch.zeros(4, 2))
    assert torch.equal(tsne(torch.ones(9, 1)), torch.zeros(9, 2))
