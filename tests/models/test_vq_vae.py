"""VQ-VAE: nearest vectors, straight-through gradients, perplexity, interpolation."""

import pytest
import torch
import torch.nn.functional as F

from latentlab.contracts import DiscreteCodes, LatentInterpolation
from latentlab.models.vq_vae import VQVAE, doublings


def test_indices_are_of_the_nearest_vectors_and_the_decoder_gets_these():
    torch.manual_seed(0)
    model = VQVAE((1, 8, 8), codebook_size=7, embedding_dim=3, width=4).eval()
    maps = torch.randn(5, 3, 4, 4)
    distance = torch.cdist(maps.movedim(1, 3).reshape(-1, 3), model.codebook)
    indices = model.quantize(maps)
    assert torch.equal(indices.flatten(), distance.argmin(1))
    vectors = model.embed(indices)
    assert torch.equal(vectors[2, :, 1, 3], model.codebook[indices[2, 1 * 4 + 3]])
    x = torch.rand(2, 1, 8, 8)
    codes = model.encode(x)
    assert codes.dtype == torch.float32
    assert torch.equal(codes, model.quantize(model.encoder(x)).float())
    assert torch.equal(model.decode(codes), model.decode(codes + 0.3))
    nearest = model.codebook[codes.long()]  # (B, D, E)
    assert torch.equal(model.features(x), nearest.movedim(2, 1).flatten(1))


def test_codes_outside_of_the_codebook_are_clipped_to_it():
    torch.manual_seed(0)
    model = VQVAE((1, 8, 8), codebook_size=5, embedding_dim=3, width=4).eval()
    z = torch.tensor([[-7.0, -1, -0.4, 0, 1, 2, 3, 4, 4.4, 5, 6, 70, 0.6, 1.4, 3.6, 2]])
    indices = torch.tensor([0, 0, 0, 0, 1, 2, 3, 4, 4, 4, 4, 4, 1, 1, 4, 2])
    vectors = model.codebook[indices].T.reshape(1, 3, 4, 4)
    torch.testing.assert_close(model.decode(z), model.decoder(vectors).sigmoid())


def test_maps_have_the_initial_distribution_of_the_codebook():
    """Mean 0 and variance 1 over the batch, without a scale that is learned."""
    torch.manual_seed(0)
    model = VQVAE((3, 16, 16), codebook_size=500, embedding_dim=20, width=4)
    maps = model.encoder(torch.rand(40, 3, 16, 16)).transpose(0, 1).flatten(1).detach()
    for values in (maps, model.codebook.detach().T):
        torch.testing.assert_close(values.mean(1), torch.zeros(20), rtol=0, atol=5 / 500**0.5)
        torch.testing.assert_close(values.var(1), torch.ones(20), rtol=0, atol=5 * (2 / 500) ** 0.5)
    assert not list(model.encoder[-1].parameters())


def test_interpolation_takes_the_vectors_nearest_to_the_line_between_two():
    model = VQVAE((1, 8, 8), codebook_size=3, embedding_dim=2, width=4)
    with torch.no_grad():
        model.codebook.copy_(torch.tensor([[0.0, 0.0], [10.0, 0.0], [4.0, 1.0]]))
    a, b = torch.zeros(1, model.latent_dim), torch.ones(1, model.latent_dim)
    indices = [float(model.interpolate(a, b, f).unique()) for f in (0, 0.1, 0.4, 0.6, 0.9, 1)]
    assert model.interpolate(a, b, 0.4).dtype == torch.float32
    assert indices == [
        0,
        0,
        2,
        2,
        1,
        1,
    ]  # the third vector, although its index is not between 0 and 1


def test_the_encoder_gets_the_gradient_of_the_decoder_straight_through():
    torch.manual_seed(0)
    model = (
        VQVAE((1, 8, 8), codebook_size=5, embedding_dim=3, width=4, commitment=0.5).double().eval()
    )
    x = torch.rand(4, 1, 8, 8, dtype=torch.float64)
    z_e = model.encoder(x).detach().requires_grad_(True)
    del model.encoder
    model.encoder = lambda images: z_e
    loss = model.training_step((x, None), 0)
    got, of_codebook = torch.autograd.grad(loss["loss"], [z_e, model.codebook])
    e_s = model.embed(model.quantize(z_e)).detach().requires_grad_(True)
    x_hat = model.decoder(e_s).sigmoid()
    nll = F.binary_cross_entropy(x_hat, x, reduction="none").sum((1, 2, 3)).mean()
    distance = (e_s - z_e).square().sum() / 4
    torch.testing.assert_close(loss["loss"], nll + 1.5 * distance)
    torch.testing.assert_close(loss["nll_nats"], nll)
    torch.testing.assert_close(loss["codebook_loss"], distance)
    expected = torch.autograd.grad(nll, e_s)[0] + 0.5 * 2 * (z_e - e_s) / 4
    torch.testing.assert_close(got, expected.detach())
    expected = torch.zeros_like(of_codebook)
    positions = (2 * (e_s - z_e) / 4).movedim(1, 3).reshape(-1, 3).detach()
    torch.testing.assert_close(
        of_codebook, expected.index_add(0, model.quantize(z_e).flatten(), positions)
    )


def test_perplexity_is_the_number_of_equally_frequent_indices():
    model = VQVAE((1, 8, 8), codebook_size=6, embedding_dim=2, width=4).eval()
    maps = torch.zeros(3, 2, 4, 4)
    del model.encoder
    model.encoder = lambda images: maps
    assert float(model.loss(torch.rand(3, 1, 8, 8))["perplexity"].detach()) == pytest.approx(1)
    model.codebook.data = torch.tensor([[float(k), 0.0] for k in range(6)])
    maps = maps.flatten(1).copy_((torch.arange(32) % 16 % 4).float()).view(3, 2, 4, 4)
    maps[:, 1] = 0
    assert float(model.loss(torch.rand(3, 1, 8, 8))["perplexity"].detach()) == pytest.approx(4)


def test_the_model_has_discrete_codes_and_interpolates_them_itself():
    model = VQVAE((1, 8, 8), width=4)
    assert isinstance(model, DiscreteCodes)
    assert isinstance(model, LatentInterpolation)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"codebook_size": 1}, "codebook_size is 1: it must be ≥ 2"),
        ({"commitment": -0.5}, r"commitment is -0\.5: it must be ≥ 0"),
    ],
)
def test_invalid_settings_are_errors(arguments, message):
    with pytest.raises(ValueError, match=message):
        VQVAE((1, 8, 8), **arguments)
    assert VQVAE((1, 8, 8), codebook_size=2, commitment=0).commitment == 0


def test_the_channels_double_at_each_halving():
    model = VQVAE((3, 16, 16), embedding_dim=5, width=4)
    layers = [layer for layer in model.decoder if hasattr(layer, "in_channels")]
    assert [(layer.in_channels, layer.out_channels) for layer in layers] == [(5, 8), (8, 4), (4, 3)]
    biases = [layer.bias is not None for layer in layers]
    assert biases == [False, False, True], "batch normalization removes a bias"
    assert model.encoder[-2].in_channels == 8


def test_gradient_of_the_codebook_does_not_depend_on_the_order_of_threads():
    """The gradient of plain indexing is summed by two threads in any order."""
    model = VQVAE((1, 28, 28), codebook_size=128)
    indices = torch.randint(0, 128, (128, model.latent_dim))
    weights = torch.randn(128, model.codebook.shape[1], model.side, model.side)

    def gradient():
        return torch.autograd.grad((model.embed(indices) * weights).sum(), model.codebook)[0]

    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        first = gradient()
        assert all(gradient().equal(first) for _ in range(20))
    finally:
        torch.set_num_threads(before)
    expected = torch.zeros_like(model.codebook)
    positions = weights.flatten(2).movedim(1, 2).reshape(-1, model.codebook.shape[1])
    for index, weight in zip(indices.flatten(), positions, strict=True):
        expected[index] += weight
    torch.testing.assert_close(first, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("widths", [[6], [6, 4], [6, 4, 8]])
def test_each_width_doubles_the_size(widths):
    maps = torch.rand(2, 5, 3, 3)
    size = 3 * 2 ** len(widths)
    assert doublings(5, widths, 1)(maps).shape == (2, 1, size, size)
