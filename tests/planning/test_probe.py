"""The cost of a model, measured by training it for an instant."""

import math

import numpy as np
import pytest

from latentlab.data.prepared import read_meta
from latentlab.data.settings import DataSettings
from latentlab.planning import probe
from latentlab.planning.probe import _Timer, largest_batch, measure, write_sample
from latentlab.utils.errors import LatentlabError

COUNTS = {"train": 1258, "val": 180, "test": 359}


@pytest.fixture
def sample(tmp_path, monkeypatch):
    monkeypatch.setattr(probe, "SECONDS", 0.02)
    pixels = np.random.default_rng(0).integers(0, 256, (20, 1, 8, 8), np.uint8)
    folder = tmp_path / "sample"
    write_sample(pixels, 10, DataSettings(), folder)
    return folder


def test_a_sample_has_the_shape_of_the_images_and_all_classes(sample) -> None:
    meta = read_meta(sample)
    assert (meta.image_shape, meta.num_classes) == ((1, 8, 8), 10)
    assert sum(meta.counts.values()) == probe.ROWS


def test_a_cost_has_the_length_of_the_real_training(repo, sample) -> None:
    cost = measure("vae", repo, sample, COUNTS)
    assert 0 < cost.seconds_per_image < 0.1
    assert 0 < cost.decode_seconds < 0.1
    assert (cost.batch_size, cost.images) == (128, cost.epochs * (1258 // 128) * 128)
    assert cost.has_encoder
    assert cost.has_likelihood
    assert not cost.best_checkpoint


def test_a_gan_has_no_encoder_and_the_classifier_no_decoder(repo, sample) -> None:
    gan = measure("dcgan", repo, sample, COUNTS)
    assert (gan.has_encoder, gan.best_checkpoint) == (False, True)
    assert measure("classifier", repo, sample, COUNTS).decode_seconds == 0


def test_the_batch_fits_a_small_folder(repo, sample) -> None:
    cost = measure("linear_ae", repo, sample, {"train": 40, "val": 5, "test": 10})
    assert cost.batch_size == 8
    assert math.isclose(cost.images, cost.epochs * 40)


@pytest.mark.parametrize(("images", "batch"), [(3, 2), (8, 2), (21, 4), (28, 4), (1000, 128)])
def test_an_epoch_has_four_steps_at_least(images, batch) -> None:
    assert min(128, largest_batch(images)) == batch


def test_a_model_that_does_not_fit_the_images_is_an_error(repo, tmp_path) -> None:
    pixels = np.zeros((20, 1, 8, 8), np.uint8)
    write_sample(pixels, 0, DataSettings(), tmp_path / "unlabelled")
    with pytest.raises(LatentlabError, match="a conditional GAN needs labels"):
        measure("conditional_gan", repo, tmp_path / "unlabelled", COUNTS)


def test_the_first_steps_do_not_count() -> None:
    timer = _Timer()
    timer.times = [0.0, 5.0, 9.0, 10.0, 11.0]
    assert timer.seconds_per_step() == 1.0
    timer.times = [0.0, 5.0, 9.0]
    assert timer.seconds_per_step() == 4.0
