"""Own images that belong together stay on one side of a random split; given splits stay."""

import numpy as np
import pytest

from latentlab.data.partition import partition
from latentlab.data.settings import DataSettings
from latentlab.data.sources import Images, Source

OWN = {"name": "image_folder", "size": 4}


def source(pixels, name="image_folder", **images) -> Source:
    names = [f"{n}.png" for n in range(len(pixels))]
    return Source(name, Images(pixels, None, names, **images), None, None)


def with_copies(count: int) -> np.ndarray:
    """`count` random images, and then a copy of each."""
    pixels = np.random.default_rng(0).integers(0, 256, (count, 1, 4, 4), dtype=np.uint8)
    return np.concatenate([pixels, pixels])


def splits_of(parts, count: int) -> np.ndarray:
    found = np.empty(count, "U5")
    for name, part in parts.items():
        found[part.rows] = name
    return found


@pytest.mark.parametrize("on_duplicates", ["keep_together", "error", "report"])
def test_copies_stay_on_one_side_unless_they_are_only_reported(on_duplicates) -> None:
    settings = DataSettings(**OWN, on_duplicates=on_duplicates)
    found = splits_of(partition(source(with_copies(100)), settings, 0), 200)
    assert np.array_equal(found[:100], found[100:]) == (on_duplicates != "report")
    assert (found == "test").sum() == 40


def test_copies_in_a_public_data_set_change_no_split() -> None:
    both = with_copies(50)
    other = np.random.default_rng(1).integers(0, 256, both.shape, dtype=np.uint8)
    splits = [
        splits_of(partition(source(pixels, "digits"), DataSettings(), 0), 100)
        for pixels in (both, other)
    ]
    np.testing.assert_array_equal(*splits)


def test_groups_and_frames_of_one_file_stay_on_one_side() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (90, 1, 4, 4), dtype=np.uint8)
    groups = [f"p{n % 20}" if n < 60 else "" for n in range(90)]
    files = [f"{n // 3 if n >= 60 else n}.tif" for n in range(90)]
    parts = partition(source(pixels, groups=groups, files=files), DataSettings(**OWN), 0)
    found = splits_of(parts, 90)
    assert all(len(set(found[n:60:20])) == 1 for n in range(20))
    assert all(len(set(found[n : n + 3])) == 1 for n in range(60, 90, 3))
    assert len(set(found[60:])) > 1, "images without a group are not one group"


def test_given_splits_stay_with_copies_across() -> None:
    given = ["train"] * 100 + ["test"] * 100
    parts = partition(source(with_copies(100), splits=given), DataSettings(**OWN), 0)
    assert sorted(parts["test"].rows) == list(range(100, 200))
    assert len(parts["val"].rows) == 10
    equal = np.isin(parts["test"].prints, [*parts["train"].prints, *parts["val"].prints])
    assert equal.all()
