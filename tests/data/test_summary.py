"""The summary of a data set: its counts by independent means, its sentences, what stops."""

import json

import numpy as np
import pytest

from latentlab.data.partition import Part, partition
from latentlab.data.pixels.info import DecodedInfo
from latentlab.data.settings import DataSettings
from latentlab.data.sources import Images, Source
from latentlab.data.summary import DataSummary, require_allowed, sentences, summarize
from latentlab.utils.errors import LatentlabError

OWN = DataSettings(name="image_folder", size=4)


@pytest.fixture
def source() -> Source:
    """60 random images of 3 classes, of which "c" has no training image; copies and flat images."""
    pixels = np.random.default_rng(0).integers(20, 200, (60, 1, 4, 4), dtype=np.uint8)
    pixels[1] = pixels[0]  # in training, of another class
    pixels[50] = pixels[3]  # test and training
    pixels[10], pixels[11], pixels[20:22] = 5, 6, 250
    pixels[21, 0, 0, 0] = 100  # one of 16 values: not nearly all of them
    splits = ["train"] * 50 + ["test"] * 10
    labels = np.array([0, 1] * 25 + [1] * 5 + [2] * 5)
    names = [f"{n}.png" for n in range(60)]
    groups = ["p"] + [""] * 58 + ["p"]
    infos = {name: DecodedInfo(3 + n, 9, "L", frames=1) for n, name in enumerate(names)}
    infos["7.png"] = DecodedInfo(100, 50, "L", frames=4, dropped=3)
    images = Images(pixels, labels, names, splits, groups, names, infos)
    return Source("image_folder", images, None, ("a", "b", "c"), ("x.txt",), notes=("a note",))


def test_the_counts_are_those_of_the_images(source) -> None:
    found = summarize(source, partition(source, OWN, 0), OWN)
    assert found.counts == {"train": 45, "val": 5, "test": 10}
    assert found.classes is not None
    assert sum(sum(counts.values()) for counts in found.classes.values()) == 60
    assert found.classes["c"] == {"train": 0, "val": 0, "test": 5}
    assert (found.widths, found.heights) == ((3, 33, 100), (9, 9, 50))
    assert (found.upscaled, found.multi_frame, found.frames_dropped) == (1, 1, 3)
    assert (found.unreadable, found.near_black, found.near_white) == (1, 2, 1)
    assert (found.duplicates.copies, found.duplicates.test, found.duplicates.classes) == (2, 1, 2)
    assert (found.groups, found.groups_cut) == (1, ("p",))
    assert found.without_training == ("c",)
    assert found.missing == {"train": 1, "val": 1, "test": 1}


def test_the_sentences_say_what_is_unusual(source) -> None:
    said = sentences(summarize(source, partition(source, OWN, 0), OWN))
    for text in (
        "1 test image equals a training or validation image (",
        "2 images equal an image of another class",
        "in several splits: 1 of 1 group (p)",
        "1 class has no training image: c",
        "without a val image: 1 of 3 classes",
        "not used (data.frames): 3 frames of 1 file, such as 7.png",
        "1 file was smaller than data.size",
        "2 images are nearly all black",
        "1 image is nearly all white",
        "a note",
    ):
        assert any(line.startswith(text) for line in said), text
    assert sentences(DataSummary("digits", {"train": 1})) == []


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("on_duplicates", r"1 test image equals .*on_duplicates is error.*Remove the copies"),
        ("on_split_problem", r"in several splits: .*1 class has no training.*Add images"),
    ],
)
def test_settings_decide_what_stops(source, setting, message) -> None:
    settings = DataSettings(name="image_folder", size=4, **{setting: "error"})
    found = summarize(source, partition(source, settings, 0), settings)
    require_allowed(found, OWN)
    with pytest.raises(LatentlabError, match=message):
        require_allowed(found, settings)
    require_allowed(DataSummary("digits", {"train": 1}), settings)


def test_a_public_data_set_has_a_summary(source) -> None:
    pixels = np.random.default_rng(1).integers(0, 256, (30, 1, 4, 4), dtype=np.uint8)
    train = Images(pixels, None, range(30))
    test = Images(pixels[:5], None, range(5))
    digits, settings = Source("mnist", train, test, None), DataSettings(name="mnist")
    found = summarize(digits, partition(digits, settings, 0), settings)
    assert (found.classes, found.widths, found.duplicates.test) == (None, None, 5)
    assert found.other_size == {}


@pytest.mark.parametrize(
    ("groups", "splits", "wanted"),
    [
        (["a"] * 51 + ["b"] * 47 + ["c", "d"], None, {"val": 10, "test": 20}),
        ([str(row // 2) for row in range(100)], None, {}),
        (["a"] * 78 + ["b"] * 2 + ["c"] * 20, ["train"] * 80 + ["test"] * 20, {"val": 8}),
    ],
)
def test_a_drawn_split_far_from_its_fraction_is_named(groups, splits, wanted) -> None:
    pixels = np.random.default_rng(2).integers(20, 200, (100, 1, 4, 4), dtype=np.uint8)
    images = Images(pixels, None, [str(row) for row in range(100)], splits, groups)
    own = Source("image_folder", images, None, None)
    parts = partition(own, OWN, 0)
    found = summarize(own, parts, OWN)
    assert found.other_size == wanted
    for split, size in wanted.items():
        said = f"the {split} split has {len(parts[split].rows)} image"
        assert any(said in text and f"means {size}:" in text for text in sentences(found))


def test_the_content_is_json_also_with_names_that_are_not_utf8(source) -> None:
    part = Part(source.train, np.arange(60), np.zeros(60, int))
    odd = Source("image_folder", source.train, None, ("a\udcff", "b", "c"))
    content = summarize(odd, {"train": part}, OWN).content()
    assert list(content["classes"]) == ["a?", "b", "c"]
    assert json.loads(json.dumps(content)) == content
    assert content["sentences"]
