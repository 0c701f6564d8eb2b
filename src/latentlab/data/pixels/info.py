"""What image files hold: a record of each, and the white level of all of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from latentlab.data.pixels.frames import Frame
from latentlab.data.pixels.settings import PixelSettings
from latentlab.data.pixels.values import RawImage
from latentlab.data.problems import format_files
from latentlab.utils.errors import LatentlabError
from latentlab.utils.names import counted


@dataclass(frozen=True, slots=True)
class DecodedInfo:
    """What one image file holds, and what was left out of it.

    Attributes:
        width, height: of the first frame, upright, in pixels, before it was scaled.
        mode: the pixels of the file: a mode of Pillow, or a type such as "uint16 RGB".
        bits: bits of one value; 32 or 64 for floats.
        frames: frames or pages in the file, at least 1. Previews and sub-resolutions do not count.
        dropped: frames that are not among the images.
        white: for integers deeper than 8 bits, the value of white by their type, which their
            largest value must come near to; None for other files, or if the file states its white.
        largest: the largest value of these integers; None for other files.
        unused_channels: values of a pixel that are neither colour nor alpha, and are not read.
    """

    width: int
    height: int
    mode: str
    bits: int = 8
    frames: int = 1
    dropped: int = 0
    white: int | None = None
    largest: int | None = None
    unused_channels: int = 0


def require_white(infos: Mapping[str, DecodedInfo], settings: PixelSettings) -> tuple[int, ...]:
    """Return the white levels of integers deeper than 8 bits; each must be in use.

    A white level is in use if the value of some pixel of all files has the highest bit.

    Raises:
        LatentlabError: it is not, so the true white is lower, unless all images are dark.
    """
    if settings.white is not None:
        return settings.known_whites
    largest: dict[int, int] = {}
    for info in infos.values():
        if info.white is not None and info.largest is not None:
            largest[info.white] = max(info.largest, largest.get(info.white, 0))
    for white, found in largest.items():
        if found > white // 2 or white in settings.known_whites:
            continue
        files = {name: "" for name, info in infos.items() if info.white == white}
        raise LatentlabError(
            f"{counted(len(files), 'file', 'has')} integers up to {white} by their type, but their"
            f" largest value is {found}: {format_files(files)}. Set data.white to the value that is"
            f" white, for example {max(2 ** found.bit_length() - 1, 1)}, or to {white} if the"
            " images are so dark."
        )
    return tuple(sorted({*largest, *settings.known_whites}))


def describe(frame: Frame, frames: int = 1, dropped: int = 0) -> DecodedInfo:
    """Return the record of a file whose first frame is `frame`."""
    image = frame.content
    width, height = image.size
    if isinstance(image, RawImage):
        turned = frame.orientation
        deep = image.bits > 8 and image.values.dtype.kind != "f" and not image.stated
        white = int(image.white) if deep else None
        largest = int(image.largest) if deep else None
        mode, bits = image.mode, image.bits
    else:
        turned = image.getexif().get(0x0112, 1)
        white = 2**16 - 1 if frame.deep else None
        largest = 257 * int(np.asarray(image).max()) if frame.deep else None
        mode, bits = image.mode, (16 if frame.deep else 1 if image.mode == "1" else 8)
    if turned in (5, 6, 7, 8):
        width, height = height, width
    unused = frame.unused_channels
    return DecodedInfo(width, height, mode, bits, frames, dropped, white, largest, unused)
