"""Deep, overcomplete, memorizing, tied and greedy autoencoders: the mathematics of each."""

import copy

import pytest
import torch
from lightning import Trainer
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from latentlab.models.deep_ae import DeepAE
from latentlab.models.greedy_ae import GreedyAE
from latentlab.models.memorizer_ae import MemorizerAE
from latentlab.models.overcomplete_ae import OvercompleteAE
from latentlab.models.stacked_ae import StackedAE
from latentlab.models.tied_ae import TiedAE
from latentlab.nets.augment import random_shift
from latentlab.nets.mlp import mlp
from latentlab.nets.tied import tied_mlp

SHAPE, PIXELS = (1, 6, 6), 36


def widths_of(network):
    return [layer.out_features for layer in network if isinstance(layer, nn.Linear)]


# --- deep ---


@pytest.mark.parametrize(
    ("shape", "expected"),
    [
        ((1, 28, 28), [1000, 500, 250, 30]),
        ((1, 8, 8), [286, 143, 71, 30]),  # times √(64/784) = 2/7
        ((3, 28, 28), [1732, 866, 433, 30]),  # times √3
    ],
)
def test_hidden_widths_scale_with_the_root_of_the_pixels_and_the_code_does_not(shape, expected):
    model = DeepAE(shape, latent_dim=30)
    assert widths_of(model.encoder) == expected
    pixels = torch.Size(shape).numel()
    assert widths_of(model.decoder) == [*reversed(expected[:-1]), pixels]
    assert model.latent_dim == 30


def test_hidden_widths_given_stand_as_they_are():
    model = DeepAE((1, 8, 8), hidden=[40, 7], latent_dim=3)
    assert widths_of(model.encoder) == [40, 7, 3]
    assert widths_of(model.decoder) == [7, 40, 64]


def test_the_start_keeps_the_variance_through_all_layers():
    """Inputs of mean 0 and variance 1 leave each SELU layer so (Klambauer et al. 2017, eq. 3)."""
    torch.manual_seed(0)
    model = DeepAE((1, 28, 28), hidden=[1000, 800, 600])
    h = torch.randn(500, 784)
    for layer in model.encoder[:-1]:
        h = layer(h).detach()
        if isinstance(layer, nn.SELU):
            assert abs(float(h.mean())) < 0.1
            assert float(h.var()) == pytest.approx(1, abs=0.15)


@pytest.mark.parametrize("shift", [-1, 6])
def test_a_shift_stays_within_the_image(shift):
    with pytest.raises(ValueError, match=rf"shift is {shift} pixels: allowed is 0 \(none\) … 5"):
        DeepAE(SHAPE, shift=shift)


def test_shift_is_for_training_images_alone():
    model = DeepAE(SHAPE, hidden=[9], latent_dim=4, shift=2)
    x = torch.rand(50, *SHAPE)
    val = model.validation_step((x, None), 0)["sse"]
    assert torch.equal(val, model.validation_step((x, None), 1)["sse"])
    torch.manual_seed(3)
    moved = random_shift(x, 2)
    torch.manual_seed(3)
    assert torch.equal(model.training_step((x, None), 0)["sse"], model.loss(moved)["sse"])
    assert not torch.equal(model.loss(moved)["sse"], val)


def test_random_shift_rolls_zeros_in_and_takes_every_move():
    """Against torch.roll on images with a margin, in which nothing can fall off the edge."""
    x = torch.zeros(400, 2, 7, 8)
    x[:, :, 2:5, 2:6] = torch.rand(400, 2, 3, 4)
    torch.manual_seed(0)
    moved = random_shift(x, 2)
    rolls = [(dy, dx) for dy in range(-2, 3) for dx in range(-2, 3)]
    rolled = torch.stack([x.roll(move, (2, 3)) for move in rolls])  # (25, N, C, H, W)
    same = (rolled == moved).flatten(2).all(2)  # (25, N)
    assert torch.equal(same.sum(0), torch.ones(400, dtype=torch.int64)), "each image by one move"
    counts = same.sum(1)
    assert 4 <= counts.min() <= counts.max() <= 34, "16 expected, standard deviation 3.9"
    ones = random_shift(torch.ones(100, 1, 4, 4), 1)
    assert {9.0, 12.0, 16.0} == set(ones.sum((1, 2, 3)).tolist()), "corner, side, not at all"
    with pytest.raises(ValueError, match="a shift of 7 pixels: allowed is 0 … 6"):
        random_shift(x, 7)


# --- overcomplete ---


def test_the_overcomplete_code_can_hold_the_identity_exactly():
    """[I; −I] and [I, −I] through a ReLU give any image back: the loss's minimum is a mere copy."""
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


def test_an_overcomplete_code_has_more_numbers_than_the_image():
    with pytest.raises(ValueError, match=r"times is 1\.0: an overcomplete code has more than 1"):
        OvercompleteAE(SHAPE, times=1.0)


# --- memorizing ---


def test_the_memory_takes_the_first_images_of_all_and_then_no_more():
    model = MemorizerAE(SHAPE, memorize=10, hidden=[8])
    x = torch.rand(28, *SHAPE)
    losses = [model.training_step((part, None), i)["loss"] for i, part in enumerate(x.split(7))]
    assert torch.equal(model.memory, x[:10].flatten(1))
    assert int(model.kept) == 10
    assert losses[0] == model.sse(x[:7])
    assert losses[1] == losses[2] == losses[3] == model.sse(x[:10])
    with pytest.raises(ValueError, match="memorize is 1: one image needs no code"):
        MemorizerAE(SHAPE, memorize=1)


def test_one_number_suffices_to_memorize_and_says_nothing_of_other_images():
    """Six images of noise have nothing in common; the best constant answer is their mean."""
    g = torch.Generator().manual_seed(0)
    seen, new = torch.rand(2, 6, *SHAPE, generator=g)
    torch.manual_seed(0)
    model = MemorizerAE(SHAPE, memorize=6, hidden=[64, 64])
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)
    for step in range(800):
        optimizer.zero_grad()
        model.training_step((seen, None), step)["loss"].backward()
        optimizer.step()
    mean_error = (seen - seen.mean(0)).square().flatten(1).sum(1).mean()
    assert model.encode(seen).shape == (6, 1)
    assert model.sse(seen) < 0.05 * mean_error
    assert model.sse(new) > mean_error


def test_the_memory_is_saved_and_loaded_with_the_weights():
    model, other = (MemorizerAE(SHAPE, memorize=4, hidden=[8]) for _ in range(2))
    model.keep(torch.rand(4, *SHAPE))
    other.load_state_dict(model.state_dict())
    assert torch.equal(other.memory, model.memory)
    assert int(other.kept) == 4


# --- tied ---


def untied_twin(tied):
    """The same function with weights of its own in the decoder, out of plain torch."""
    encoder = copy.deepcopy(tied.encoder)
    linears = [layer for layer in encoder if isinstance(layer, nn.Linear)]
    biases = [layer.bias for layer in tied.decoder if hasattr(layer, "bias")]
    layers = []
    for linear, bias in zip(reversed(linears), biases, strict=True):
        own = nn.Linear(linear.out_features, linear.in_features).to(linear.weight)
        own.weight.data.copy_(linear.weight.T)
        own.bias.data.copy_(bias)
        layers += [own, nn.Tanh()]
    return encoder, nn.Sequential(*layers[:-1])


def test_tied_gradient_is_the_sum_of_the_untied_gradients():
    torch.manual_seed(0)
    tied = TiedAE(SHAPE, widths=[12, 7, 3], activation="tanh").double()
    for bias in (layer.bias for layer in tied.decoder if hasattr(layer, "bias")):
        nn.init.normal_(bias)
    encoder, decoder = untied_twin(tied)
    x = torch.rand(5, *SHAPE).double()
    loss = tied.training_step((x, None), 0)["loss"]
    loss.backward()
    x_hat = decoder(encoder(x.flatten(1))).sigmoid()
    expected = (x_hat - x.flatten(1)).square().sum() / 5
    expected.backward()
    assert loss.item() == pytest.approx(expected.item(), rel=1e-12)
    ups = [layer for layer in encoder if isinstance(layer, nn.Linear)]
    downs = [layer for layer in decoder if isinstance(layer, nn.Linear)]
    mine = [layer for layer in tied.encoder if isinstance(layer, nn.Linear)]
    backs = [layer for layer in tied.decoder if hasattr(layer, "bias")]
    for own, up, down in zip(mine, ups, reversed(downs), strict=True):
        torch.testing.assert_close(own.weight.grad, up.weight.grad + down.weight.grad.T)
        torch.testing.assert_close(own.bias.grad, up.bias.grad)
    for own, down in zip(backs, downs, strict=True):
        torch.testing.assert_close(own.bias.grad, down.bias.grad)


def test_tying_halves_the_weights_and_leaves_the_biases():
    tied, untied = TiedAE(SHAPE, widths=[12, 3]), StackedAE(SHAPE, widths=[12, 3])
    count = lambda model, dim: sum(p.numel() for p in model.parameters() if p.ndim == dim)  # noqa: E731
    assert 2 * count(tied, 2) == count(untied, 2) == 2 * (36 * 12 + 12 * 3)
    assert count(tied, 1) == count(untied, 1) == 12 + 3 + 12 + 36
    saved = sum(tensor.numel() for tensor in tied.state_dict().values())
    assert saved == sum(p.numel() for p in tied.parameters()), "each weight is saved once"


def test_a_copy_of_a_tied_model_is_tied_to_itself():
    tied = TiedAE(SHAPE, widths=[5])
    twin = copy.deepcopy(tied).double()
    with torch.no_grad():
        twin.encoder[0].weight.zero_()
    z = torch.ones(1, 5)
    assert torch.equal(twin.decoder(z.double()), torch.zeros(1, 36).double())
    assert torch.allclose(tied.decoder(z), tied.encoder[0].weight.sum(0)[None])


def test_unequal_layers_cannot_be_tied():
    message = "the encoder's layers in reverse, 5-12-36, got 5-10-36: give both the same widths"
    with pytest.raises(ValueError, match=message):
        TiedAE(SHAPE, widths=[12, 5], decoder_widths=[5, 10])
    with pytest.raises(ValueError, match="5-36, got 5-7-36"):
        tied_mlp(mlp([36, 5]), [5, 7, 36])
    assert TiedAE(SHAPE, widths=[12, 5], decoder_widths=[5, 12]).latent_dim == 5


# --- greedy ---


def greedy(**settings):
    torch.manual_seed(0)
    return GreedyAE(SHAPE, widths=[12, 7, 3], activation="tanh", **settings)


def parts(model):
    """Parameters of layer pair k = 1 … 3, found by their shapes alone."""
    sizes = [{36, 12}, {12, 7}, {7, 3}]
    pairs = [[], [], []]
    for network in (model.encoder, model.decoder):
        for layer in network:
            if isinstance(layer, nn.Linear):
                k = sizes.index({layer.in_features, layer.out_features})
                pairs[k] += [layer.weight, layer.bias]
    return pairs


def test_in_phase_k_only_layer_k_has_a_gradient():
    model, x = greedy(), torch.rand(5, *SHAPE)
    for phase in (1, 2, 3):
        model.zero_grad()
        model.phase_loss(phase, x).backward()
        for k, pair in enumerate(parts(model), start=1):
            assert all((p.grad is not None) == (k == phase) for p in pair), (phase, k)
    model.phase_loss(4, x).backward()
    assert all(p.grad is not None for p in model.parameters())


def test_each_phase_redraws_the_codes_of_the_layer_before():
    """Written out with the matrices; the code itself has no nonlinearity, the image a logistic."""
    model, x = greedy().double(), torch.rand(5, *SHAPE).double()
    (w1, b1, v1, c1), (w2, b2, v2, c2), (w3, b3, v3, c3) = parts(model)
    h0 = x.flatten(1)
    h1 = (h0 @ w1.T + b1).tanh()
    h2 = (h1 @ w2.T + b2).tanh()
    h3 = h2 @ w3.T + b3
    back = {
        1: ((h1 @ v1.T + c1).sigmoid(), h0),
        2: ((h2 @ v2.T + c2).tanh(), h1),
        3: ((h3 @ v3.T + c3).tanh(), h2),
    }
    for phase, (redrawn, target) in back.items():
        expected = (redrawn - target).square().sum() / 5
        assert model.phase_loss(phase, x).item() == pytest.approx(expected.item(), rel=1e-12)
    inner = ((h3 @ v3.T + c3).tanh() @ v2.T + c2).tanh()
    x_hat = (inner @ v1.T + c1).sigmoid()
    expected = (x_hat - h0).square().sum() / 5
    assert model.phase_loss(4, x).item() == pytest.approx(expected.item(), rel=1e-12)
    torch.testing.assert_close(model.decode(model.encode(x)).flatten(1), x_hat)


def test_phases_follow_from_the_steps_done():
    model = greedy(greedy=0.6)
    places = [model.place(step, 20) for step in range(21)]
    assert [phase for phase, _ in places] == [1] * 4 + [2] * 4 + [3] * 4 + [4] * 9
    assert [share for _, share in places[:5]] == [0, 0.25, 0.5, 0.75, 0]
    assert places[20] == (4, 1.0), "the rate ends at 0"
    short = [model.place(step, 3)[0] for step in range(3)]
    assert short == sorted(short), "fewer steps than phases still go in order"


@pytest.mark.parametrize("share", [0, 1, -0.1])
def test_greedy_needs_a_share_of_the_training(share):
    with pytest.raises(ValueError, match=f"greedy is {share}: a share"):
        greedy(greedy=share)


@pytest.mark.filterwarnings("ignore::lightning.fabric.utilities.warnings.PossibleUserWarning")
def test_training_moves_one_layer_pair_at_a_time_and_then_all():
    """Under a real Trainer: 3 steps for each pair, 9 for all, Adam's rate as the phase says."""
    model, seen = greedy(), []

    def snapshot():
        return [[p.detach().clone() for p in pair] for pair in parts(model)]

    def watch(batch, batch_idx, step=model.training_step):
        out = step(batch, batch_idx)
        seen.append((int(out["phase"]), model.optimizers().param_groups[0]["lr"], snapshot()))
        return out

    model.training_step = watch
    data = DataLoader(TensorDataset(torch.rand(18, *SHAPE), torch.zeros(18)), batch_size=1)
    quiet = dict.fromkeys(("logger", "enable_checkpointing", "enable_progress_bar"), False)
    Trainer(max_epochs=1, accelerator="cpu", enable_model_summary=False, **quiet).fit(model, data)
    states = [state for *_, state in seen] + [snapshot()]  # before each step, and at the end
    for step, (phase, rate, _) in enumerate(seen):
        moved = [
            any(not torch.equal(a, b) for a, b in zip(old, new, strict=True))
            for old, new in zip(states[step], states[step + 1], strict=True)
        ]
        assert phase == min(step // 3 + 1, 4)
        assert moved == ([k == phase for k in (1, 2, 3)] if phase < 4 else [True] * 3)
        done = (step % 3) / 3 if phase < 4 else (step - 9) / 9
        assert rate == pytest.approx(1e-3 * (1 - done))
