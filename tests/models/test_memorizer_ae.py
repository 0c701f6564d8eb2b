"""Memorizing autoencoder: a code of one number is enough for the stored images."""

from types import SimpleNamespace

import pytest
import torch

from latentlab.models.memorizer_ae import MemorizerAE

SHAPE = (3, 3, 4)


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


def test_several_processes_store_the_images_in_the_order_of_the_batch(monkeypatch):
    """Of two processes, the first has the images 0, 2, 4, the second has 1, 3, 5."""
    x = torch.rand(6, *SHAPE)

    def all_gather(parts, own):
        assert torch.equal(own, x[::2])
        for part, of_process in zip(parts, (x[::2], x[1::2]), strict=True):
            part.copy_(of_process)

    monkeypatch.setattr(torch.distributed, "all_gather", all_gather)
    model = MemorizerAE(SHAPE, num_images=6, hidden=[8])
    model._trainer = SimpleNamespace(world_size=2)
    model.training_step((x[::2], None), 0)
    assert torch.equal(model.memory, x.flatten(1))
    model._trainer.world_size = 1
    assert torch.equal(model.whole_batch(x[1::2]), x[1::2])


def test_the_loss_is_the_squared_error_of_the_logistic_reconstruction():
    torch.manual_seed(0)
    model, x = MemorizerAE(SHAPE, num_images=2, hidden=[8, 5]), torch.rand(3, *SHAPE)
    assert [tuple(layer.weight.shape) for layer in model.encoder[::2]] == [(8, 36), (5, 8), (1, 5)]
    assert [tuple(layer.weight.shape) for layer in model.decoder[::2]] == [(5, 1), (8, 5), (36, 8)]
    x_hat = model.decoder(model.encoder(x.flatten(1))).sigmoid()
    expected = (x_hat - x.flatten(1)).square().sum() / 3
    terms = model.validation_step((x, None), 0)
    for name in ("loss", "sse"):
        torch.testing.assert_close(terms[name], expected)
    assert int(model.num_stored) == 0, "images of a validation are not stored"


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
    assert model.encode(stored).shape == (6, model.latent_dim) == (6, 1)
    assert model.loss(stored)["sse"] < 0.05 * mean_error
    assert model.loss(new)["sse"] > mean_error


def test_the_memory_is_saved_and_loaded_with_the_weights():
    model, other = (MemorizerAE(SHAPE, num_images=4, hidden=[8]) for _ in range(2))
    model.store(torch.rand(4, *SHAPE))
    other.load_state_dict(model.state_dict())
    assert torch.equal(other.memory, model.memory)
    assert int(other.num_stored) == 4
