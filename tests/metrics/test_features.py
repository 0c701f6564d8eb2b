"""features: one pass through a network; the Inception weights are checked before they are used."""

import hashlib
import importlib.util
import sys

import pytest
import torch
import torchmetrics.image.fid as torchmetrics_fid
from torch import nn

from latentlab.contracts import LatentlabError, Split
from latentlab.metrics.features import InceptionFeatures, batches, extract


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


def test_extract_takes_split_bytes_and_floats_alike(images):
    flat = nn.Flatten()
    whole = extract(flat, Split(images))
    assert torch.equal(whole, extract(flat, images, batch_size=5))
    assert torch.equal(whole, extract(flat, images.float() / 255, batch_size=23))


def test_extract_runs_without_gradients_yet_its_result_can_be_trained_on(images):
    net = nn.Sequential(nn.Flatten(), nn.Linear(40, 3))
    features = extract(net, images)
    assert not features.requires_grad
    scale = torch.ones(3, requires_grad=True)
    (features * scale).square().sum().backward()  # an inference tensor would raise here
    assert scale.grad is not None


def test_extract_refuses_features_that_are_not_finite(images):
    def nan_in_the_last_image(x):
        flat = x.flatten(1).clone()
        flat[-1, 0] = torch.nan
        return flat

    with pytest.raises(LatentlabError, match=r"not finite in 1 of 23 rows"):
        extract(nan_in_the_last_image, images)


def test_extract_refuses_features_of_the_wrong_shape(images):
    with pytest.raises(LatentlabError, match=r"\(23, 2, 4, 5\).*must be \(B, F\)"):
        extract(lambda x: x, images)
    with pytest.raises(LatentlabError, match=r"must be \(B, F\)"):
        extract(lambda x: x.flatten(1)[:1], images)


def test_extract_refuses_no_images(images):
    with pytest.raises(LatentlabError, match="at least 1 rows"):
        extract(nn.Flatten(), images[:0])


def test_batches_refuses_other_dtypes_and_sizes(images):
    with pytest.raises(LatentlabError, match=r"int64: allowed are uint8"):
        list(batches(images.long(), size=2))
    with pytest.raises(LatentlabError, match="batch size is 0"):
        list(batches(images, size=0))


def test_inception_says_which_file_to_put_where(tmp_path):
    with pytest.raises(LatentlabError, match=r"no Inception weights at .*absent\.pth.*6726825d"):
        InceptionFeatures(tmp_path / "absent.pth", "0" * 64)


def test_inception_refuses_a_wrong_checksum(tmp_path):
    file = tmp_path / "weights.pth"
    file.write_bytes(b"truncated download")
    found = hashlib.sha256(b"truncated download").hexdigest()
    with pytest.raises(LatentlabError, match=rf"SHA-256 {found}, expected 0000"):
        InceptionFeatures(file, "0" * 64)


def test_inception_names_the_missing_package(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch_fidelity", None)  # None makes its import fail
    file = tmp_path / "weights.pth"
    file.write_bytes(b"x")
    with pytest.raises(LatentlabError, match="install torch-fidelity"):
        InceptionFeatures(file, hashlib.sha256(b"x").hexdigest())


class _TinyInception(nn.Module):
    """Stands in for torchmetrics' network: same constructor, same demands on its input."""

    def __init__(self, name, features_list, feature_extractor_weights_path):
        super().__init__()
        assert (name, features_list) == ("inception-v3-compat", ["2048"])
        self.scale = nn.Parameter(torch.zeros(1))
        self.load_state_dict(torch.load(feature_extractor_weights_path, weights_only=True))

    def forward(self, x):
        assert x.dtype == torch.uint8
        assert x.shape[1] == 3
        return self.scale * x.flatten(2).float().mean(2)


@pytest.fixture
def tiny_package(monkeypatch):
    monkeypatch.setitem(sys.modules, "torch_fidelity", torch)
    monkeypatch.setattr(torchmetrics_fid, "NoTrainInceptionV3", _TinyInception)


def _saved(content, file):
    torch.save(content, file)
    return hashlib.sha256(file.read_bytes()).hexdigest()


def test_inception_reads_grey_and_colour_as_bytes_of_three_channels(tmp_path, tiny_package):
    file = tmp_path / "weights.pth"
    net = InceptionFeatures(file, _saved({"scale": torch.tensor([2.0])}, file).upper())
    grey = torch.full((4, 1, 6, 6), 0.2)  # level 51
    torch.testing.assert_close(extract(net, grey), torch.full((4, 3), 102.0))
    colour = torch.tensor([0.0, 0.2, 1.0]).reshape(1, 3, 1, 1).expand(2, 3, 6, 6)
    torch.testing.assert_close(net(colour)[0].detach(), torch.tensor([0.0, 102.0, 510.0]))


def test_inception_refuses_two_channels(tmp_path, tiny_package):
    file = tmp_path / "weights.pth"
    net = InceptionFeatures(file, _saved({"scale": torch.ones(1)}, file))
    with pytest.raises(LatentlabError, match="C = 1 or 3"):
        net(torch.zeros(1, 2, 4, 4))


class _Boom:
    def __reduce__(self):
        return (pytest.fail, ("the weights file was unpickled",))


@pytest.mark.parametrize("content", [{"wrong": torch.ones(1)}, [torch.ones(1)], _Boom()])
def test_inception_refuses_other_content_and_never_runs_it(tmp_path, tiny_package, content):
    file = tmp_path / "weights.pth"
    checksum = _saved(content, file)
    with pytest.raises(LatentlabError, match="not a state_dict of the FID Inception"):
        InceptionFeatures(file, checksum)


@pytest.mark.skipif(
    importlib.util.find_spec("torch_fidelity") is None, reason="torch-fidelity is not installed"
)
def test_inception_with_the_real_network_and_random_weights(tmp_path, monkeypatch):
    network = torchmetrics_fid.NoTrainInceptionV3
    with monkeypatch.context() as patched:  # build once without loading, for weights of its shape
        patched.setattr(torch, "load", lambda *_, **__: None)
        patched.setattr(network, "load_state_dict", lambda *_: None)
        weights = network("inception-v3-compat", ["2048"], "unused").state_dict()
    file = tmp_path / "weights.pth"
    features = extract(InceptionFeatures(file, _saved(weights, file)), torch.rand(2, 1, 8, 8))
    assert features.shape == (2, InceptionFeatures.num_features)
