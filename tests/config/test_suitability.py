"""Do models, tasks and settings fit the data: by counts, classes and settings alone."""

from dataclasses import replace

import pytest

from latentlab.config.data_facts import DataFacts, prepared_facts
from latentlab.config.experiment import load_experiment
from latentlab.config.settings import EvaluationSettings, TrainerSettings
from latentlab.config.suitability import (
    capped_batch,
    count_notes,
    count_problems,
    is_unsuitable,
    task_problem,
)
from latentlab.contracts import Task

FACTS = DataFacts((1, 8, 8), 2, {"train": 84, "val": 12, "test": 24}, {"a": 83, "b": 1})
MANY = DataFacts((1, 8, 8), 2, {"train": 60_000, "val": 1000, "test": 10_000}, {"a": 9, "b": 9})
NO_LABELS = replace(FACTS, num_classes=0, class_counts={})
EVALUATION = EvaluationSettings()


class Plain(Task):
    def run(self, context):
        return None


class NeedsLabels(Plain):
    needs_labels = True


class NeedsEncoder(Plain):
    needs_encoder = True


def test_a_task_without_needs_suits_all_data():
    assert task_problem(Plain(), NO_LABELS, False) is None


def test_a_task_that_needs_labels_or_an_encoder_says_so():
    problem = task_problem(NeedsLabels(), NO_LABELS, None)
    assert "the data have 0 classes, and this task needs labels" in problem
    assert task_problem(NeedsLabels(), FACTS, None) is None
    assert "no encoder" in task_problem(NeedsEncoder(), FACTS, False)
    assert task_problem(NeedsEncoder(), FACTS, True) is None
    assert task_problem(NeedsEncoder(), FACTS, None) is None, "not known"


def test_more_samples_than_test_images_are_refused():
    assert list(count_problems(FACTS, EVALUATION)) == []
    assert list(count_problems(FACTS, EvaluationSettings(num_samples=24))) == []
    (problem,) = count_problems(FACTS, EvaluationSettings(num_samples=25))
    assert "evaluation.num_samples is 25" in problem
    assert "set it to 24 or less, or to null" in problem


def test_too_few_test_images_are_refused():
    few = replace(FACTS, counts={"train": 1, "val": 1, "test": 5})
    test, train = count_problems(few, EVALUATION)
    assert "the test split has 5 images, and the metrics need at least 6" in test
    assert "Classes of one image and large groups can keep it smaller" in test
    assert "1 training image, and 2 are needed" in train


def test_before_the_data_are_prepared_nothing_is_said_about_counts():
    unknown = DataFacts((1, 8, 8), 2)
    assert list(count_problems(unknown, EvaluationSettings(num_samples=99))) == []
    assert list(count_notes(unknown, EVALUATION, {"vae": TrainerSettings()})) == []


def test_the_usual_budgets_and_many_images_have_no_note():
    assert list(count_notes(MANY, EVALUATION, {"vae": TrainerSettings()})) == []


def test_a_large_batch_a_long_budget_few_test_images_and_single_images_are_noted():
    trainers = {
        "long": TrainerSettings(batch_size=32),  # 1,000,000 images: 64 of 84 in an epoch
        "limited": TrainerSettings(batch_size=32, max_epochs=100),
        "large": TrainerSettings(batch_size=128, max_epochs=100),
    }
    batch, epochs, fid, single = count_notes(FACTS, EVALUATION, trainers)
    assert batch == (
        "trainer.batch_size is larger than the training split (84 images) for large: each batch has"
        " 84"
    )
    assert epochs.startswith("configs/long.yaml: 1,000,000 images are 15,625 epochs of 84")
    assert "the test split has 24 images, which is few for FID" in fid
    assert single == "1 class has one training image: b"


def test_a_batch_is_capped_and_recorded_as_used(small):
    experiment = load_experiment("linear_ae", {"image_shape": (1, 8, 8)}, small.root)
    size = experiment.trainer.batch_size
    assert capped_batch(experiment, size) is experiment
    capped = capped_batch(experiment, size - 1)
    assert capped.trainer.batch_size == size - 1
    assert capped.resolved["trainer"] == {
        **experiment.resolved["trainer"],
        "batch_size": size - 1,
    }
    assert experiment.trainer.batch_size == experiment.resolved["trainer"]["batch_size"] == size


@pytest.mark.parametrize(
    ("name", "edit", "expected"),
    [
        ("conditional_vae", {}, True),  # suits data with labels
        ("dcgan", {}, True),  # suits squares of 32 pixels
        ("dcgan", {"model__init_args__widht": 3}, False),  # suits no data
    ],
)
def test_unsuitable_is_what_other_data_could_train(small, name, edit, expected):
    small.edit(f"configs/{name}.yaml", **edit)
    assert is_unsuitable(lambda spec: load_experiment(name, spec, small.root)) is expected


def test_the_facts_of_a_prepared_folder(tiny):
    facts = prepared_facts(tiny.root / "data" / "prepared")
    assert facts.image_shape == (1, 8, 8)
    assert facts.num_classes == 10
    assert sum(facts.class_counts.values()) == facts.counts["train"]
