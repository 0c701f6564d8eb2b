"""The best weights of a training: their score, the callback, and the files of a run."""

import csv
import json

import numpy as np
import pytest
import torch
from scipy.linalg import sqrtm
from torch import nn

from latentlab.contracts import Split
from latentlab.samplers import StandardNormal
from latentlab.training.best_checkpoint import BestCheckpoint, ValidationFID


class Shift(nn.Module):
    """A decoder of codes (B, 4): 2×2 images with mean `level`."""

    latent_dim, device, dtype = 4, torch.device("cpu"), torch.float32

    def __init__(self):
        super().__init__()
        self.level = nn.Parameter(torch.tensor(0.5))

    def decode(self, z):
        return (self.level + 0.1 * z).clamp(0, 1).view(-1, 1, 2, 2)


def scipy_fid(a, b):
    cov_a, cov_b = np.cov(a, rowvar=False), np.cov(b, rowvar=False)
    cross = sqrtm(cov_a @ cov_b).real
    return ((a.mean(0) - b.mean(0)) ** 2).sum() + np.trace(cov_a + cov_b - 2 * cross)


def validation_score():
    images = torch.randint(100, 160, (300, 1, 2, 2), generator=torch.Generator().manual_seed(3))
    val = Split(images.to(torch.uint8))
    return val, ValidationFID(lambda x: x.flatten(1), val, StandardNormal())


def test_score_is_the_fid_of_validation_images():
    val, fid = validation_score()
    model = Shift()
    z = torch.randn(300, 4, generator=torch.Generator().manual_seed(0))
    real, fake = next(val.batches()).flatten(1), model.decode(z).detach().flatten(1)
    expected = scipy_fid(real.double().numpy(), fake.double().numpy())
    assert fid(model) == pytest.approx(expected, rel=1e-6)
    assert fid(model) == fid(model), "the codes are the same each time"
    model.level.data.fill_(float("nan"))
    assert fid(model) == float("inf")


def test_score_does_not_use_the_global_generator():
    _, fid = validation_score()
    before = torch.get_rng_state()
    fid(Shift())
    assert torch.equal(before, torch.get_rng_state())


class FakeTrainer:
    """The attributes of a trainer that the callback reads."""

    class fit_loop:
        total_batch_idx = -1

    def after(self, steps):
        self.fit_loop.total_batch_idx = steps - 1
        return self


def test_weights_of_the_lowest_score_are_kept():
    logged, model = [], Shift()
    best = BestCheckpoint(validation_score()[1], lambda *row: logged.append(row), batch_size=10)
    for steps, level in ((1, 0.9), (2, 0.51), (3, 0.1)):
        model.level.data.fill_(level)
        best.on_validation_epoch_end(FakeTrainer().after(steps), model)
    assert best.images == 20
    assert float(best.weights["level"]) == pytest.approx(0.51)
    assert [(split, images) for split, _, images in logged] == [
        ("val", 10),
        ("val", 20),
        ("val", 30),
    ]
    assert best.value == min(values["fid"] for _, values, _ in logged)

    other = BestCheckpoint(validation_score()[1], lambda *row: None, batch_size=10)
    other.load_state_dict(best.state_dict())
    other.on_validation_epoch_end(FakeTrainer().after(4), model)
    assert (other.images, float(other.weights["level"])) == (20, pytest.approx(0.51))


def test_best_and_last_checkpoint_are_kept_and_evaluated(fork):
    fork.edit("configs/dcgan.yaml", trainer__checkpoint="best", trainer__ema_decay=0.9)
    fork.stage("train", "dcgan")
    run = fork.root / "runs" / "dcgan"
    with (run / "history.csv").open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["quantity"] == "fid"]
    best_checkpoint = json.loads((run / "best_checkpoint.json").read_text())
    assert len(rows) == 2, "one for each validation"
    assert best_checkpoint["val_fid"] == min(float(row["value"]) for row in rows)
    chosen = next(row for row in rows if float(row["value"]) == best_checkpoint["val_fid"])
    assert int(chosen["images"]) == best_checkpoint["images"]
    best, last = (
        torch.load(run / f"{n}.pt", weights_only=True) for n in ("weights", "weights_last")
    )
    same = all(torch.equal(best[key], last[key]) for key in best)
    assert same == (chosen is rows[-1])

    fork.stage("evaluate", "dcgan")
    measured = json.loads((fork.root / "results" / "dcgan" / "metrics.json").read_text())
    assert measured["best_checkpoint"] == best_checkpoint
    assert (measured["last_checkpoint"]["fid"] == measured["fid"]) == same
