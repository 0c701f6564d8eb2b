"""PCA compared with scikit-learn, angles with scipy, and known errors on MNIST."""

import gzip
import os
from pathlib import Path

import numpy as np
import pytest
import scipy.linalg
import torch
from sklearn.decomposition import PCA as SklearnPCA

from latentlab.contracts import Encoder, LinearDecoder, Split, to_float
from latentlab.metrics import pca as module
from latentlab.metrics.pca import PCA, PCACoder, principal_angles
from latentlab.utils.errors import LatentlabError


def _images(count, *shape, seed=0):
    """Correlated uint8 images with well separated variances."""
    generator = torch.Generator().manual_seed(seed)
    pixels = int(np.prod(shape))
    size = min(count, pixels)
    codes = torch.randn(count, size, generator=generator) * torch.logspace(2, 0, size)
    mix = torch.linalg.qr(torch.randn(pixels, size, generator=generator)).Q
    return (codes @ mix.T + 128).clamp(0, 255).to(torch.uint8).reshape(count, *shape)


def _assert_is_sklearns(pca, images, count, *, tolerance):
    x = images.flatten(1).double().numpy() / 255
    reference = SklearnPCA(count, svd_solver="full").fit(x)
    np.testing.assert_allclose(pca.mean, reference.mean_, atol=1e-12)
    np.testing.assert_allclose(pca.variances, reference.explained_variance_, rtol=tolerance)
    overlap = np.abs(np.sum(pca.components.numpy() * reference.components_.T, axis=0))
    np.testing.assert_allclose(overlap, 1, atol=tolerance)  # equal up to sign
    gram = pca.components.T @ pca.components
    torch.testing.assert_close(gram, torch.eye(count).double(), rtol=0, atol=1e-10)


def test_fit_over_several_blocks_equals_scikit_learn():
    images = _images(600, 2, 4, 5)  # blocks of 256, 256 and 88
    _assert_is_sklearns(PCA.fit(Split(images), max_components=12), images, 12, tolerance=1e-9)


def test_large_images_use_their_gram_matrix(monkeypatch):
    images = _images(40, 3, 10, 7)
    monkeypatch.setattr(module, "MAX_COVARIANCE_PIXELS", 100)
    _assert_is_sklearns(PCA.fit(Split(images), max_components=20), images, 20, tolerance=1e-9)


def test_large_images_use_an_evenly_spaced_subset(monkeypatch):
    images = _images(21, 1, 10, 12)
    monkeypatch.setattr(module, "MAX_COVARIANCE_PIXELS", 100)
    monkeypatch.setattr(module, "GRAM_IMAGES", 11)
    _assert_is_sklearns(PCA.fit(Split(images), max_components=5), images[::2], 5, tolerance=1e-9)


def test_the_default_keeps_all_components():
    assert PCA.fit(Split(_images(50, 1, 3, 4))).components.shape == (12, 12)
    few = PCA.fit(Split(_images(6, 1, 3, 4)))
    assert few.components.shape == (12, 5)
    x = _images(6, 1, 3, 4).double() / 255  # N − 1 components hold N images exactly
    torch.testing.assert_close(few.decode(few.encode(x)), x.flatten(1), rtol=0, atol=1e-12)


def test_constant_pixels_are_reconstructed():
    images = _images(100, 1, 4, 4)
    images[:, :, 0] = 7
    images[:, :, 2:] = images[:, :, 1:2]
    pca = PCA.fit(Split(images))
    x = to_float(images)
    torch.testing.assert_close(pca.decode(pca.encode(x)), x.flatten(1), rtol=0, atol=1e-5)
    assert (pca.variances >= 0).all()


def test_the_sign_is_fixed_by_the_largest_entry():
    components = PCA.fit(Split(_images(100, 1, 4, 4))).components
    assert (components.amax(0) == components.abs().amax(0)).all()


def test_codes_and_reconstructions_equal_scikit_learn():
    images = _images(200, 1, 5, 5)
    pca = PCA.fit(Split(images), max_components=10)
    x = to_float(images[:9])
    reference = SklearnPCA(4, svd_solver="full").fit(images.flatten(1).double().numpy() / 255)
    z = pca.encode(x, k=4)
    assert z.dtype == torch.float32
    codes = reference.transform(x.flatten(1).numpy())
    np.testing.assert_allclose(z.abs(), np.abs(codes), atol=1e-5)
    np.testing.assert_allclose(pca.decode(z), reference.inverse_transform(codes), atol=1e-5)


def test_the_coder_implements_the_model_protocols():
    images = _images(200, 1, 5, 5)
    pca = PCA.fit(Split(images))
    coder = PCACoder(pca, 3, (1, 5, 5))
    assert isinstance(coder, Encoder)
    assert isinstance(coder, LinearDecoder)
    assert coder.latent_dim == 3
    x = to_float(images[:9])
    z = coder.encode(x)
    torch.testing.assert_close(z, pca.encode(x, k=3))
    assert torch.equal(coder.features(x), z)
    basis, offset = coder.decoder_basis()
    torch.testing.assert_close(coder.decode(z).flatten(1), (z @ basis.T + offset).clamp(0, 1))
    clipped = coder.decode(100 * z)
    assert clipped.shape == (9, 1, 5, 5)
    assert (float(clipped.min()), float(clipped.max())) == (0, 1)


@pytest.mark.parametrize("columns", [(4, 4), (3, 6), (6, 2)])
def test_principal_angles_equal_scipy(columns):
    generator = torch.Generator().manual_seed(3)
    a, b = (torch.randn(20, n, generator=generator) for n in columns)
    expected = scipy.linalg.subspace_angles(a.double().numpy(), b.double().numpy())
    np.testing.assert_allclose(principal_angles(a, b), expected[::-1], atol=1e-12)


def test_principal_angles_closed_form_from_tiny_to_right():
    known = torch.tensor([0.0, 1e-9, 1e-4, 0.5, 1.2, torch.pi / 2], dtype=torch.float64)
    a, other = torch.eye(12, dtype=torch.float64).split(6, dim=1)
    b = a * known.cos() + other * known.sin()
    mix = torch.randn(6, 6, generator=torch.Generator().manual_seed(4), dtype=torch.float64)
    torch.testing.assert_close(principal_angles(a, b @ mix), known, rtol=1e-10, atol=1e-13)


def test_errors():
    images = _images(50, 1, 3, 4)
    pca = PCA.fit(Split(images), max_components=5)
    with pytest.raises(LatentlabError, match="got 1 images"):
        PCA.fit(Split(images[:1]))
    with pytest.raises(LatentlabError, match=r"of torch\.float32"):
        PCA.fit(Split(images.float()))
    with pytest.raises(LatentlabError, match="max_components is 0"):
        PCA.fit(Split(images), max_components=0)
    with pytest.raises(LatentlabError, match=r"code size is 6\. Allowed is 1…5"):
        pca.encode(to_float(images), k=6)
    with pytest.raises(LatentlabError, match="code size is 6"):
        pca.decode(torch.zeros(2, 6))
    with pytest.raises(LatentlabError, match="6 pixels, PCA was fitted to 12"):
        pca.encode(torch.zeros(2, 1, 2, 3))
    with pytest.raises(LatentlabError, match="code size is 0"):
        PCACoder(pca, 0, (1, 3, 4))
    with pytest.raises(LatentlabError, match=r"\(1, 4, 4\) has 16 pixels"):
        PCACoder(pca, 2, (1, 4, 4))
    with pytest.raises(LatentlabError, match="with the same P"):
        principal_angles(torch.eye(3), torch.eye(4))
    with pytest.raises(LatentlabError, match="has rank 1"):
        principal_angles(torch.eye(4)[:, :2], torch.ones(4, 2))
    two = torch.randn(50, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    with pytest.raises(LatentlabError, match="has rank 2"):  # up to rounding errors
        principal_angles(torch.eye(50)[:, :2], torch.cat([two, two.sum(1, keepdim=True)], 1))


def test_two_images_have_one_component():
    images = _images(2, 1, 3, 4)
    pca = PCA.fit(Split(images))
    assert pca.components.shape == (12, 1)
    gap = images[1].double() - images[0].double()
    assert float(pca.variances) == pytest.approx(float(gap.square().sum()) / 2 / 255**2)


def test_repeated_large_images_have_the_components_of_different_ones(monkeypatch):
    monkeypatch.setattr(module, "MAX_COVARIANCE_PIXELS", 100)
    images = _images(20, 1, 10, 12)
    pca = PCA.fit(Split(torch.cat([images, images])))
    assert pca.components.shape == (120, 19)
    assert pca.variances.isfinite().all()
    x = images.double() / 255
    torch.testing.assert_close(pca.decode(pca.encode(x)), x.flatten(1), rtol=0, atol=1e-10)


def test_images_of_more_than_4096_pixels_are_read_in_blocks():
    images = _images(6, 1, 70, 60)
    _assert_is_sklearns(PCA.fit(Split(images)), images, 5, tolerance=1e-9)


def test_equal_large_images_are_an_error(monkeypatch):
    monkeypatch.setattr(module, "MAX_COVARIANCE_PIXELS", 4)
    with pytest.raises(LatentlabError, match="All images are equal"):
        PCA.fit(Split(torch.full((5, 1, 3, 4), 9, dtype=torch.uint8)))


@pytest.fixture(scope="module")
def mnist():
    root = os.environ.get("LATENTLAB_DATA")
    if not root:
        pytest.skip("LATENTLAB_DATA is not set; it must name the folder that contains mnist/")

    def read(name):
        with gzip.open(Path(root, "mnist", name)) as file:
            pixels = np.frombuffer(file.read(), np.uint8, offset=16)
        return torch.from_numpy(pixels.copy()).reshape(-1, 1, 28, 28)

    return read("train-images-idx3-ubyte.gz"), read("t10k-images-idx3-ubyte.gz")


@pytest.mark.mnist
def test_known_errors_on_mnist(mnist):
    train, test = mnist
    pca = PCA.fit(Split(train), max_components=64)
    x = to_float(test)
    known = {2: 43.65, 8: 29.35, 16: 21.06, 30: 13.866, 32: 13.19, 64: 7.09}
    found = {
        k: float((pca.decode(pca.encode(x, k=k)) - x.flatten(1)).double().square().sum(1).mean())
        for k in known
    }
    assert found == pytest.approx(known, abs=0.006)  # the known values are rounded
