"""The mean training image, for the layers that subtract it."""

import torch
from torch import nn

from latentlab.contracts import Split
from latentlab.networks.mlp import MLP, Centering
from latentlab.training.centering import center_inputs


def test_the_layer_gets_the_mean_of_all_training_images():
    torch.manual_seed(0)
    images = torch.randint(0, 256, (1203, 3, 4, 5), dtype=torch.uint8)
    encoder, _ = MLP(hidden=(7,), centered=True).build((3, 4, 5), 2)
    model = nn.ModuleDict({"encoder": encoder})
    center_inputs(model, Split(images))
    expected = torch.from_numpy(images.numpy().mean(0)) / 255
    assert torch.allclose(encoder[0].mean.double(), expected, atol=1e-7)
    centred = encoder[0](images.float() / 255)
    assert centred.mean(0).abs().max() < 1e-6


def test_of_more_images_than_the_limit_random_ones_are_used(monkeypatch):
    monkeypatch.setattr("latentlab.training.centering.MAX_IMAGES", 1000)
    images = torch.arange(2000).remainder(256).to(torch.uint8).view(-1, 1, 1, 1)
    layer = Centering((1, 1, 1))
    center_inputs(layer, Split(images))
    assert abs(float(layer.mean) - float(images.double().mean()) / 255) < 0.05


def test_a_model_without_such_a_layer_does_not_change():
    model = nn.Linear(3, 2)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    center_inputs(model, Split(torch.zeros(5, 1, 1, 3, dtype=torch.uint8)))
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
