"""The best affine map against scikit-learn's."""

import pytest
import torch
from sklearn.linear_model import LinearRegression, Ridge

from latentlab.diagnostics.metrics.least_squares import LeastSquares
from latentlab.utils.errors import LatentlabError


def pairs(count=300):
    g = torch.Generator().manual_seed(0)
    x = torch.rand(count, 1, 4, 5, generator=g)
    y = x[:, :, 1:3, 1:4] ** 2 + 0.1 * torch.randn(count, 1, 2, 3, generator=g) + 0.7
    return x, y


def test_least_squares_is_scikit_learns_in_any_batches():
    x, y = pairs()
    ours = LeastSquares.fit(zip(x.split(70), y.split(70), strict=True), ridge=0.0)
    theirs = LinearRegression().fit(x.flatten(1).numpy(), y.flatten(1).numpy())
    expected = torch.from_numpy(theirs.predict(x.flatten(1).numpy())).view_as(y)
    torch.testing.assert_close(ours.predict(x), expected, rtol=1e-4, atol=1e-4)


def test_the_ridge_spares_the_bias_as_scikit_learns_does():
    x, y = pairs()
    ours = LeastSquares.fit([(x, y)], ridge=0.02)
    theirs = Ridge(alpha=0.02 * len(x)).fit(x.flatten(1).numpy(), y.flatten(1).numpy())
    torch.testing.assert_close(
        ours.weight, torch.from_numpy(theirs.coef_).float(), rtol=1e-3, atol=1e-4
    )
    torch.testing.assert_close(
        ours.bias, torch.from_numpy(theirs.intercept_).float(), rtol=1e-3, atol=1e-4
    )


def test_pixels_that_are_always_black_do_no_harm():
    x, y = pairs()
    x[:, :, 0] = 0
    assert LeastSquares.fit([(x, y)]).predict(x).isfinite().all()


def test_no_images_are_refused():
    with pytest.raises(LatentlabError, match="no images to fit"):
        LeastSquares.fit([])
