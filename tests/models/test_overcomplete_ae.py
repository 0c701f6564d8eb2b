"""Overcomplete autoencoder: the identity is a solution."""

import pytest
import torch

from latentlab.models.overcomplete_ae import OvercompleteAE

SHAPE, PIXELS = (1, 6, 6), 36


def test_the_identity_is_a_solution():
    """[I; −I] and [I, −I] with a ReLU reconstruct any image, so the loss is 0 without learning."""
    model = OvercompleteAE(SHAPE)
    eye = torch.eye(PIXELS)
    with torch.no_grad():
        model.encoder[0].weight.copy_(torch.cat([eye, -eye]))
        model.decoder[0].weight.copy_(torch.cat([eye, -eye]).T)
        model.encoder[0].bias.zero_()
        model.decoder[0].bias.zero_()
    x = torch.rand(5, *SHAPE)
    assert model.latent_dim == 2 * PIXELS
    assert torch.equal(model.decode(model.encode(x)), x)
    assert model.validation_step((x, None), 0)["sse"] == 0


def test_the_loss_is_the_squared_error_of_the_unclipped_reconstruction():
    """Outputs below 0 have a gradient, unlike the pixels of a decoded image."""
    torch.manual_seed(0)
    model, x = OvercompleteAE(SHAPE), torch.zeros(5, *SHAPE)
    outputs = model.decoder(model.encoder(x.flatten(1)).relu())
    assert (outputs < 0).any()
    loss = model.training_step((x, None), 0)["loss"]
    torch.testing.assert_close(loss, outputs.square().sum() / 5)


def test_an_undercomplete_code_raises_an_error():
    with pytest.raises(ValueError, match=r"expansion is 1\.0: an overcomplete code has more"):
        OvercompleteAE(SHAPE, expansion=1.0)
