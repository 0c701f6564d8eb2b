"""What models use labels for."""

from types import SimpleNamespace

import pytest

from latentlab.config import load_experiment
from latentlab.inference.labels import labels_in_training, uses_of_labels
from latentlab.inference.trained import TrainedModel

DATA = {"image_shape": (1, 28, 28), "num_classes": 10}
CLASSES = tuple(str(digit) for digit in range(10))


def test_the_number_of_labels_that_a_model_was_given():
    conditional = SimpleNamespace(num_classes=3, condition=lambda z, y: z)
    assert labels_in_training(conditional, 50) == 50
    assert labels_in_training(SimpleNamespace(num_labelled=100), 3000) == 100
    assert labels_in_training(SimpleNamespace(num_labelled=100), 40) == 40
    assert labels_in_training(SimpleNamespace(), 50) == 0


def trained(name, root, classes=CLASSES, **trainer):
    experiment = load_experiment(name, DATA, root)
    resolved = experiment.resolved | {"trainer": experiment.resolved["trainer"] | trainer}
    return TrainedModel(
        name=name,
        folder=root,
        module=experiment.model,
        sampler=experiment.sampler,
        image_shape=DATA["image_shape"],
        evaluation=experiment.project.evaluation,
        metadata={"resolved": resolved},
        classes=classes,
    )


@pytest.mark.parametrize(
    ("name", "uses"),
    [
        ("linear_ae", []),
        ("vae", []),
        ("conditional_vae", ["training: the labels of all", "sampling: the freq", "metrics of s"]),
        ("semi_supervised_gan", ["training: 100 images with labels", "tuning: the affine maps"]),
        ("infogan", ["its category error", "the choice of the ch", "tuning: `noise_scale`"]),
        ("wae", ["tuning: `lr`"]),
    ],
)
def test_each_use_of_labels_is_listed(repo, name, uses):
    found = uses_of_labels(trained(name, repo))
    assert len(found) == len(uses), found
    for text, start in zip(found, uses, strict=True):
        assert text.startswith(start)
    assert uses_of_labels(trained(name, repo, classes=None)) == [], "data without labels"


def test_the_choice_of_the_best_checkpoint_uses_the_features_of_the_classifier(repo):
    assert "choice of the checkpoint" in uses_of_labels(trained("vae", repo, checkpoint="best"))[0]
