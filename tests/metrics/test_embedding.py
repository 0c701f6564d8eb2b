"""Maps for the eye: neighbours stay neighbours, whatever the number of features."""

import pytest
import torch

from latentlab.metrics.embedding import tsne


@pytest.mark.parametrize("count", [1, 2, 60])
def test_groups_that_are_far_apart_stay_apart(count):
    g = torch.Generator().manual_seed(0)
    labels = torch.arange(60) % 3
    features = 100 * labels[:, None] + torch.randn(60, count, generator=g)
    points = tsne(features)
    assert points.shape == (60, 2)
    distances = torch.cdist(points, points)
    distances.fill_diagonal_(torch.inf)
    assert torch.equal(labels[distances.argmin(1)], labels)


def test_too_few_points_are_not_mapped():
    assert torch.equal(tsne(torch.rand(4, 3)), torch.zeros(4, 2))
    assert torch.equal(tsne(torch.ones(9, 1)), torch.zeros(9, 2))
