"""One image file → its frames, each as a Pillow image or as the values that the file stores."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING

import numpy as np

from latentlab.data.pixels.fits import read_fits
from latentlab.data.pixels.jpeg2000 import read_jpeg2000
from latentlab.data.pixels.netpbm import read_netpbm
from latentlab.data.pixels.png16 import is_deep_png, read_deep_png
from latentlab.data.pixels.settings import MAX_PIXELS
from latentlab.data.pixels.tiff import RGB, Page, is_tiff, pillow_reads, read_page, read_pages
from latentlab.data.pixels.values import RawImage, raw_of_pillow

if TYPE_CHECKING:
    from PIL.Image import Image

# other sizes of one image, layers or previews are no frames
ONE_IMAGE = {"ICO", "ICNS", "CUR", "PSD"}
HIGH_BYTE = re.compile(r".*;16[BLNS]?$")  # rawmodes of which Pillow keeps the high byte
FIVE_BITS = re.compile(r"BGR;1[56]$|RGB;1[56]$|BGR.*;16$")  # 16 bits of a whole pixel


@dataclass(frozen=True)
class Frame:
    """One frame: a Pillow image that is not decoded yet, or stored values.

    `orientation`: of EXIF, 1…8, for stored values; Pillow images carry their own. `deep`: the image
    has 8 bits, but the file has 16. `unused_channels`: values of a pixel that are not read.
    """

    content: Image | RawImage
    orientation: int = 1
    deep: bool = False
    unused_channels: int = 0


@dataclass(frozen=True)
class Frames:
    """The frames of an open file: their number, and a function that reads frame i.

    `format`: as Pillow names it. `sizes`: the different widths and heights of the frames, that of
    the first frame first, before they are upright.
    """

    count: int
    read: Callable[[int], Frame]
    format: str
    sizes: tuple[tuple[int, int], ...]


@contextmanager
def open_frames(source: Path | IO[bytes], max_pixels: int = MAX_PIXELS) -> Iterator[Frames]:
    """Open an image file. A frame is valid until the next is read.

    Raises:
        Exception: for files that cannot be read, as Pillow's plugins.
    """
    from PIL import Image, UnidentifiedImageError

    with source.open("rb") if isinstance(source, Path) else nullcontext(source) as file:
        header = file.read(26)
        if not header:
            raise ValueError("the file is empty")
        file.seek(0)
        pages = read_pages(file) if is_tiff(header) else []
        sizes = tuple(dict.fromkeys((page.width, page.height) for page in pages))
        for page in pages:
            refuse_large(page.width, page.height, max_pixels)
        try:
            file.seek(0)
            opened = Image.open(file)
        except UnidentifiedImageError:
            if not pages:
                raise
            yield Frames(len(pages), lambda i: _tiff_frame(file, pages[i], None), "TIFF", sizes)
            return
        with opened as image:
            refuse_large(*image.size, max_pixels)
            if pages:
                yield Frames(
                    len(pages), lambda i: _tiff_frame(file, pages[i], image), "TIFF", sizes
                )
            else:
                places = frame_places(image)
                name = image.format or ""
                own = (image.size,)
                yield Frames(
                    len(places), lambda i: _frame(file, image, places[i], header), name, own
                )


def refuse_large(width: int, height: int, max_pixels: int) -> None:
    """Raise ValueError for more pixels than the setting allows."""
    if width * height > max_pixels:
        raise ValueError(f"{width} × {height} pixels are more than data.max_pixels {max_pixels}")


def frame_places(image: Image) -> list[int]:
    """Return the places of the frames, for image.seek. Previews and other sizes are left out."""
    if image.format in ONE_IMAGE:
        return [0]
    count = getattr(image, "n_frames", 1)
    if image.format == "MPO":
        entries = image.mpinfo[0xB002]  # type: ignore[attr-defined]
        types = [str(entry["Attribute"]["MPType"]) for entry in entries]
        return [0, *(i for i in range(1, count) if types[i].startswith("Multi-Frame"))]
    return list(range(count))


def _tiff_frame(file: IO[bytes], page: Page, image: Image | None) -> Frame:
    unused = page.unused_channels
    if image is None or not pillow_reads(page):
        return Frame(read_page(file, page), page.orientation, unused_channels=unused)
    image.seek(page.index)
    image.load()  # also applies the orientation
    inverted = page.photometric == 0
    raw = raw_of_pillow(image, white_is_zero=inverted)
    if image.mode == "L" and page.bits in (2, 4):
        return Frame(few_bits(image, page.bits, white_is_zero=inverted))
    if page.photometric == RGB and page.samples == 4 and not page.extra:
        # Pillow takes a fourth value that is not specified for opacity
        return Frame(RawImage(np.asarray(image)[:, :, :3], 8, 255), unused_channels=unused)
    if raw is None:
        return Frame(image, unused_channels=unused)
    white = 2 ** (page.bits - (page.kind == 2)) - 1 if page.kind != 3 else 1
    return Frame(RawImage(raw.values, page.bits, white, raw.white_is_zero))


def _frame(file: IO[bytes], image: Image, place: int, header: bytes) -> Frame:
    if place or image.tell():
        image.seek(place)
    if is_deep_png(header):
        return _deep_png(file, image, place)
    if image.format == "PPM" and (raw := read_netpbm(file)):
        return Frame(raw)
    if image.format == "FITS":
        image.load()
        return Frame(read_fits(file, image))
    if image.format == "JPEG2000":
        return Frame(read_jpeg2000(file, image) or image)
    return frame_of_pillow(image)


def frame_of_pillow(image: Image) -> Frame:
    """Return the current frame of an open Pillow image.

    Raises:
        ValueError: a TIFF file that Pillow may misread.
    """
    rawmode = _rawmode(image)
    if image.format == "PNG" and rawmode in ("L;2", "L;4"):
        return Frame(few_bits(image, int(rawmode[2])), image.getexif().get(0x0112, 1))
    deep = bool(HIGH_BYTE.match(rawmode)) and not FIVE_BITS.match(rawmode)
    tags = getattr(image, "tag_v2", {}) if image.format == "TIFF" else {}
    dropped = bool(tags) and tags.get(277, 1) > len(image.getbands())
    if dropped or (tags and (deep or image.mode[0] in "IF" or set(tags.get(339, (1,))) != {1})):
        raise ValueError("Pillow may misread this TIFF file; give its path")
    if (raw := raw_of_pillow(image)) is not None:
        return Frame(raw, image.getexif().get(0x0112, 1))
    return Frame(image, deep=deep)


def _rawmode(image: Image) -> str:
    """The layout of the stored pixels, as Pillow calls it; empty if it is not known."""
    tiles = getattr(image, "tile", None)
    arguments = tiles[0].args if tiles else None
    first = arguments[0] if isinstance(arguments, tuple) and arguments else arguments
    return first if isinstance(first, str) else ""


def few_bits(image: Image, bits: int, *, white_is_zero: bool = False) -> RawImage:
    """The values of a grey image of 2 or 4 bits, which Pillow has scaled to 8 bits."""
    white = 2**bits - 1
    values = np.asarray(image) // (255 // white)
    key = image.info.get("transparency")
    alpha = (values != (key & white)).astype(np.float64) if isinstance(key, int) else None
    return RawImage(white - values if white_is_zero else values, bits, white, white_is_zero, alpha)


def _deep_png(file: IO[bytes], image: Image, place: int) -> Frame:
    if place:
        raise ValueError("frames of an animated PNG of 16 bits cannot be read; set data.frames")
    image.load()  # finds damage, and the orientation behind the pixels
    return Frame(read_deep_png(file), image.getexif().get(0x0112, 1))
