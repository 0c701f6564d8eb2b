"""The latent plane of an encoder that reads two pixels."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.neighbors import NearestNeighbors

from diagnostics.stand_ins import CORRELATED_SHAPE, correlated_evaluator, figure_inputs
from latentlab.config import EvaluationSettings
from latentlab.contracts import Split, to_float
from latentlab.diagnostics import latent_plane
from latentlab.inference.trained import TrainedModel


class TwoPixels:
    """The code is the first and the last pixel, times ten."""

    latent_dim, family = 2, "AE"

    def encode(self, x):
        return 10 * x.flatten(1)[:, [0, 15]]

    def decode(self, z):
        x = torch.zeros(len(z), 16)
        x[:, [0, 15]] = z / 10
        return x.clamp(0, 1).unflatten(1, CORRELATED_SHAPE)

    features = encode


class SixteenPixels(TwoPixels):
    latent_dim = 16


def trained(module):
    settings = EvaluationSettings()
    return TrainedModel("toy", Path(), module, None, CORRELATED_SHAPE, settings, {})


def test_applies_to_encoders_with_latent_dim_2():
    assert latent_plane.applies(TwoPixels())
    assert not latent_plane.applies(SixteenPixels())


def test_the_first_unit_increases_to_the_right_and_the_second_upwards():
    z = latent_plane.grid(torch.tensor([[0.0, 10], [1, 25], [4, 30]])).tolist()
    assert z[:3] == [[0, 30], [1, 30], [4, 30]]
    assert z[3:6] == [[0, 25], [1, 25], [4, 25]]
    assert z[-3:] == [[0, 10], [1, 10], [4, 10]]


def test_neighbour_agreement_equals_that_of_scikit_learn():
    g = torch.Generator().manual_seed(0)
    z, labels = torch.randn(1201, 2, generator=g), torch.randint(0, 4, (1201,), generator=g)
    labels[:500] = (z[:500, 0] > 0).long()
    _, found = NearestNeighbors(n_neighbors=2).fit(z.numpy()).kneighbors(z.numpy())
    expected = (labels[torch.from_numpy(found[:, 1])] == labels).double().mean().item()
    assert latent_plane.neighbour_agreement(z, labels) == pytest.approx(expected)


def test_the_grid_covers_the_range_of_the_codes(tmp_path):
    """The first pixel is bright on the right, the last pixel is bright at the top."""
    evaluator = correlated_evaluator()
    result = latent_plane.diagnose(trained(TwoPixels()), evaluator)
    assert 0 <= result.metrics["neighbour_agreement"] <= 1
    (_, figure), scale = result.figures, 16  # 64 px for each image
    figure.save(tmp_path / "grid.png")
    with Image.open(tmp_path / "grid.png") as png:
        tiles = torch.from_numpy(np.asarray(png.convert("L")).copy())
    side = (tiles.shape[1] + scale) // latent_plane.STEPS // 5  # a tile has 4 pixels, its gap 1
    assert side == scale
    first = tiles[side // 2 :: 5 * side, side // 2 :: 5 * side]
    last = tiles[side // 2 + 3 * side :: 5 * side, side // 2 + 3 * side :: 5 * side]
    codes = to_float(evaluator.test.images).flatten(1)[:, [0, 15]]
    z = 255 * codes.quantile(torch.linspace(0.01, 0.99, 16), 0)
    assert first[0].tolist() == pytest.approx(z[:, 0].tolist(), abs=0.6)
    assert last[:, 0].flip(0).tolist() == pytest.approx(z[:, 1].tolist(), abs=0.6)


def test_without_labels_there_is_no_neighbour_agreement():
    evaluator = correlated_evaluator()
    unlabelled = dataclasses.replace(evaluator, test=Split(evaluator.test.images))
    assert not latent_plane.diagnose(trained(TwoPixels()), unlabelled).metrics


@pytest.mark.parametrize(("classes", "measured"), [("a", False), ("ab", True), ("abc", True)])
def test_neighbours_agree_or_not_only_where_there_are_two_classes(classes, measured):
    evaluator = correlated_evaluator()
    labels = evaluator.test.labels % len(classes)
    few = dataclasses.replace(
        evaluator,
        dataset=dataclasses.replace(evaluator.dataset, classes=tuple(classes)),
        test=Split(evaluator.test.images, labels),
    )
    result = latent_plane.diagnose(trained(TwoPixels()), few)
    assert bool(result.metrics) == measured
    assert ("of the codes, the nearest other code has the same class" in result.summary) == measured


def test_the_summary_has_the_number_of_codes_and_their_range(monkeypatch):
    monkeypatch.setattr(latent_plane, "NUM_IMAGES", 40)
    evaluator = correlated_evaluator()
    result = latent_plane.diagnose(trained(TwoPixels()), evaluator)
    z, labels, classes = figure_inputs(result, "codes")
    assert torch.equal(z, TwoPixels().encode(to_float(evaluator.test.images[:40])))
    assert torch.equal(labels, evaluator.test.labels[:40])
    assert classes == ("a", "b", "c")
    low, high = np.quantile(z.numpy(), [0.01, 0.99], axis=0)
    assert "the codes of 40 test images" in result.summary
    for place, unit in (("to the right", 0), ("upwards", 1)):
        assert f"{place} ({low[unit]:.3g} … {high[unit]:.3g})" in result.summary
