"""Greedy autoencoder: the loss of each phase, and the parameters that change in it."""

import pytest
import torch
from lightning import Trainer
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from latentlab.models.greedy_ae import GreedyAE

SHAPE = (3, 3, 4)


def build(**settings):
    torch.manual_seed(0)
    return GreedyAE(SHAPE, hidden=[12, 7], latent_dim=3, activation="tanh", **settings)


def parts(model):
    """Parameters of the layer pairs k = 1 … 3, found by their shapes."""
    sizes = [{36, 12}, {12, 7}, {7, 3}]
    pairs = [[], [], []]
    for network in (model.encoder, model.decoder):
        for layer in network:
            if isinstance(layer, nn.Linear):
                k = sizes.index({layer.in_features, layer.out_features})
                pairs[k] += [layer.weight, layer.bias]
    return pairs


def test_in_phase_k_only_layer_k_has_a_gradient():
    model, x = build(), torch.rand(5, *SHAPE)
    for phase in (1, 2, 3):
        model.zero_grad()
        model.phase_loss(phase, x).backward()
        for k, pair in enumerate(parts(model), start=1):
            assert all((p.grad is not None) == (k == phase) for p in pair), (phase, k)
    model.phase_loss(4, x).backward()
    assert all(p.grad is not None for p in model.parameters())


def test_phase_k_reconstructs_the_output_of_layer_k_minus_1():
    """Written with matrices. The code has no nonlinearity, the image has the logistic one."""
    model, x = build().double(), torch.rand(5, *SHAPE).double()
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
    for phase, (reconstructed, target) in back.items():
        expected = (reconstructed - target).square().sum() / 5
        assert model.phase_loss(phase, x).item() == pytest.approx(expected.item(), rel=1e-12)
    inner = ((h3 @ v3.T + c3).tanh() @ v2.T + c2).tanh()
    x_hat = (inner @ v1.T + c1).sigmoid()
    expected = (x_hat - h0).square().sum() / 5
    assert model.phase_loss(4, x).item() == pytest.approx(expected.item(), rel=1e-12)
    torch.testing.assert_close(model.decode(model.encode(x)).flatten(1), x_hat)
    for term in model.validation_step((x, None), 0).values():
        assert term.item() == pytest.approx(expected.item(), rel=1e-12)


def test_phases_follow_from_the_steps_done():
    model = build(layerwise_fraction=0.6)
    progress = [model.progress(step, 20) for step in range(21)]
    assert [phase for phase, _ in progress] == [1] * 4 + [2] * 4 + [3] * 4 + [4] * 9
    assert [fraction for _, fraction in progress[:5]] == [0, 0.25, 0.5, 0.75, 0]
    assert progress[20] == (4, 1.0), "the learning rate ends at 0"
    short = [model.progress(step, 3)[0] for step in range(3)]
    assert short == sorted(short), "in order, also with fewer steps than phases"
    assert model.progress(3, 3) == (4, 1.0), "also with one step of fine-tuning"
    none_left = build(layerwise_fraction=0.9)
    assert [none_left.progress(step, 3)[0] for step in range(4)] == [1, 2, 3, 4]


@pytest.mark.parametrize(
    ("shape", "sizes"), [((1, 28, 28), [784, 300, 150]), ((1, 14, 28), [392, 150, 75])]
)
def test_default_widths_are_in_proportion_to_the_number_of_values(shape, sizes):
    model = GreedyAE(shape)
    for network, expected in ((model.encoder, sizes), (model.decoder, sizes[::-1])):
        linears = [layer for layer in network if isinstance(layer, nn.Linear)]
        assert [layer.in_features for layer in linears] == expected[:-1]
        assert [layer.out_features for layer in linears] == expected[1:]
    assert model.latent_dim == sizes[-1]


def test_the_learning_rate_falls_with_the_size_of_large_images():
    models = [GreedyAE(shape, hidden=[2], latent_dim=1) for shape in ((1, 28, 28), (3, 32, 32))]
    assert models[1].lr == pytest.approx(models[0].lr * (784 / 3072) ** 0.5)


@pytest.mark.parametrize("fraction", [0, 1, -0.1, 1.5])
def test_a_fraction_outside_of_0_to_1_raises_an_error(fraction):
    with pytest.raises(ValueError, match=f"layerwise_fraction is {fraction}: it must be between"):
        build(layerwise_fraction=fraction)


@pytest.mark.filterwarnings("ignore::lightning.fabric.utilities.warnings.PossibleUserWarning")
def test_training_changes_one_layer_pair_at_a_time_and_then_all():
    """With a Trainer: 3 steps for each pair, 9 for all; Adam's rate falls to 0 in each phase."""
    model, steps = build(), []

    def snapshot():
        return [[p.detach().clone() for p in pair] for pair in parts(model)]

    def watch(batch, batch_idx, step=model.training_step):
        out = step(batch, batch_idx)
        steps.append((int(out["phase"]), model.optimizers().param_groups[0]["lr"], snapshot()))
        return out

    model.training_step = watch
    data = DataLoader(TensorDataset(torch.rand(18, *SHAPE), torch.zeros(18)), batch_size=1)
    quiet = dict.fromkeys(("logger", "enable_checkpointing", "enable_progress_bar"), False)
    Trainer(max_epochs=1, accelerator="cpu", enable_model_summary=False, **quiet).fit(model, data)
    states = [state for *_, state in steps] + [snapshot()]  # before each step, and at the end
    for step, (phase, rate, _) in enumerate(steps):
        changed = [
            any(not torch.equal(a, b) for a, b in zip(old, new, strict=True))
            for old, new in zip(states[step], states[step + 1], strict=True)
        ]
        assert phase == min(step // 3 + 1, 4)
        assert changed == ([k == phase for k in (1, 2, 3)] if phase < 4 else [True] * 3)
        done = (step % 3) / 3 if phase < 4 else (step - 9) / 9
        assert rate == pytest.approx(1e-3 * (1 - done))


@pytest.mark.parametrize("phase", [1, 3, 4])
def test_the_loss_of_a_step_is_that_of_its_phase_and_all_parameters_have_a_gradient(
    phase, monkeypatch
):
    """Without a gradient of 0, several processes would wait for the frozen parameters."""
    model, x = build(), torch.rand(5, *SHAPE)
    for layer in (model.encoder[0], model.encoder[2], model.decoder[0]):
        layer.bias.data.zero_()  # as of some initial weights
    monkeypatch.setattr(model, "phase", lambda: phase)
    terms = model.training_step((x, None), 0)
    torch.testing.assert_close(terms["loss"], model.phase_loss(phase, x))
    terms["loss"].backward()
    frozen = {id(p) for p in model.frozen_parameters(phase)}
    assert bool(frozen) is (phase < 4)
    for p in model.parameters():
        assert p.grad is not None
        assert bool(p.grad.any()) is (id(p) not in frozen)
