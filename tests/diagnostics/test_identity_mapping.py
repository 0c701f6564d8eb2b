"""Identity mapping: a model that copies, and PCA, compared with scikit-learn."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from sklearn.decomposition import PCA as SklearnPCA

from diagnostics.stand_ins import CORRELATED_SHAPE, correlated_evaluator, figure_inputs
from latentlab.config import EvaluationSettings
from latentlab.contracts import Split, to_float
from latentlab.diagnostics import identity_mapping
from latentlab.inference.trained import TrainedModel
from latentlab.metrics.pca import PCA, PCACoder


class Identity:
    """Reconstructs every image exactly."""

    latent_dim, family = 16, "AE"

    def encode(self, x):
        return x.flatten(1)

    def decode(self, z):
        return z.unflatten(1, CORRELATED_SHAPE)

    features = encode


@pytest.fixture
def evaluator():
    return correlated_evaluator()


def trained(module):
    settings = EvaluationSettings()
    return TrainedModel("toy", Path(), module, None, CORRELATED_SHAPE, settings, {})


def pca(evaluator):
    return trained(PCACoder(PCA.fit(evaluator.train), 3, CORRELATED_SHAPE))


def test_residual_variance_separates_the_identity_from_a_model_of_the_data(evaluator):
    identity = identity_mapping.diagnose(trained(Identity()), evaluator)
    assert identity.warnings == ["copies noise"]
    assert all(row["SSE"] == 0 for row in identity.table.values())
    result = identity_mapping.diagnose(pca(evaluator), evaluator)
    assert result.warnings == []
    assert result.metrics["test_images_residual_variance"] < 0.1
    assert result.metrics["noise_residual_variance"] > 0.5


def test_images_that_do_not_differ_have_no_residual_variance(evaluator):
    grey = Split(torch.full((20, *CORRELATED_SHAPE), 131, dtype=torch.uint8))
    result = identity_mapping.diagnose(
        trained(Identity()), replace(evaluator, train=grey, test=grey)
    )
    assert result.metrics == {}
    assert result.warnings == ["the images do not differ: no residual variance"]
    assert "not defined, without variance, for noise" in result.summary


def test_errors_equal_those_of_scikit_learns_pca(evaluator):
    table = identity_mapping.diagnose(pca(evaluator), evaluator).table
    reference = SklearnPCA(3).fit(to_float(evaluator.train.images).flatten(1).double().numpy())
    sets = identity_mapping.image_sets(evaluator.test, evaluator.train, 0)
    assert list(table) == list(sets)
    for name, x in sets.items():
        flat = x.flatten(1).double().numpy()
        x_hat = reference.inverse_transform(reference.transform(flat)).clip(0, 1)
        expected = ((x_hat - flat) ** 2).sum(1).mean()
        assert table[name]["SSE"] == pytest.approx(expected, rel=1e-4)
        assert table[name]["SSE of PCA-3"] == pytest.approx(expected, rel=1e-4)
        assert table[name]["variance"] == pytest.approx(flat.var(0).sum(), rel=1e-4)


def test_out_of_distribution_images_are_one_permutation_and_noise_in_the_range_of_each_pixel(
    evaluator,
):
    sets = identity_mapping.image_sets(evaluator.test, evaluator.train, 0)
    x, shuffled, noise = (part.flatten(1) for part in sets.values())
    assert torch.equal(x.sort(1).values, shuffled.sort(1).values)
    assert not torch.equal(x, shuffled)
    order = [int((shuffled == x[:, [k]]).all(0).nonzero()[0]) for k in range(16)]
    assert sorted(order) == list(range(16)), "the same permutation in every image"
    train = to_float(evaluator.train.images).flatten(1)
    low, high = train.amin(0), train.amax(0)
    assert ((noise >= low) & (noise <= high)).all()
    std = (noise.std(0) / (high - low).clamp_min(1e-9))[low < high].mean()
    assert std == pytest.approx(12**-0.5, rel=0.05)


def test_applies_to_every_encoder():
    assert identity_mapping.applies(Identity())
    assert not identity_mapping.applies(object())


def test_another_seed_gives_another_permutation_and_other_noise(evaluator):
    test, train = evaluator.test, evaluator.train
    first, again, other = (identity_mapping.image_sets(test, train, seed) for seed in (0, 0, 1))
    for name, x in first.items():
        assert torch.equal(again[name], x)
        assert torch.equal(other[name], x) == (name == "test images")


def test_pca_has_at_most_as_many_components_as_the_training_images_have(evaluator):
    few = replace(evaluator, train=evaluator.train.first(3))
    table = identity_mapping.diagnose(trained(Identity()), few).table
    assert all("SSE of PCA-2" in row for row in table.values())


@pytest.mark.parametrize(("noise", "warnings"), [(0.04, ["copies noise"]), (0.05, []), (0.06, [])])
def test_noise_is_copied_below_a_residual_variance_of_5_percent(noise, warnings):
    assert identity_mapping._warnings({"noise": noise}) == warnings


def test_figure_has_four_images_of_each_set_above_their_reconstructions(evaluator):
    model = Identity()
    model.decode = lambda z: z.unflatten(1, CORRELATED_SHAPE) / 2
    result = identity_mapping.diagnose(trained(model), evaluator)
    x, x_hat = figure_inputs(result, "out_of_distribution")
    sets = identity_mapping.image_sets(evaluator.test, evaluator.train, 0)
    assert torch.equal(x, torch.cat([images[:4] for images in sets.values()]))
    assert torch.equal(x_hat, x / 2)
    assert result.figures[0].save.keywords == {"columns": 12}  # one row


@pytest.mark.parametrize("count", [1, 30])
def test_only_the_first_images_are_used(evaluator, monkeypatch, count):
    few = replace(evaluator, train=evaluator.train.first(100), test=evaluator.test.first(count))
    expected = identity_mapping.diagnose(pca(evaluator), few)
    monkeypatch.setattr(identity_mapping, "NUM_FITTED", 100)
    monkeypatch.setattr(identity_mapping, "NUM_IMAGES", count)
    found = identity_mapping.diagnose(pca(evaluator), evaluator)
    assert (found.table, found.summary) == (expected.table, expected.summary)
