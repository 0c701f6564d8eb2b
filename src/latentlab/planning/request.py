"""The options of `latentlab init`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from latentlab.config.goals import find_goal
from latentlab.config.template import require_free
from latentlab.utils.errors import LatentlabError

MAX_SIZE = 1024  # pixels; the measurement of larger images fills the memory
MAX_SEEDS = 100


@dataclass(frozen=True)
class Request:
    """The options of `latentlab init`. None: the choice is latentlab's.

    `seeds`: number of trainings of each model, each with its own seed.
    """

    images: Path | None = None
    goal: str | None = None
    minutes: float | None = None
    size: int | None = None
    channels: int | None = None
    seeds: int | None = None

    def check(self, folder: Path | None) -> None:
        """Raise LatentlabError for a value that is not allowed, and for an unsuitable `folder`."""
        if folder is None:
            raise LatentlabError("give the folder of the new project: latentlab init DIR")
        require_free(folder)
        if self.goal is not None:
            find_goal(self.goal)
        if self.minutes is not None and not 0 < self.minutes < 1e6:
            raise LatentlabError(
                f"--minutes is {self.minutes:g}; it must be above 0: the time for all trainings and"
                " evaluations on this machine, such as --minutes 30"
            )
        if self.size is not None and not 8 <= self.size <= MAX_SIZE:
            raise LatentlabError(
                f"--size is {self.size}; it must be from 8 to {MAX_SIZE} pixels, such as --size 32"
            )
        if self.seeds is not None and not 1 <= self.seeds <= MAX_SEEDS:
            raise LatentlabError(
                f"--seeds is {self.seeds}; it must be from 1 to {MAX_SEEDS}: the trainings of each"
                " model, such as --seeds 3"
            )
        if self.images is not None and folder.resolve().is_relative_to(self.images.resolve()):
            raise LatentlabError(
                f"the project {folder} would lie in the image folder {self.images}, and its files"
                " would be taken for images. Choose a folder beside it"
            )

    @property
    def can_shrink(self) -> bool:
        """True if the size of the images is free, and the time is not."""
        return self.images is not None and self.size is None and self.minutes is not None

    @property
    def is_plain(self) -> bool:
        """True if nothing is asked for but a project."""
        return self == Request()
