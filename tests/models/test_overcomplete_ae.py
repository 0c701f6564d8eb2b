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
    model, x = OvercompleteAE(SHAPE), torch.rand(5, *SHAPE)
    with torch.no_grad():
        model.decoder[0].weight.mul_(20)
    z = model.encoder(x.flatten(1)).relu()
    outputs = model.decoder(z)
    assert (outputs < 0).any()
    assert (outputs > 1).any()
    for term in model.training_step((x, None), 0).values():
        torch.testing.assert_close(term, (outputs - x.flatten(1)).square().sum() / 5)
    torch.testing.assert_close(model.decode(z).flatten(1), outputs.clip(0, 1))


@pytest.mark.parametrize("expansion", [1.0, 0.5])
def test_an_undercomplete_code_raises_an_error(expansion):
    with pytest.raises(ValueError, match=f"expansion is {expansion}: an overcomplete code has"):
        OvercompleteAE(SHAPE, expansion=expansion)


def test_the_code_has_the_given_number_of_latents_for_each_value():
    model = OvercompleteAE(SHAPE, expansion=1.26)  # 45.36
    assert model.latent_dim == 45
    assert model.encode(torch.rand(2, *SHAPE)).shape == (2, 45)
