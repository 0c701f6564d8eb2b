"""Vision transformer: patches against torch's unfold, blocks against torch's own layers."""

import math

import pytest
import torch
import torch.nn.functional as F

from latentlab.models.masked_ae import MaskedAE
from latentlab.networks.vit import (
    Block,
    PatchDecoder,
    PatchEncoder,
    choose_patch_size,
    count_heads,
    patchify,
    sincos_positions,
    unpatchify,
)


@pytest.mark.parametrize(("shape", "side"), [((1, 8, 8), 2), ((3, 12, 8), 4), ((2, 28, 28), 4)])
def test_patchify_equals_unfold_and_unpatchify_inverts_it(shape, side):
    x = torch.rand(3, *shape)
    patches = patchify(x, side)
    assert torch.equal(patches, F.unfold(x, side, stride=side).transpose(1, 2))
    assert torch.equal(unpatchify(patches, shape, side), x)


def test_default_patch_size_gives_at_most_8_by_8_patches():
    sides = {8: 2, 28: 4, 32: 4, 64: 8, 96: 12, 128: 16}
    assert {size: choose_patch_size((1, size, size)) for size in sides} == sides
    assert choose_patch_size((3, 32, 32), 8) == 8


def test_a_patch_size_that_does_not_divide_the_image_raises_an_error():
    with pytest.raises(ValueError, match=r"patches of 5 px .* choose one of \[2, 4, 7, 14\]"):
        choose_patch_size((1, 28, 28), 5)
    with pytest.raises(ValueError, match="patches of any px do not divide 7×7"):
        choose_patch_size((1, 7, 7))
    with pytest.raises(ValueError, match=r"choose one of \[2, 4\]"):
        choose_patch_size((1, 8, 8), 8)  # one patch cannot be both visible and hidden


def test_block_equals_the_pre_norm_encoder_layer_of_torch():
    torch.manual_seed(0)
    block = Block(24, heads=3).double()
    torch_layer = torch.nn.TransformerEncoderLayer(
        24, 3, dim_feedforward=96, dropout=0, activation="gelu", norm_first=True, batch_first=True
    ).double()
    names = {
        "self_attn.in_proj_weight": "qkv.weight",
        "self_attn.in_proj_bias": "qkv.bias",
        "self_attn.out_proj.weight": "project.weight",
        "self_attn.out_proj.bias": "project.bias",
        "linear1.weight": "mlp.0.weight",
        "linear1.bias": "mlp.0.bias",
        "linear2.weight": "mlp.2.weight",
        "linear2.bias": "mlp.2.bias",
        "norm1.weight": "norm_attention.weight",
        "norm1.bias": "norm_attention.bias",
        "norm2.weight": "norm_mlp.weight",
        "norm2.bias": "norm_mlp.bias",
    }
    ours = {name: torch.randn_like(value) for name, value in block.state_dict().items()}
    block.load_state_dict(ours)
    torch_layer.load_state_dict({theirs: ours[name] for theirs, name in names.items()})
    tokens = torch.randn(4, 7, 24, dtype=torch.float64)
    assert torch.allclose(block(tokens), torch_layer(tokens), atol=1e-10)


def test_heads_must_divide_the_width():
    with pytest.raises(ValueError, match="5 heads do not divide a width of 24"):
        Block(24, heads=5)


def test_products_of_sincos_embeddings_depend_on_distances_only():
    rows, columns, width = 5, 6, 16
    embeddings = sincos_positions(rows, columns, width).double()
    omega = [10000 ** (-k / 4) for k in range(4)]
    for a in range(rows * columns):
        for b in (0, 7, 20):
            dy, dx = a // columns - b // columns, a % columns - b % columns
            expected = sum(math.cos(w * dy) + math.cos(w * dx) for w in omega)
            assert float(embeddings[a] @ embeddings[b]) == pytest.approx(expected, abs=1e-5)
    with pytest.raises(ValueError, match="a width that 4 divides, got 18"):
        sincos_positions(2, 2, 18)


@pytest.mark.parametrize("pos_embed", ["sincos", "learned"])
def test_encoder_is_equivariant_to_the_order_of_patches(pos_embed):
    torch.manual_seed(0)
    encoder = PatchEncoder((3, 3), 5, width=16, depth=2, pos_embed=pos_embed).double()
    patches = torch.randn(2, 9, 5, dtype=torch.float64)
    order = torch.randperm(9).expand(2, -1)
    shuffled = patches.gather(1, order[..., None].expand_as(patches))
    expected = encoder(patches).gather(1, order[..., None].expand(-1, -1, 16))
    assert torch.allclose(encoder(shuffled, order), expected, atol=1e-10)
    learned = {name for name, _ in encoder.named_parameters()} & {"positions"}
    assert bool(learned) == (pos_embed == "learned")


def test_decoder_has_mask_tokens_where_no_token_is_given():
    torch.manual_seed(0)
    decoder = PatchDecoder((2, 3), 4, 5, width=16, depth=1, pos_embed="sincos")
    tokens, indices = torch.randn(1, 2, 4), torch.tensor([[4, 1]])
    caught = {}
    decoder.blocks.register_forward_pre_hook(lambda _, inputs: caught.update(inputs=inputs[0]))
    assert decoder(tokens, indices).shape == (1, 6, 5)
    inputs = caught["inputs"][0] - decoder.positions
    expected = decoder.mask_token.repeat(6, 1)
    expected[4], expected[1] = decoder.embed(tokens[0, 0]), decoder.embed(tokens[0, 1])
    assert torch.allclose(inputs, expected, atol=1e-6)


def test_decoder_takes_tokens_of_half_precision():
    torch.manual_seed(0)
    decoder = PatchDecoder((2, 3), 4, 5, width=16, depth=1, pos_embed="sincos")
    tokens, indices = torch.randn(3, 2, 4), torch.tensor([[4, 1], [0, 2], [5, 3]])
    with torch.autocast("cpu", torch.bfloat16):
        got = decoder(tokens, indices)
    assert torch.allclose(got.float(), decoder(tokens, indices), atol=0.05)


def test_gradient_of_the_positions_does_not_depend_on_the_order_of_threads():
    """The gradient of plain indexing is summed by two threads in any order."""
    torch.manual_seed(0)
    encoder = PatchEncoder((7, 7), 5, width=64, depth=0, pos_embed="learned")
    patches, indices = torch.randn(256, 24, 5), torch.rand(256, 49).argsort(1)[:, :24]
    weights = torch.randn(256, 24, 64)

    def gradient():
        loss = (encoder(patches, indices) * weights).sum()
        return torch.autograd.grad(loss, encoder.positions)[0]

    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        first = gradient()
        assert all(gradient().equal(first) for _ in range(20))
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize(("width", "heads"), [(8, 1), (32, 2), (64, 4), (88, 4), (104, 4), (13, 1)])
def test_heads_are_the_most_that_divide_the_width(width, heads):
    assert count_heads(width) == heads
    assert width % heads == 0
    assert width / heads >= 16 or heads == 1


@pytest.mark.parametrize("side", [8, 22, 26, 28, 32, 56, 64, 120])
def test_the_default_transformer_fits_images_of_many_sizes(side):
    model = MaskedAE((1, side, side), depth=1)
    x = torch.rand(2, 1, side, side)
    assert model.decode(model.encode(x)).shape == x.shape
    assert model.inpaint(x, model.sample_visible(x)).shape == model.patchify(x).shape
