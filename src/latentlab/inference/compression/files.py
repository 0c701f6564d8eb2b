"""PNG files of decompressed images. Names in the file are checked before they become paths."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

from torch import Tensor

from latentlab.contracts import to_uint8
from latentlab.inference.compression import container
from latentlab.utils.errors import LatentlabError


def model_name(content: bytes) -> str:
    """Return the name of the model that wrote a compressed file.

    Raises:
        LatentlabError: the name is not a plain name, for example a path; or a damaged file.
    """
    name = container.read(content).model
    if not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_-]*", name):
        raise LatentlabError(
            f"The file has the model name {name[:80]!r}. Allowed are letters, digits, _ and -. Give"
            " the run folder of the model as --model."
        )
    return name


def save_images(images: Iterable[tuple[str, Tensor]], folder: Path) -> int:
    """Write pairs of name and image (C, H, W) in [0, 1] as PNG files. Return their number."""
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
    """Return `name` if it is a plain file name that is not `taken`, else image-<row>.

    `taken` has casefolded names, because some file systems ignore case.
    """
    plain = re.fullmatch(r"[\w][\w .,()+=@-]{0,99}", name) and not name.endswith((" ", "."))
    if plain and name.casefold() not in taken:
        return name
    number = f"image-{row:06d}"
    while number in taken:
        number += "-"
    return number
