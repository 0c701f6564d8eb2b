"""Baselines: real images, PCA, noise and pixels, measured as models are."""

import json
from dataclasses import replace

import pytest

import latentlab
from latentlab.config import load_project
from latentlab.evaluation.baselines import dataset_card, score_baselines
from latentlab.evaluation.evaluator import load_reference, make_evaluator
from latentlab.metrics.pca import PCA


@pytest.fixture(scope="module")
def evaluator(tiny):
    classifier = latentlab.load("classifier", project=tiny.root).module
    return make_evaluator(load_project(tiny.root), classifier)


@pytest.fixture(scope="module")
def reference(tiny):
    return load_reference(tiny.root / "data" / "reference" / "reference.pt")


def test_the_order_of_the_baselines(evaluator, reference):
    real, pca = reference
    scores = score_baselines(evaluator, real=real, pca=pca)
    assert set(scores) == {"real", "pca_gaussian", "noise", "pixels"}
    fids = [scores[name]["fid"] for name in ("real", "pca_gaussian", "noise")]
    assert fids == sorted(fids)
    assert scores["real"]["classifier_accuracy"] > 0.5
    assert scores["pixels"]["probe_accuracy"] > 0.8
    assert scores["pca_gaussian"]["latent_dim"] == 32


def test_pca_with_few_components_and_no_labels(evaluator, reference):
    real, pca = reference
    few = PCA(pca.mean, pca.components[:, :3], pca.variances[:3])
    scores = score_baselines(replace(evaluator, classifier=None), real=real, pca=few)
    assert scores["pca_gaussian"]["latent_dim"] == 3
    assert "classifier_accuracy" not in scores["real"]
    assert scores["pixels"] == {}


def test_the_card_describes_the_data(tiny, evaluator):
    card = json.loads(json.dumps(dataset_card(evaluator)))
    assert card == json.loads((tiny.root / "results" / "reference" / "card.json").read_text())
    assert (card["data"], card["features"], card["num_samples"]) == ("digits", "classifier", 108)
    assert card["counts"] == {"train": 1509, "val": 180, "test": 108}
    assert card["num_real_samples"] == 108
    few = replace(evaluator, train=evaluator.train.first(9))
    assert dataset_card(few)["num_real_samples"] == 9
