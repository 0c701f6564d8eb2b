"""What the name of a folder, a shard or a file means: a split, images, or their masks."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

SPLIT_WORDS = {
    "train": "train",
    "training": "train",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "dev": "val",
    "test": "test",
    "testing": "test",
}
SIMILAR_WORDS = {  # of folders that are splits, beside one that is named exactly so
    "trn": "train",
    **dict.fromkeys(("validate", "validating", "vals"), "val"),
    **dict.fromkeys(
        ("tests", "tst", "eval", "evaluate", "evaluation", "holdout", "heldout"), "test"
    ),
    **dict.fromkeys(("pred", "predict"), "test"),
    **dict.fromkeys(("unlabelled", "unlabeled", "unsupervised"), "unlabelled"),
}
IMAGE_WORDS = {"image", "images", "img", "imgs", "jpegimages"}
MASK_WORDS = {
    *("annotation", "annotations", "gt", "groundtruth", "label", "labels", "mask", "masks"),
    *("segmentation", "segmentations", "segmentationclass", "segmentationobject"),
}
MASK_ENDING = re.compile(
    r"[ _.-](mask|seg|segmentation|gt|groundtruth|annotation)([_-]?\d+)?$", re.IGNORECASE
)


def split_of(word: str) -> str | None:
    """Return "train", "val" or "test" for the name of a split in any case; None for other words."""
    return SPLIT_WORDS.get(word.strip().lower())


def resembles(name: str, *, exactly: bool = False) -> str | None:
    """The split that a part of the name means: `seg_train`, `val2017`, `trainA`, `TestImages`.

    None for other names. `exactly`: None also for words such as `eval`, which are not clear.
    """
    parts = re.sub(r"([a-z])([A-Z])", r"\1 \2", name).lower()
    for word in re.split(r"[^a-z]+", re.sub(r"(hold|held)[ _-]out", r"\1out", parts)):
        stem = re.sub(r"(set|data|images?|imgs?|files?|split)$", "", word)
        if split := split_of(stem) or (None if exactly else SIMILAR_WORDS.get(stem)):
            return split
    return None


def are_images_and_masks(names: Iterable[str]) -> bool:
    """True for names such as `images` and `masks`, and no others."""
    words = {re.sub(r"[^a-z]", "", name.lower()) for name in names}
    both = words & IMAGE_WORDS and words & MASK_WORDS
    return bool(both) and words <= IMAGE_WORDS | MASK_WORDS


def mask_files(names: Sequence[str]) -> list[str]:
    """The files that look like masks of others: `a_mask.png` beside `a.png` or `a.jpg`."""
    stems = {name.rpartition(".")[0] for name in names}
    found = ((name, MASK_ENDING.search(name.rpartition(".")[0])) for name in names)
    return [name for name, ending in found if ending and name[: ending.start()] in stems]
