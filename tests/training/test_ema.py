"""The average of the weights: its values, and the buffers that describe averaged weights."""

import math
from types import SimpleNamespace

import pytest
import torch
from torch import nn
from torch.nn.utils.parametrizations import spectral_norm

from latentlab.contracts import to_float
from latentlab.data.batch_sampler import epoch_batches
from latentlab.data.prepared import read_split
from latentlab.training import loop
from latentlab.training.ema import EMA

SPECTRAL = {"model__init_args__regularization": {"spectral_norm": True}}


class Stepped(nn.Module):
    """A weight that training sets, and buffers of three types that it changes."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(3, 2))
        self.register_buffer("count", torch.tensor(0))
        self.register_buffer("seen", torch.zeros(4, dtype=torch.bool))
        self.register_buffer("data", torch.zeros(4))


def after_steps(model, ema, values):
    """Set the weight to each of the values in turn; the callback follows."""
    ema.on_fit_start(None, model)
    for step, value in enumerate(values):
        model.weight.data.fill_(value)
        model.count += 3
        model.seen[step % 4] = True
        model.data[step % 4] = 7.0
        ema.on_train_batch_end(None, model, None, None, step)
    return model


@pytest.mark.parametrize(("decay", "steps"), [(0.999, 30), (0.999, 5), (0.9999, 200)])
def test_the_start_is_forgotten_in_a_short_training(decay, steps):
    """Π (1 + n) / (10 + n) over N steps is 1 / C(N + 9, 9): 4.7e-9 for 30 steps, not 0.97."""
    ema = EMA(decay)
    after_steps(Stepped(), ema, [0.0] * steps)
    left = float(ema.average["weight"][0, 0])
    assert left == pytest.approx(1 / math.comb(steps + 9, 9), rel=1e-4)


def test_in_a_long_training_the_decay_is_constant():
    ema = EMA(0.5)  # reached at n = 8
    after_steps(Stepped(), ema, [0.0] * 8)
    before = float(ema.average["weight"][0, 0])
    ema = EMA(0.5)
    after_steps(Stepped(), ema, [0.0] * 28)
    assert float(ema.average["weight"][0, 0]) == pytest.approx(before / 2**20, rel=1e-5)


def test_only_parameters_are_averaged():
    ema = EMA(0.99)
    model = after_steps(Stepped(), ema, [0.0, 1.0, 1.0])
    ema.on_validation_epoch_start(None, model)
    w = 0.1 * 1 + 0.9 * 0  # after the first step, from the 1 of the start
    for decay in (2 / 11, 3 / 12):
        w = decay * w + (1 - decay) * 1
    assert float(model.weight.detach()[2, 1]) == pytest.approx(w, rel=1e-6)
    assert (int(model.count), model.seen.tolist()) == (9, [True] * 3 + [False])
    assert model.data.tolist() == [7, 7, 7, 0]
    ema.on_validation_epoch_end(None, model)
    assert model.weight.eq(1).all(), "training goes on with the weights of the optimizer"


class Recording(EMA):
    """Also keep a copy of the weights after each step."""

    kept = None

    def on_fit_start(self, trainer, pl_module):
        super().on_fit_start(trainer, pl_module)
        Recording.kept = [_weights(pl_module)]

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        super().on_train_batch_end(trainer, pl_module, outputs, batch, batch_idx)
        Recording.kept.append(_weights(pl_module))


def _weights(model):
    return {name: p.detach().double().clone() for name, p in model.named_parameters()}


def train(prepared, monkeypatch, folder, **edits):
    prepared.edit("configs/dcgan.yaml", **edits)
    monkeypatch.setattr(loop, "EMA", Recording)
    return prepared.fit("dcgan", folder)[0]


def test_both_players_are_averaged_after_each_batch(prepared, monkeypatch):
    """Against a loop; the generator steps at every second batch, so steps are no clock."""
    steps = {"model__init_args__optim__discriminator_steps": 2, "trainer__ema_decay": 0.8}
    model = train(prepared, monkeypatch, "a", **steps)
    start, *after = Recording.kept
    assert len(after) == prepared.STEPS
    for name, average in start.items():
        for n, weights in enumerate(after):
            decay = min(0.8, (1 + n) / (10 + n))
            average = decay * average + (1 - decay) * weights[name]
        kept = model.get_parameter(name).double()
        torch.testing.assert_close(kept, average, rtol=1e-4, atol=1e-6)
        assert not torch.allclose(kept, after[-1][name], rtol=1e-4, atol=1e-6)


def test_batch_norm_statistics_are_those_of_the_averaged_generator(prepared, monkeypatch):
    """Against mean and variance of the input of each layer, over many codes of the prior."""
    rate = {"model__init_args__optim__generator_lr": 5e-3}  # so the last weights differ
    model = train(prepared, monkeypatch, "a", trainer__ema_decay=0.95, **rate).eval()
    layers = [m for m in model.generator.modules() if isinstance(m, nn.BatchNorm2d)]
    inputs = {layer: [] for layer in layers}
    for layer in layers:
        layer.register_forward_pre_hook(lambda layer, args: inputs[layer].append(args[0]))
    with torch.no_grad():
        model.decode(model.prior.sample((8000, model.latent_dim)))
    assert layers
    for layer in layers:
        (values,) = inputs[layer]
        std = values.std((0, 2, 3))
        assert ((layer.running_mean - values.mean((0, 2, 3))) / std).abs().max() < 0.06
        assert (layer.running_var / std**2 - 1).abs().max() < 0.08


@pytest.mark.parametrize("seed", range(3))
def test_power_iterations_are_renewed_for_the_average(seed):
    """With the vectors of other weights, the largest singular values are 6 to 12."""
    torch.manual_seed(seed)
    layers = nn.Sequential(
        spectral_norm(nn.Linear(20, 30)), nn.Flatten(0), spectral_norm(nn.Conv2d(4, 20, 3))
    ).eval()
    ema = EMA(0.9)
    ema.average = {name: torch.randn_like(p) for name, p in layers.named_parameters()}
    ema.use_average(SimpleNamespace(), layers)
    for layer in (layers[0], layers[2]):
        largest = torch.linalg.matrix_norm(layer.weight.detach().flatten(1), ord=2)
        assert float(largest) == pytest.approx(1, abs=0.05)
        assert not layer.training


def test_spectral_norms_of_averaged_weights_are_1(prepared, monkeypatch):
    rate = {"model__init_args__optim__discriminator_lr": 1e-2}  # so the last weights differ
    model = train(prepared, monkeypatch, "a", trainer__ema_decay=0.99, **SPECTRAL, **rate)
    layers = [m for m in model.discriminator.modules() if hasattr(m, "parametrizations")]
    assert len(layers) >= 2
    for layer in layers:
        largest = torch.linalg.matrix_norm(layer.weight.detach().flatten(1), ord=2)
        assert float(largest) == pytest.approx(1, abs=0.05)


def test_validations_do_not_change_the_training(prepared, monkeypatch):
    """With averages, statistics and power iterations that each validation replaces."""
    often = train(prepared, monkeypatch, "a", trainer__ema_decay=0.9, **SPECTRAL)
    prepared.edit("params.yaml", trainer__num_validations=1)
    once = prepared.fit("dcgan", "b")[0]
    for name, value in once.state_dict().items():
        assert torch.equal(value, often.state_dict()[name]), name


def test_stored_images_stay_images(prepared):
    """memorizer_ae keeps its training images and their number in buffers."""
    prepared.edit("configs/memorizer_ae.yaml", trainer__ema_decay=0.9)
    prepared.edit("configs/memorizer_ae.yaml", model__init_args__num_images=200)
    model, _ = prepared.fit("memorizer_ae", "a")
    split = read_split(prepared.root / "data" / "prepared", "train")
    batches = epoch_batches(len(split), prepared.BATCH, seed=0, epoch=0)
    rows = torch.cat([next(batches), next(batches)])[:200]
    assert int(model.num_stored) == 200
    assert torch.equal(model.memory, to_float(split.images[rows]).flatten(1))


def test_the_state_of_a_checkpoint_continues_the_average():
    values = [0.3, -1.0, 2.0, 0.5, 4.0, -2.0]
    whole, first, second = EMA(0.9), EMA(0.9), EMA(0.9)
    after_steps(Stepped(), whole, values)
    model = after_steps(Stepped(), first, values[:3])
    second.load_state_dict(first.state_dict())
    after_steps(model, second, values[3:])
    assert torch.equal(whole.average["weight"], second.average["weight"])


def test_models_without_batch_norm_read_no_images():
    trainer = SimpleNamespace()  # without data
    model = after_steps(Stepped(), ema := EMA(0.9), [1.0])
    ema.on_train_end(trainer, model)
    ema.on_fit_end(trainer, model)
    assert ema.finished
