"""Leaks between splits in training: validation images are black here, and test images white."""

import csv

import numpy as np
import pytest
import torch

import latentlab
from latentlab.config import load_experiment
from latentlab.contracts import to_float
from latentlab.data.prepared import read_meta, read_split
from latentlab.training.best_checkpoint import validation_fid


@pytest.fixture
def contrast(fork):
    """A project whose validation images are black, and whose test images are white."""
    prepared = fork.root / "data" / "prepared"
    for split, level in (("val", 0), ("test", 255)):
        images = np.load(prepared / f"{split}_images.npy")
        np.save(prepared / f"{split}_images.npy", np.full_like(images, level))
    return fork


def test_the_sampler_is_fitted_to_training_codes_and_curves_are_of_the_right_split(contrast):
    contrast.edit("configs/linear_ae.yaml", trainer__total_images=1600)
    contrast.stage("train", "linear_ae")
    trained = latentlab.load("linear_ae", project=contrast.root)
    train = read_split(contrast.root / "data" / "prepared", "train")
    with torch.no_grad():
        codes = trained.module.encode(to_float(train.images))
        of_black = trained.module.validation_step((torch.zeros(1, 1, 8, 8), None), 0)["sse"]
    sampler = trained.sampler
    mean = (sampler.weights[:, None] * sampler.means).sum(0)
    torch.testing.assert_close(mean.float(), codes.mean(0), atol=1e-3, rtol=1e-3)
    with (contrast.root / "runs" / "linear_ae" / "history.csv").open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["quantity"] == "sse"]
    last = {row["split"]: float(row["value"]) for row in rows}
    assert last["val"] == pytest.approx(float(of_black), rel=1e-3)
    assert last["train"] != pytest.approx(last["val"], rel=0.1)


def test_the_best_moment_is_chosen_on_validation_images(contrast):
    """The score's real images are the black ones, and the classifier is in evaluation mode."""
    meta = read_meta(contrast.root / "data" / "prepared")
    contrast.edit("configs/dcgan.yaml", trainer__checkpoint="best")
    experiment = load_experiment("dcgan", meta.data_spec, contrast.root)
    score = validation_fid(experiment)
    with torch.no_grad():
        black = score.feature_extractor(torch.zeros(3, 1, 8, 8))
        mixed = score.feature_extractor(
            torch.cat([torch.zeros(1, 1, 8, 8), torch.rand(9, 1, 8, 8)])
        )
    torch.testing.assert_close(score.real.mean.float(), black[0], rtol=1e-3, atol=1e-4)
    torch.testing.assert_close(mixed[0], black[0], rtol=1e-4, atol=1e-5)
