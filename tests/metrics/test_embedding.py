"""t-SNE: neighbours stay neighbours for any number of features."""

import pytest
import torch

from latentlab.metrics import embedding as module
from latentlab.metrics.embedding import _affinities, tsne


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


def clusters(count=200):
    g = torch.Generator().manual_seed(1)
    centres = 4 * torch.randn(5, 60, generator=g)
    return centres[torch.arange(count) % 5] + torch.randn(count, 60, generator=g)


def divergence(p, y):
    """KL(p ‖ q) of a map y (N, 2), written out in another way than in the descent."""
    distances = torch.cdist(y.double(), y.double()).square()
    q = (1 / (1 + distances)).fill_diagonal_(0)
    rest = ~torch.eye(len(y), dtype=torch.bool)
    p, q = p[rest], (q / q.sum())[rest]
    return float((torch.xlogy(p, p) - p * q.log()).sum())


def test_the_map_is_as_good_as_that_of_scikit_learn():
    from sklearn.manifold import TSNE

    x = clusters()
    theirs = TSNE(perplexity=30, max_iter=500, init="pca", random_state=0, method="exact")
    reference = torch.from_numpy(theirs.fit_transform(x.double().numpy()))
    p = _affinities(x.double(), 30)
    assert divergence(p, tsne(x)) < 1.05 * divergence(p, reference)


def test_each_point_has_the_perplexity():
    x = clusters().double()
    p = _affinities(x, 30)
    assert float(p.sum()) == pytest.approx(1, abs=1e-9)
    assert torch.equal(p, p.T)
    from sklearn.manifold import _t_sne

    distances = torch.cdist(x, x).square().float().numpy()
    theirs = torch.from_numpy(_t_sne._joint_probabilities(distances, 30, 0))
    rows, columns = torch.triu_indices(200, 200, 1)
    torch.testing.assert_close(2 * p[rows, columns], 2 * theirs, rtol=2e-3, atol=1e-7)


def test_the_same_map_each_time_and_equal_points_are_no_error():
    assert torch.equal(tsne(clusters()), tsne(clusters()))
    many = torch.cat([torch.zeros(50, 8), clusters(50)[:, :8]])  # more than the perplexity
    assert tsne(many).isfinite().all()


def test_the_descent_starts_from_small_principal_components(monkeypatch):
    starts = []
    monkeypatch.setattr(module, "_descend", lambda p, start: starts.append(start) or start)
    x = torch.randn(60, 5) * torch.tensor([5.0, 3.0, 1.0, 0.5, 0.1]) + 50
    tsne(x)
    assert float(starts[0][:, 0].std()) == pytest.approx(1e-4, rel=1e-4)
    values = torch.linalg.svdvals((x - x.mean(0)).double())
    ratio = float(starts[0][:, 1].std() / starts[0][:, 0].std())
    assert ratio == pytest.approx(float(values[1] / values[0]), rel=1e-4)


def test_one_feature_gets_a_second_one_of_noise_with_a_hundredth_of_its_deviation(monkeypatch):
    starts = []
    monkeypatch.setattr(module, "_descend", lambda p, start: starts.append(start) or start)
    x = 3 * torch.randn(400, 1, generator=torch.Generator().manual_seed(3)) + 1000
    tsne(x)
    assert float(starts[0][:, 1].std() / starts[0][:, 0].std()) == pytest.approx(0.01, rel=0.15)
    tsne(x, seed=1)
    assert not torch.equal(*starts)


@pytest.mark.parametrize(("count", "expected"), [(5, 4 / 3), (10, 3), (91, 30), (200, 30)])
def test_the_perplexity_is_30_or_a_third_of_the_neighbours(count, expected, monkeypatch):
    found = []
    affinities = lambda points, perplexity: found.append(perplexity) or torch.zeros(1)  # noqa: E731
    monkeypatch.setattr(module, "_affinities", affinities)
    monkeypatch.setattr(module, "_descend", lambda p, start: start)
    tsne(torch.randn(count, 3))
    assert found == [pytest.approx(expected)]
