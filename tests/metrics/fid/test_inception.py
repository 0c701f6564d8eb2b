"""InceptionFeatures: the weights file is checked before it is used."""

import hashlib
import importlib.util
import sys

import pytest
import torch
import torchmetrics.image.fid as torchmetrics_fid
from torch import nn

from latentlab.metrics.fid.features import extract
from latentlab.metrics.fid.inception import InceptionFeatures
from latentlab.utils.errors import LatentlabError


def test_an_absent_file_is_an_error_that_names_file_and_place(tmp_path):
    with pytest.raises(
        LatentlabError, match=r"There are no Inception weights at .*absent\.pth.*6726825d"
    ):
        InceptionFeatures(tmp_path / "absent.pth", "0" * 64)


def test_a_wrong_checksum_is_an_error(tmp_path):
    file = tmp_path / "weights.pth"
    file.write_bytes(b"truncated download")
    found = hashlib.sha256(b"truncated download").hexdigest()
    with pytest.raises(LatentlabError, match=rf"SHA-256 {found}, expected 0000"):
        InceptionFeatures(file, "0" * 64)


def test_a_missing_package_is_an_error_that_names_it(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch_fidelity", None)  # None makes its import fail
    file = tmp_path / "weights.pth"
    file.write_bytes(b"x")
    with pytest.raises(LatentlabError, match="Install torch-fidelity"):
        InceptionFeatures(file, hashlib.sha256(b"x").hexdigest())


class _TinyInception(nn.Module):
    """Replaces torchmetrics' network: same constructor, same requirements of its input."""

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


def test_grey_and_colour_images_become_uint8_with_three_channels(tmp_path, tiny_package):
    file = tmp_path / "weights.pth"
    net = InceptionFeatures(file, _saved({"scale": torch.tensor([2.0])}, file).upper())
    grey = torch.full((4, 1, 6, 6), 0.2)  # level 51
    torch.testing.assert_close(extract(net, grey), torch.full((4, 3), 102.0))
    colour = torch.tensor([0.0, 0.2, 1.0]).reshape(1, 3, 1, 1).expand(2, 3, 6, 6)
    torch.testing.assert_close(net(colour)[0].detach(), torch.tensor([0.0, 102.0, 510.0]))


def test_two_channels_are_an_error(tmp_path, tiny_package):
    file = tmp_path / "weights.pth"
    net = InceptionFeatures(file, _saved({"scale": torch.ones(1)}, file))
    with pytest.raises(LatentlabError, match="C = 1 or 3"):
        net(torch.zeros(1, 2, 4, 4))


class _Boom:
    def __reduce__(self):
        return (pytest.fail, ("the weights file was unpickled",))


@pytest.mark.parametrize("content", [{"wrong": torch.ones(1)}, [torch.ones(1)], _Boom()])
def test_other_content_is_an_error_and_is_never_executed(tmp_path, tiny_package, content):
    file = tmp_path / "weights.pth"
    checksum = _saved(content, file)
    with pytest.raises(LatentlabError, match="not a state_dict of the FID Inception"):
        InceptionFeatures(file, checksum)


@pytest.mark.skipif(
    importlib.util.find_spec("torch_fidelity") is None, reason="torch-fidelity is not installed"
)
def test_the_real_network_with_random_weights(tmp_path, monkeypatch):
    network = torchmetrics_fid.NoTrainInceptionV3
    with monkeypatch.context() as patched:  # build once without loading, for weights of its shape
        patched.setattr(torch, "load", lambda *_, **__: None)
        patched.setattr(network, "load_state_dict", lambda *_: None)
        weights = network("inception-v3-compat", ["2048"], "unused").state_dict()
    file = tmp_path / "weights.pth"
    features = extract(InceptionFeatures(file, _saved(weights, file)), torch.rand(2, 1, 8, 8))
    assert features.shape == (2, InceptionFeatures.num_features)
