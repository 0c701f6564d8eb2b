"""Memorizing autoencoder: a code of one number is enough for the stored images."""

import pytest
import torch

from latentlab.models.memorizer_ae import MemorizerAE

SHAPE = (1, 6, 6)


def test_the_memory_stores_the_first_images_only():
    model = MemorizerAE(SHAPE, num_images=10, hidden=[8])
    x = torch.rand(28, *SHAPE)
    losses = [model.training_step((part, None), i)["loss"] for i, part in enumerate(x.split(7))]
    assert torch.equal(model.memory, x[:10].flatten(1))
    assert int(model.num_stored) == 10
    assert losses[0] == model.loss(x[:7])["loss"]
    assert losses[1] == losses[2] == losses[3] == model.loss(x[:10])["loss"]
    with pytest.raises(ValueError, match="num_images is 1: one image needs no code"):
        MemorizerAE(SHAPE, num_images=1)


def test_one_number_memorizes_images_and_does_not_generalize():
    """Images of noise have nothing in common; the best constant reconstruction is their mean."""
    g = torch.Generator().manual_seed(0)
    stored, new = torch.rand(2, 6, *SHAPE, generator=g)
    torch.manual_seed(0)
    model = MemorizerAE(SHAPE, num_images=6, hidden=[64, 64])
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)
    for step in range(800):
        optimizer.zero_grad()
        model.training_step((stored, None), step)["loss"].backward()
        optimizer.step()
    mean_error = (stored - stored.mean(0)).square().flatten(1).sum(1).mean()
    assert model.encode(stored).shape == (6, 1)
    assert model.loss(stored)["sse"] < 0.05 * mean_error
    assert model.loss(new)["sse"] > mean_error


def test_the_memory_is_saved_and_loaded_with_the_weights():
    model, other = (MemorizerAE(SHAPE, num_images=4, hidden=[8]) for _ in range(2))
    model.store(torch.rand(4, *SHAPE))
    other.load_state_dict(model.state_dict())
    assert torch.equal(other.memory, model.memory)
    assert int(other.num_stored) == 4
