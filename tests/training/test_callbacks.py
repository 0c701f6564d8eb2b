"""Callbacks, each alone, with an object that replaces Lightning's Trainer."""

import math
from types import SimpleNamespace

import pytest
import torch

from latentlab.training.callbacks import MetricAccumulator, NonFiniteLossError, SeedEachBatch

STEPS_PER_EPOCH = 7

MODEL = SimpleNamespace(device=torch.device("cpu"))  # the one attribute that is read


def trainer_at(epoch=0, batch=0, rank=0):
    return SimpleNamespace(
        current_epoch=epoch,
        global_rank=rank,
        num_training_batches=STEPS_PER_EPOCH,
        sanity_checking=False,
        fit_loop=SimpleNamespace(total_batch_idx=epoch * STEPS_PER_EPOCH + batch),
    )


def noise(seed, *, epoch=0, batch=0, rank=0):
    SeedEachBatch(seed).on_train_batch_start(trainer_at(epoch, batch, rank), MODEL, None, batch)
    return tuple(torch.rand(4).tolist())


def test_noise_depends_on_seed_epoch_batch_and_rank_only():
    first = noise(0, epoch=2, batch=3)
    torch.rand(100)
    assert noise(0, epoch=2, batch=3) == first
    samples = {
        noise(seed, epoch=epoch, batch=batch, rank=rank)
        for seed in (0, 1)
        for epoch in range(5)
        for batch in range(5)
        for rank in range(2)
    }
    assert len(samples) == 2 * 5 * 5 * 2, "all are different"


def test_noise_of_validation_differs_from_training():
    callback = SeedEachBatch(0)
    samples = set()
    for epoch in (0, 1, 0):
        callback.on_validation_start(trainer_at(epoch), MODEL)
        samples.add(tuple(torch.rand(4).tolist()))
    assert len(samples) == 2
    assert noise(0, epoch=0) not in samples
    assert noise(0, epoch=1) not in samples


def collect(log_every_n_steps=3, batch_size=10):
    rows, steps = [], []
    curves = MetricAccumulator(
        lambda *row: rows.append(row),
        log_every_n_steps=log_every_n_steps,
        batch_size=batch_size,
        on_log=steps.append,
    )
    return curves, rows, steps


def train(curves, losses, *, first=0):
    for step, loss in enumerate(losses, first):
        epoch, batch = divmod(step, STEPS_PER_EPOCH)
        outputs = {"loss": torch.tensor(loss, requires_grad=True), "twice": torch.tensor(2 * loss)}
        curves.on_train_batch_end(trainer_at(epoch, batch), None, outputs, None, batch)


def test_windows_are_means_with_the_number_of_images():
    curves, rows, steps = collect()
    losses = [float(k * k) for k in range(10)]
    train(curves, losses)
    assert [row[2] for row in rows] == [30, 60, 90], "windows continue across epochs of 7 steps"
    for index, (split, values, _) in enumerate(rows):
        mean = sum(losses[3 * index : 3 * index + 3]) / 3
        assert split == "train"
        assert values == pytest.approx({"loss": mean, "twice": 2 * mean}, rel=1e-12)
    curves.on_train_end(trainer_at(1, 2), None)
    assert rows[3] == ("train", {"loss": 81.0, "twice": 162.0}, 100), (
        "the last, shorter window is logged"
    )
    curves.on_train_end(trainer_at(1, 2), None)
    assert len(rows) == 4
    assert steps == [3, 3, 3, 1], "the progress bar counts each step once"


@pytest.mark.parametrize("window", [2, 5, 6])
def test_a_quantity_of_some_steps_has_the_mean_of_these(window):
    """A lazy penalty at every third step is as large in every window, and absent from some."""
    curves, rows, steps = collect(window)
    for step in range(30):
        penalty = {} if step % 3 else {"r1": torch.tensor(7.0)}
        outputs = {"loss": torch.tensor(float(step)), **penalty}
        trainer = trainer_at(*divmod(step, STEPS_PER_EPOCH))
        curves.on_train_batch_end(trainer, None, outputs, None, step % STEPS_PER_EPOCH)
    assert sum(steps) == 30
    for index, (_, values, _) in enumerate(rows):
        inside = range(index * window, (index + 1) * window)
        assert values["loss"] == pytest.approx(sum(inside) / window)
        assert values.get("r1") == (7.0 if any(step % 3 == 0 for step in inside) else None)


def test_values_are_detached():
    curves, _, _ = collect()
    train(curves, [1.0])
    assert not curves.window[0]["loss"].requires_grad


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("where", [3, 4, 5])
def test_error_names_the_first_step_that_is_not_finite(bad, where):
    curves, rows, _ = collect()
    losses = [1.0] * 6
    losses[where] = bad
    losses[5] = bad
    with pytest.raises(NonFiniteLossError, match=rf"at step {where + 1}: loss = .*, twice = ") as e:
        train(curves, losses)
    assert e.value.step == where + 1
    assert len(rows) == 1, "the window before was logged, this one was not"


def test_validation_mean_weighs_batches_by_size():
    curves, rows, _ = collect()
    values = torch.arange(7.0)
    for batch in values.split(3):  # 3, 3, 1: a plain mean of batch means would differ
        outputs = {"loss": batch.mean()}
        curves.on_validation_batch_end(trainer_at(), None, outputs, (batch, None), 0)
    curves.on_validation_end(trainer_at(1, 6), None)
    assert rows == [("val", {"loss": pytest.approx(values.mean().item())}, 140)]
    curves.on_validation_end(trainer_at(1, 6), None)
    assert len(rows) == 1, "the next validation starts empty"


def test_sanity_check_is_not_logged():
    curves, rows, _ = collect()
    trainer = trainer_at()
    trainer.sanity_checking = True
    curves.on_validation_batch_end(trainer, None, {"loss": torch.tensor(1.0)}, ([0], None), 0)
    curves.on_validation_end(trainer, None)
    assert rows == []
