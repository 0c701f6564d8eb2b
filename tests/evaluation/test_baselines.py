"""Baselines: real images, PCA, noise and pixels, measured as models are."""

import json
from dataclasses import replace

import pytest
import torch

import latentlab
from latentlab.config import EvaluationSettings, load_project
from latentlab.contracts import Split
from latentlab.data.prepared import DatasetInfo, read_split
from latentlab.evaluation.baselines import dataset_card, score_baselines
from latentlab.evaluation.evaluator import Evaluator
from latentlab.evaluation.reference import load_reference
from latentlab.evaluation.setup import make_evaluator
from latentlab.metrics.pca import PCA


@pytest.fixture(scope="module")
def evaluator(tiny):
    classifier = latentlab.load("classifier", project=tiny.root).module
    return make_evaluator(load_project(tiny.root), classifier)


@pytest.fixture(scope="module")
def reference(tiny):
    return load_reference(tiny.root / "data" / "reference" / "reference.pt")


@pytest.fixture(scope="module")
def val(tiny):
    return read_split(load_project(tiny.root).prepared, "val")


def test_the_order_of_the_baselines(evaluator, reference, val):
    scores = score_baselines(evaluator, reference, val)
    assert set(scores) == {"real", "pca_gaussian", "noise", "pixels"}
    fids = [scores[name]["fid"] for name in ("real", "pca_gaussian", "noise")]
    assert fids == sorted(fids)
    assert scores["real"]["classifier_accuracy"] > 0.5
    assert scores["pixels"]["probe_accuracy"] > 0.8
    assert scores["pca_gaussian"]["latent_dim"] == 32
    for name in ("real", "pca_gaussian", "noise"):
        assert scores[name]["ci95"]["fid"] > 0, "several draws have an interval"
    assert 0.4 < scores["real"]["novelty"]["authenticity"] < 0.8
    assert scores["noise"]["novelty"]["authenticity"] > 0.95


def test_one_draw_has_no_interval(evaluator, reference, val):
    once = replace(evaluator, settings=replace(evaluator.settings, num_draws=1))
    scores = score_baselines(once, reference, val)
    assert set(scores["real"]["ci95"]) == {"classifier_accuracy"}
    assert "ci95" not in scores["noise"]


def test_pca_with_few_components_and_no_labels(evaluator, reference, val):
    pca = reference.pca
    few = replace(reference, pca=PCA(pca.mean, pca.components[:, :3], pca.variances[:3]))
    bare = replace(evaluator, classifier=None, both_features=None)
    scores = score_baselines(bare, few, val)
    assert scores["pca_gaussian"]["latent_dim"] == 3
    assert not {"classifier_accuracy", "class_fid"} & set(scores["real"])
    assert scores["pixels"] == {}


def test_the_card_describes_the_data(tiny, evaluator):
    card = json.loads(json.dumps(dataset_card(evaluator)))
    stored = json.loads((tiny.root / "results" / "reference" / "card.json").read_text())
    reference = load_reference(tiny.root / "data" / "reference" / "reference.pt")
    assert stored == {**card, "reference": reference.digest}
    assert (card["data"], card["features"], card["num_samples"]) == ("digits", "classifier", 108)
    assert card["counts"] == {"train": 1509, "val": 180, "test": 108}
    assert card["num_real_samples"] == 108
    few = replace(evaluator, train=evaluator.train.first(9))
    assert dataset_card(few)["num_real_samples"] == 9


def test_the_real_samples_are_training_images():
    """The training images are bright and the test images dark, so that a leak shows."""
    generator = torch.Generator().manual_seed(0)

    def split(brightness, count):
        noise = torch.randint(0, 40, (count, 1, 4, 4), generator=generator)
        return Split((brightness + noise).to(torch.uint8))

    train, val, test = split(200, 60), split(200, 20), split(20, 60)
    dataset = DatasetInfo("two", (1, 4, 4), (), {"train": 60, "val": 20, "test": 60}, (), 0, "0")
    pixels = Evaluator(dataset, train, test, lambda x: x.flatten(1), None, EvaluationSettings())
    scores = score_baselines(pixels, pixels.reference(PCA.fit(train)), val)
    assert scores["real"]["fid"] == pytest.approx(16 * (180 / 255) ** 2, rel=0.05)
    assert scores["real"]["precision"] == 0
