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
    assert torch.equal(model.decode(codes), model.decode(codes + 0.3))
    assert model.features(x).shape == (2, 16 * 3)


def test_interpolation_takes_the_vectors_nearest_to_the_line_between_two():
    model = VQVAE((1, 8, 8), codebook_size=3, embedding_dim=2, width=4)
    with torch.no_grad():
        model.codebook.copy_(torch.tensor([[0.0, 0.0], [10.0, 0.0], [4.0, 1.0]]))
    a, b = torch.zeros(1, model.latent_dim), torch.ones(1, model.latent_dim)
    indices = [float(model.interpolate(a, b, f).unique()) for f in (0, 0.1, 0.4, 0.6, 0.9, 1)]
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
    loss = model.loss(x)
    got, of_codebook = torch.autograd.grad(loss["loss"], [z_e, model.codebook])
    e_s = model.embed(model.quantize(z_e)).detach().requires_grad_(True)
    x_hat = model.decoder(e_s).sigmoid()
    nll = F.binary_cross_entropy(x_hat, x, reduction="none").sum((1, 2, 3)).mean()
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
