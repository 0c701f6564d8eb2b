"""The PCA row against scikit-learn."""

from types import SimpleNamespace

import pytest
import torch
from sklearn.decomposition import PCA
from sklearn.manifold import trustworthiness

from latentlab.contracts import Split, to_float
from latentlab.tasks.dimensionality_reduction import DimensionalityReduction
from latentlab.utils.errors import LatentlabError


def images(count, side, seed):
    """Noise added to mixtures of two images, which do not depend on the seed."""
    g = torch.Generator().manual_seed(0)
    patterns = torch.rand(2, side * side, generator=g)
    g.manual_seed(seed)
    mixed = torch.rand(count, 2, generator=g) @ patterns / 2
    x = 255 * (mixed + 0.1 * torch.rand(count, side * side, generator=g)).clamp(0, 1)
    return Split(x.to(torch.uint8).view(count, 1, side, side))


@pytest.mark.parametrize("side", [8, 65])
def test_pca_is_that_of_scikit_learn_and_large_images_need_no_covariance(side, monkeypatch):
    """65×65 pixels are more than the limit of 4096, above which PCA uses the Gram matrix."""
    eigh = torch.linalg.eigh

    def small_only(matrix):
        assert len(matrix) <= 64, "at most 60 training images or 8×8 pixels"
        return eigh(matrix)

    monkeypatch.setattr(torch.linalg, "eigh", small_only)
    train, test = images(60, side, 1), images(40, side, 2)
    evaluator = SimpleNamespace(train=train, test=test)
    dataset = SimpleNamespace(classes=None)
    task = DimensionalityReduction(num_images=40, num_neighbors=5, hidden=4, steps=1)
    scores = task.run(SimpleNamespace(evaluator=evaluator, dataset=dataset, seed=0)).table["PCA"]
    x, x_train = (to_float(split.images).flatten(1).double().numpy() for split in (test, train))
    z = PCA(2, svd_solver="full").fit(x_train).transform(x)
    assert scores["trustworthiness"] == pytest.approx(
        trustworthiness(x, z, n_neighbors=5), abs=1e-3
    )
    assert scores["continuity"] == pytest.approx(trustworthiness(z, x, n_neighbors=5), abs=1e-3)


@pytest.mark.parametrize("num_neighbors", [0, 20])
def test_impossible_numbers_of_neighbors_are_refused(num_neighbors):
    with pytest.raises(LatentlabError, match="must be ≥ 1, and smaller than half of num_images"):
        DimensionalityReduction(num_images=40, num_neighbors=num_neighbors)
