"""The length of a training: images, or epochs where the data set is small."""

import pytest

from latentlab.config import TrainerSettings
from latentlab.training import Schedule
from latentlab.utils.errors import LatentlabError


def schedule(total_images, max_epochs, *, steps_per_epoch, validations=20):
    settings = TrainerSettings(
        batch_size=100,
        total_images=total_images,
        max_epochs=max_epochs,
        num_validations=validations,
    )
    return Schedule.of(settings, steps_per_epoch)


@pytest.mark.parametrize(
    ("steps_per_epoch", "epochs"),
    [(540, 19), (35, 60), (500, 20)],  # 54,000 images: by images; 3,500: by epochs; equal
)
def test_the_lesser_of_images_and_epochs_counts(steps_per_epoch, epochs) -> None:
    found = schedule(1_000_000, 60, steps_per_epoch=steps_per_epoch)
    assert (found.epochs, found.steps) == (epochs, epochs * steps_per_epoch)


def test_without_a_limit_all_images_are_seen() -> None:
    found = schedule(1_000_000, None, steps_per_epoch=35)
    assert found.steps * 100 >= 1_000_000
    assert found.epochs % found.validate_every == 0


@pytest.mark.parametrize("limit", [1, 7, 20, 41, 53, 99])
@pytest.mark.parametrize("validations", [1, 3, 20])
def test_the_limit_is_never_exceeded_and_the_last_epoch_is_validated(limit, validations) -> None:
    found = schedule(10**9, limit, steps_per_epoch=10, validations=validations)
    assert 1 <= found.epochs <= limit
    assert found.epochs % found.validate_every == 0
    assert found.epochs // found.validate_every <= validations
    assert found.epochs > limit - found.validate_every


@pytest.mark.parametrize("limit", [0, -1])
def test_a_limit_below_one_is_an_error(limit) -> None:
    with pytest.raises(LatentlabError, match=r"trainer\.max_epochs is .*≥ 1 or null"):
        TrainerSettings(max_epochs=limit)
