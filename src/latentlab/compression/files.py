"""From a compressed file to PNG files: what a stranger's bytes may name, and what not."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

from torch import Tensor

from latentlab.compression import container
from latentlab.contracts import LatentlabError, to_uint8


def model_of(content: bytes) -> str:
    """The model that the file names. Raises LatentlabError where that is no name, but a path."""
    name = container.read(content).model
    if not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_-]*", name):
        raise LatentlabError(
            f"the file names the model {name[:80]!r}, which is no name of a model: give its run"
            " folder as --model"
        )
    return name


def save_images(images: Iterable[tuple[str, Tensor]], folder: Path) -> int:
    """Write (name, (C, H, W) in [0, 1]) as PNG files; returns how many."""
    from PIL import Image

    taken: set[str] = set()
    for row, (name, image) in enumerate(images):
        stem = file_name(name, row, taken)
        taken.add(stem.casefold())
        pixels = to_uint8(image).permute(1, 2, 0).numpy()
        Image.fromarray(pixels.squeeze(2) if pixels.shape[2] == 1 else pixels).save(
            folder / f"{stem}.png"
        )
    return len(taken)


def file_name(name: str, row: int, taken: set[str]) -> str:
    """`name` if it is a plain file name that is not taken yet (in any case), else a number."""
    plain = re.fullmatch(r"[\w][\w .,()+=@-]{0,99}", name) and not name.endswith((" ", "."))
    if plain and name.casefold() not in taken:
        return name
    number = f"image-{row:06d}"
    while number in taken:
        number += "-"
    return number
