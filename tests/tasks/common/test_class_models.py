"""Models of one class, against scikit-learn and closed forms."""

import pytest
import torch
from sklearn.decomposition import PCA

from latentlab.contracts import to_float
from latentlab.tasks.common.class_models import fit_class_autoencoder, of_class, pca_sse
from latentlab.utils.errors import LatentlabError


def test_pca_errors_are_those_of_scikit_learn(context):
    part = of_class(context.evaluator.train, 3)
    assert set(part.labels.tolist()) == {3}
    x = to_float(context.evaluator.test.images).flatten(1)
    reference = PCA(7).fit(to_float(part.images).flatten(1).double().numpy())
    x_hat = reference.inverse_transform(reference.transform(x.double().numpy()))
    expected = ((x_hat - x.double().numpy()) ** 2).sum(1)
    torch.testing.assert_close(
        pca_sse(part, 7, x).double(), torch.from_numpy(expected), atol=1e-3, rtol=0
    )
    with pytest.raises(LatentlabError, match="class 11 has 0 training images"):
        of_class(context.evaluator.train, 11)


@pytest.mark.parametrize(("latent_dim", "expected"), [(None, 8), (3, 3)])
def test_default_latent_dim_is_an_eighth_of_the_pixels(context, latent_dim, expected):
    net = fit_class_autoencoder(
        context.evaluator.train, hidden=5, latent_dim=latent_dim, steps=1, lr=1e-3, seed=0
    )
    assert net.encoder(torch.rand(2, 64)).shape == (2, expected)
