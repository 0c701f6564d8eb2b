"""The vision transformer against torch's own layers, and what a masked autoencoder may see."""

import math
from collections import Counter

import pytest
import torch
import torch.nn.functional as F

from latentlab.models.masked_ae import MaskedAE
from latentlab.nets.vit import (
    Block,
    PatchDecoder,
    PatchEncoder,
    patch_side,
    patchify,
    sincos_positions,
    unpatchify,
)

SHAPE = (1, 8, 8)


def small(**settings):
    torch.manual_seed(0)
    return MaskedAE(SHAPE, width=16, depth=2, **settings).double()


@pytest.mark.parametrize(("shape", "side"), [((1, 8, 8), 2), ((3, 12, 8), 4), ((2, 28, 28), 4)])
def test_patches_are_those_of_unfold_and_go_back(shape, side):
    x = torch.rand(3, *shape)
    patches = patchify(x, side)
    assert torch.equal(patches, F.unfold(x, side, stride=side).transpose(1, 2))
    assert torch.equal(unpatchify(patches, shape, side), x)


def test_patches_are_as_large_as_eight_by_eight_of_them_need():
    sides = {8: 2, 28: 4, 32: 4, 64: 8, 96: 12, 128: 16}
    assert {size: patch_side((1, size, size)) for size in sides} == sides
    assert patch_side((3, 32, 32), 8) == 8


def test_a_patch_that_does_not_divide_the_image_is_refused():
    with pytest.raises(ValueError, match=r"patches of 5 px .* choose one of \[2, 4, 7, 14\]"):
        patch_side((1, 28, 28), 5)
    with pytest.raises(ValueError, match="patches of any px do not divide 7×7"):
        patch_side((1, 7, 7))
    with pytest.raises(ValueError, match=r"choose one of \[2, 4\]"):
        patch_side((1, 8, 8), 8)  # one patch: nothing could be hidden and something seen


def test_block_is_torch_s_pre_norm_encoder_layer():
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


def test_sincos_positions_know_only_how_far_apart_they_are():
    rows, columns, width = 5, 6, 16
    places = sincos_positions(rows, columns, width).double()
    omega = [10000 ** (-k / 4) for k in range(4)]
    for a in range(rows * columns):
        for b in (0, 7, 20):
            dy, dx = a // columns - b // columns, a % columns - b % columns
            expected = sum(math.cos(w * dy) + math.cos(w * dx) for w in omega)
            assert float(places[a] @ places[b]) == pytest.approx(expected, abs=1e-5)
    with pytest.raises(ValueError, match="a width that 4 divides, got 18"):
        sincos_positions(2, 2, 18)


@pytest.mark.parametrize("positions", ["sincos", "learned"])
def test_encoder_does_not_mind_in_what_order_it_sees_patches(positions):
    torch.manual_seed(0)
    encoder = PatchEncoder((3, 3), 5, 16, depth=2, positions=positions).double()
    patches = torch.randn(2, 9, 5, dtype=torch.float64)
    order = torch.randperm(9).expand(2, -1)
    shuffled = patches.gather(1, order[..., None].expand_as(patches))
    expected = encoder(patches).gather(1, order[..., None].expand(-1, -1, 16))
    assert torch.allclose(encoder(shuffled, order), expected, atol=1e-10)
    learned = {name for name, _ in encoder.named_parameters()} & {"places"}
    assert bool(learned) == (positions == "learned")


def test_decoder_puts_codes_in_their_places_and_the_mask_token_elsewhere():
    torch.manual_seed(0)
    decoder = PatchDecoder((2, 3), 4, 5, 16, depth=1, positions="sincos")
    codes, places = torch.randn(1, 2, 4), torch.tensor([[4, 1]])
    seen = {}
    decoder.blocks.register_forward_pre_hook(lambda _, inputs: seen.update(tokens=inputs[0]))
    assert decoder(codes, places).shape == (1, 6, 5)
    tokens = seen["tokens"][0] - decoder.places
    expected = decoder.mask_token.repeat(6, 1)
    expected[4], expected[1] = decoder.embed(codes[0, 0]), decoder.embed(codes[0, 1])
    assert torch.allclose(tokens, expected, atol=1e-6)


def test_codes_of_half_precision_find_their_places_too():
    torch.manual_seed(0)
    decoder = PatchDecoder((2, 3), 4, 5, 16, depth=1, positions="sincos")
    codes, places = torch.randn(3, 2, 4), torch.tensor([[4, 1], [0, 2], [5, 3]])
    with torch.autocast("cpu", torch.bfloat16):
        got = decoder(codes, places)
    assert torch.allclose(got.float(), decoder(codes, places), atol=0.05)


def test_every_patch_is_visible_equally_often_and_none_twice():
    model, trials = small(), 4000
    visible = model.draw_visible(torch.zeros(trials, *SHAPE))
    assert visible.shape == (trials, 4)  # a quarter of 16
    assert all(len(set(row)) == 4 for row in visible.tolist())
    counts = Counter(visible.flatten().tolist())
    spread = math.sqrt(trials * 0.25 * 0.75)
    assert all(abs(counts[place] - trials / 4) < 5 * spread for place in range(16))


def test_what_is_hidden_cannot_be_seen_and_what_is_seen_is_not_scored():
    model = small()
    x = torch.rand(3, *SHAPE, dtype=torch.float64, requires_grad=True)
    visible = model.draw_visible(x)
    seen = torch.zeros(3, 16).scatter(1, visible, 1).bool()
    (gradient,) = torch.autograd.grad(model.fill_in(x, visible).square().sum(), x)
    moved = patchify(gradient, 2).abs().sum(2) > 0
    assert torch.equal(moved, seen)

    filled, target = model.fill_in(x, visible), patchify(x, 2)
    hidden = [(filled[i, ~seen[i]] - target[i, ~seen[i]]).square().sum() for i in range(3)]
    assert torch.allclose(model.masked_error(x, visible), torch.stack(hidden))


def test_the_loss_is_both_sums_and_training_sees_a_part_of_the_batch_whole():
    model, x = small(), torch.rand(16, *SHAPE, dtype=torch.float64)
    torch.manual_seed(1)
    got = model.training_step((x, None), 0)
    torch.manual_seed(1)
    masked = model.masked_error(x, model.draw_visible(x)).mean()
    whole = (model.decode(model.encode(x[:2])) - x[:2]).square().sum() / 2
    assert torch.allclose(got["loss"], masked + whole)
    assert torch.allclose(got["sse"], whole)


def test_readout_error_is_that_of_the_autoencoder_and_each_code_draws_its_patch():
    model, x = small(code=3), torch.rand(4, *SHAPE, dtype=torch.float64)
    z = model.encode(x)
    assert z.shape == (4, 16 * 3)
    error = (model.decode(z) - x).square().sum((1, 2, 3))
    assert torch.allclose(model.readout_error(x), error)
    moved = z.clone()
    moved[:, 5 * 3 + 1] += 1
    change = patchify(model.decode(moved) - model.decode(z), 2).abs().sum((0, 2))
    assert change.nonzero().flatten().tolist() == [5]


@pytest.mark.parametrize("ratio", [0, 1.0, -0.5, 0.98])
def test_a_mask_that_hides_nothing_or_all_is_refused(ratio):
    with pytest.raises(ValueError, match=r"mask_ratio .* of 16 patches visible: choose it between"):
        MaskedAE(SHAPE, mask_ratio=ratio)
