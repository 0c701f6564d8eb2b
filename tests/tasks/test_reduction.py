"""Reduction: its PCA row against scikit-learn's."""

from types import SimpleNamespace

import pytest
import torch
from sklearn.decomposition import PCA
from sklearn.manifold import trustworthiness

from latentlab.contracts import Split, to_float
from latentlab.tasks.reduction import Reduction


def images(count, side, seed):
    """Noise around mixtures of two pictures, which are the same for every seed."""
    g = torch.Generator().manual_seed(0)
    pictures = torch.rand(2, side * side, generator=g)
    g.manual_seed(seed)
    mixed = torch.rand(count, 2, generator=g) @ pictures / 2
    x = 255 * (mixed + 0.1 * torch.rand(count, side * side, generator=g)).clamp(0, 1)
    return Split(x.to(torch.uint8).view(count, 1, side, side))


@pytest.mark.parametrize("side", [8, 65])
def test_the_pca_row_is_scikit_learns_and_large_images_need_no_pixel_matrix(side, monkeypatch):
    """65×65 pixels: more than 4096, whose covariance would fill memory where it is larger still."""
    eigh = torch.linalg.eigh

    def small_only(matrix):
        assert len(matrix) <= 64, "60 training images or 8×8 pixels, whichever is fewer"
        return eigh(matrix)

    monkeypatch.setattr(torch.linalg, "eigh", small_only)
    train, test = images(60, side, 1), images(40, side, 2)
    yard, meta = SimpleNamespace(train=train, test=test), SimpleNamespace(classes=None)
    task = Reduction(images=40, neighbours=5, hidden=4, steps=1)
    found = task.run(SimpleNamespace(yard=yard, meta=meta, seed=0)).table["PCA"]
    x, x_train = (to_float(split.images).flatten(1).double().numpy() for split in (test, train))
    z = PCA(2, svd_solver="full").fit(x_train).transform(x)
    assert found["trustworthiness"] == pytest.approx(trustworthiness(x, z, n_neighbors=5), abs=1e-3)
    assert found["continuity"] == pytest.approx(trustworthiness(z, x, n_neighbors=5), abs=1e-3)
