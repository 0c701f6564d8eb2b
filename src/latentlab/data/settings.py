"""What the user may choose about the data; every choice is checked when it is made."""

from __future__ import annotations

from dataclasses import dataclass

from latentlab.contracts import LatentlabError

NAMES = ("digits", "mnist", "fashion_mnist", "cifar10", "image_folder", "shards")
ON_UNREADABLE = ("stop", "skip")


@dataclass(frozen=True)
class DataSettings:
    """The `data` section of params.yaml.

    Attributes:
        name: one of `NAMES`: digits (ships with scikit-learn), mnist, fashion_mnist, cifar10,
            image_folder (your own images) or shards (the same, packed into tar files).
        folder: where image_folder's images or the shards lie; a relative path starts at the
            project's root. An image folder's sub-folders are the classes; files that lie directly
            in it have no labels.
        size: height and width in pixels, ≥ 1; None keeps the set's own size (image_folder and
            shards have none and need a number).
        channels: 1 (grey) or 3 (colour); None keeps the set's own (image_folder, shards: 3).
        val_fraction: share of the images, in (0, 1), set aside for validation; where an official
            test split exists, the share of the official training images.
        test_fraction: share of the images, in (0, 1), set aside for the test; unused where an
            official test split exists.
        on_unreadable: "stop" at image files that cannot be read, or "skip" and list them.

    Raises:
        LatentlabError: a value outside what is listed here.
    """

    name: str = "digits"
    folder: str = "data/images"
    size: int | None = None
    channels: int | None = None
    val_fraction: float = 0.1
    test_fraction: float = 0.2
    on_unreadable: str = "stop"

    def __post_init__(self) -> None:
        self._one_of("name", NAMES)
        self._one_of("channels", (None, 1, 3))
        self._one_of("on_unreadable", ON_UNREADABLE)
        for key in ("val_fraction", "test_fraction"):
            if not 0 < getattr(self, key) < 1:
                raise LatentlabError(
                    f"data.{key} is {getattr(self, key)}; it must lie between 0 and 1."
                )
        if self.val_fraction + self.test_fraction >= 1:
            raise LatentlabError(
                f"data.val_fraction {self.val_fraction} + data.test_fraction {self.test_fraction} "
                "leave nothing to train on; their sum must stay below 1."
            )
        if self.size is not None and self.size < 1:
            raise LatentlabError(f"data.size is {self.size}; it must be 1 pixel or more, or null.")
        if self.name in ("image_folder", "shards") and self.size is None:
            raise LatentlabError(
                f"data.size is null; {self.name} has no size of its own: "
                "set data.size to the height and width in pixels, for example 64."
            )

    def _one_of(self, key: str, allowed: tuple[object, ...]) -> None:
        if (value := getattr(self, key)) not in allowed:
            listed = ", ".join("null" if choice is None else str(choice) for choice in allowed)
            raise LatentlabError(f"data.{key} is {value!r}; choose one of: {listed}.")
