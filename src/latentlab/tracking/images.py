"""Log images at several steps of a run. MLflow's web page shows them with a slider.

The images of one step are one file <step>.npy, uint8 (N, H, W, C), in a folder. So a training hands
them over without waiting, and what could not be sent is sent later.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np

_TILE = 64  # px; smaller images are enlarged to about this size


class LoggedImages:
    """Sends the images of a run, each step once.

    `folders`: name of the images → folder. `is_new`: the run was opened by this process. Otherwise
    MLflow is asked which steps it has.
    """

    def __init__(self, client: Any, run_id: str, *, is_new: bool) -> None:
        self._client, self._run_id, self._is_new = client, run_id, is_new
        self.folders: dict[str, Path] = {}
        self._sent: dict[str, set[int]] = {}

    def add(self, folder: Path, key: str) -> None:
        """Add a folder. The images get the name `key`."""
        self.folders[key] = folder

    def send(self) -> None:
        """Send the steps that MLflow does not have. Raises the store's error."""
        for key, folder in self.folders.items():
            for step, path in sorted(_files(folder)):
                if step not in self._steps(key):
                    self._client.log_image(self._run_id, _grid(path), key=key, step=step)
                    self._steps(key).add(step)

    def _steps(self, key: str) -> set[int]:
        if key not in self._sent:
            stored = [] if self._is_new else self._client.list_artifacts(self._run_id, "images")
            names = [Path(file.path).name for file in stored]
            found = [re.match(rf"{re.escape(key)}\+step\+(\d+)\+", name) for name in names]
            self._sent[key] = {int(match[1]) for match in found if match}
        return self._sent[key]


def _files(folder: Path) -> Iterator[tuple[int, Path]]:
    for path in folder.glob("*.npy"):
        if path.stem.isdecimal():
            yield int(path.stem), path


def _grid(path: Path) -> np.ndarray:
    """Read images (N, H, W, C). Return one image (H', W', C), with as many rows as columns."""
    import numpy as np

    images = np.load(path, allow_pickle=False)
    count, height, width, channels = images.shape
    columns = math.ceil(math.sqrt(count))
    rows = math.ceil(count / columns)
    grid = np.full((rows * (height + 1) - 1, columns * (width + 1) - 1, channels), 255, np.uint8)
    for index, image in enumerate(images):
        top, left = index // columns * (height + 1), index % columns * (width + 1)
        grid[top : top + height, left : left + width] = image
    scale = max(1, round(_TILE / width))
    return grid.repeat(scale, 0).repeat(scale, 1)
