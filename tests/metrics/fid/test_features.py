"""Features: one pass of images through a network."""

import pytest
import torch
from torch import nn

from latentlab.contracts import Split
from latentlab.metrics.fid.features import batches, check_features, extract
from latentlab.utils.errors import LatentlabError


@pytest.fixture
def images():
    generator = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, (23, 2, 4, 5), dtype=torch.uint8, generator=generator)


def test_extract_is_one_linear_map_of_pixels_in_unit_range(images):
    weight = torch.randn(40, 6, generator=torch.Generator().manual_seed(1))
    found = extract(lambda x: x.flatten(1) @ weight, Split(images), batch_size=7)
    expected = images.flatten(1).double() / 255 @ weight.double()
    torch.testing.assert_close(found.double(), expected, rtol=1e-5, atol=1e-5)
    assert found.dtype == torch.float32
    assert found.shape == (23, 6)


def test_a_split_uint8_and_float_give_equal_features(images):
    flat = nn.Flatten()
    whole = extract(flat, Split(images))
    assert torch.equal(whole, extract(flat, images, batch_size=5))
    assert torch.equal(whole, extract(flat, images.float() / 255, batch_size=23))


def test_extract_has_no_gradients_but_autograd_accepts_its_result(images):
    net = nn.Sequential(nn.Flatten(), nn.Linear(40, 3))
    features = extract(net, images)
    assert not features.requires_grad
    scale = torch.ones(3, requires_grad=True)
    (features * scale).square().sum().backward()  # an inference tensor would raise here
    assert scale.grad is not None


def test_features_that_are_not_finite_are_an_error(images):
    def nan_in_the_last_image(x):
        flat = x.flatten(1).clone()
        flat[-1, 0] = torch.nan
        return flat

    with pytest.raises(LatentlabError, match=r"not finite in 1 of 23 rows"):
        extract(nan_in_the_last_image, images)


def test_features_of_another_shape_are_an_error(images):
    with pytest.raises(LatentlabError, match=r"\(23, 2, 4, 5\)\. Features must be \(B, F\)"):
        extract(lambda x: x, images)
    with pytest.raises(LatentlabError, match=r"must be \(B, F\)"):
        extract(lambda x: x.flatten(1)[:1], images)


def test_no_images_are_an_error(images):
    with pytest.raises(LatentlabError, match="At least 1 rows"):
        extract(nn.Flatten(), images[:0])


def test_batches_of_another_dtype_or_size_are_an_error(images):
    with pytest.raises(LatentlabError, match=r"int64\. Allowed are uint8"):
        list(batches(images.long(), size=2))
    with pytest.raises(LatentlabError, match=r"batch size is 0\. It must be at least 1"):
        list(batches(images, size=0))
    assert [len(batch) for batch in batches(images, size=1)] == [1] * 23


@pytest.mark.parametrize("bad", [torch.nan, torch.inf, -torch.inf])
def test_rows_that_are_not_finite_are_counted(bad):
    features = torch.randn(9, 4)
    features[2, 1:3] = features[5, 0] = bad
    with pytest.raises(LatentlabError, match=r"Some are not finite in 2 of 9 rows"):
        check_features(features, name="Some")
    zeros = torch.zeros(3, 1, requires_grad=True)
    assert not check_features(zeros, name="Some").requires_grad
    assert check_features(zeros, name="Some", at_least=3).shape == (3, 1)
    with pytest.raises(LatentlabError, match="At least 4 rows and 1 column"):
        check_features(zeros, name="Some", at_least=4)
    with pytest.raises(LatentlabError, match="At least 1 rows and 1 column"):
        check_features(zeros[:, :0], name="Some")
