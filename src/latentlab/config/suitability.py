"""Do models, tasks and settings fit the data? Known from counts, classes and settings alone."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from latentlab.config.data_facts import DataFacts
from latentlab.config.experiment import Experiment
from latentlab.config.model_contract import require_model, require_outputs
from latentlab.config.settings import EvaluationSettings, TrainerSettings
from latentlab.utils.errors import LatentlabError
from latentlab.utils.names import counted, some

if TYPE_CHECKING:
    from latentlab.contracts import Task

# Data that suit every model: what fails on the user's data and works on these is unsuitable.
COMMON_DATA: dict[str, Any] = {"image_shape": (3, 32, 32), "num_classes": 10}
NEIGHBOURS = 6  # images that precision and recall need: the five nearest neighbours of one image
MAX_EPOCHS = 1000  # more are a budget that was made for more images
FEW_IMAGES = {"classifier": 256, "inception": 2048}  # for FID: as many as features by default


def require_suitable(experiment: Experiment, data_spec: Mapping[str, Any]) -> None:
    """Raise LatentlabError if the built model breaks its contract for images of these data."""
    require_model(experiment.model)
    require_outputs(experiment.model, experiment.sampler, data_spec["image_shape"])


def is_unsuitable(build: Callable[[Mapping[str, Any]], Experiment]) -> bool:
    """True if `build` works for COMMON_DATA: then not the config is wrong, but it needs other data.

    `build`: data_spec → experiment; it has failed for the data of the user.
    """
    try:
        require_suitable(build(COMMON_DATA), COMMON_DATA)
    except LatentlabError:
        return False
    return True


def reason_of(name: str, error: LatentlabError) -> str:
    """The message of an error in building the model `name`, without the names of its files."""
    return re.sub(rf"^{re.escape(name)} cannot be built \([^)]*\): ", "", str(error))


def task_problem(task: Task, facts: DataFacts, has_encoder: bool | None) -> str | None:
    """Why a task cannot run on these data, or with its model; None if it can.

    `has_encoder`: of the model, None if that is not known.
    """
    if task.needs_labels and facts.num_classes < 2:
        return (
            f"the data have {facts.num_classes} classes, and this task needs labels of two or more:"
            " remove it from `tasks` in params.yaml, or put the images of each class into a folder"
        )
    if task.needs_encoder and has_encoder is False:
        return (
            "the model has no encoder, and this task needs codes of images: set the task's `model`,"
            " in its config and in params.yaml, to an autoencoder"
        )
    return None


def capped_batch(experiment: Experiment, train_images: int) -> Experiment:
    """The experiment with a batch of at most `train_images`, also in what is recorded."""
    if experiment.trainer.batch_size <= train_images:
        return experiment
    trainer = replace(experiment.trainer, batch_size=train_images)
    recorded = {**experiment.resolved["trainer"], "batch_size": train_images}
    resolved = {**experiment.resolved, "trainer": recorded}
    return replace(experiment, trainer=trainer, resolved=resolved)


def count_problems(facts: DataFacts, evaluation: EvaluationSettings) -> Iterator[str]:
    """What the numbers of images forbid, for params.yaml. Nothing before stage prepare."""
    test, train = facts.counts.get("test"), facts.counts.get("train")
    if test is not None and test < NEIGHBOURS:
        yield (
            f"data: the test split has {counted(test, 'image')}, and the metrics need at least"
            f" {NEIGHBOURS}: add images; if this split is drawn, raise data.test_fraction. Classes"
            " of one image and large groups can keep it smaller than the fraction"
        )
    elif test is not None and (evaluation.num_samples or 0) > test:
        yield (
            f"evaluation.num_samples is {evaluation.num_samples}, but FID compares at most as many"
            f" samples as there are test images, {test}: set it to {test} or less, or to null"
        )
    if train is not None and train < 2:
        yield f"data: there is {counted(train, 'training image')}, and 2 are needed: add images"


def count_notes(
    facts: DataFacts, evaluation: EvaluationSettings, trainers: Mapping[str, TrainerSettings]
) -> Iterator[str]:
    """What works in another way than on many images. `trainers`: model → its settings."""
    train, test = facts.counts.get("train"), facts.counts.get("test")
    if train is None or test is None:
        return
    if large := [name for name, each in trainers.items() if each.batch_size > train]:
        yield (
            f"trainer.batch_size is larger than the training split ({counted(train, 'image')})"
            f" for {some(large)}: each batch has {train}"
        )
    for name, each in trainers.items():
        batch = min(each.batch_size, train)
        epochs = each.total_images / (train // batch * batch)
        if epochs > MAX_EPOCHS and (each.max_epochs or epochs) > MAX_EPOCHS:
            used = min(epochs, each.max_epochs or epochs)
            yield (
                f"configs/{name}.yaml: {each.total_images:,} images are {epochs:,.0f} epochs of"
                f" {train}, and {used:,.0f} are trained: set trainer.max_epochs, such as 100"
            )
    if test <= FEW_IMAGES[evaluation.features]:
        yield (
            f"the test split has {counted(test, 'image')}, which is few for FID: look at its"
            " interval, and at FID∞, before you rank models by it"
        )
    if single := [name for name, count in facts.class_counts.items() if count == 1]:
        yield f"{counted(len(single), 'class', 'has')} one training image: {some(single)}"
