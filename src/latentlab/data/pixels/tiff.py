"""TIFF files: their pages, read from the tags, and the pages that Pillow cannot read for certain.

Pillow is right for unsigned values of 1 to 8 bits, and for grey pages of some other types
(`pillow_reads`). tifffile reads the rest. Reference: TIFF 6.0 (Adobe 1992) and BigTIFF.
"""

from __future__ import annotations

import logging
import re
import struct
from dataclasses import dataclass
from typing import IO, Any

import numpy as np

from latentlab.data.pixels.values import RawImage

EXTRA = "install `latentlab[tiff]`, or convert the file to PNG"
MAX_PAGES = 100_000
# TIFF type: letter of struct, for integers and text
TYPES = {1: "B", 2: "s", 3: "H", 4: "I", 13: "I", 16: "Q", 18: "Q"}
WHITE_IS_ZERO, BLACK_IS_ZERO, RGB, PALETTE, MASK = 0, 1, 2, 3, 4
PHOTOMETRICS = {
    WHITE_IS_ZERO: "WhiteIsZero",
    BLACK_IS_ZERO: "grey",
    RGB: "RGB",
    PALETTE: "palette",
    MASK: "mask",
    5: "CMYK",
    6: "YCbCr",
    8: "LAB",
    9: "ICCLab",
    10: "ITULab",
    32803: "CFA",
    32844: "LogL",
    32845: "LogLuv",
}
COLOURS = {WHITE_IS_ZERO: 1, BLACK_IS_ZERO: 1, RGB: 3, PALETTE: 1, MASK: 1, 5: 4, 6: 3, 8: 3}
ALPHA = ((1,), (2,))  # ExtraSamples: associated, unassociated
KINDS = {1: "unsigned", 2: "signed", 3: "float", 4: "void", 5: "complex", 6: "complex"}


@dataclass(frozen=True)
class Page:
    """One page of a TIFF file. `index` is its place in the chain; `kind` is SampleFormat."""

    index: int
    width: int
    height: int
    bits: int
    samples: int
    photometric: int
    kind: int = 1
    compression: int = 1
    separate: bool = False
    extra: tuple[int, ...] = ()
    orientation: int = 1
    little_endian: bool = True
    predictor: int = 1
    fill_order: int = 1

    @property
    def unused_channels(self) -> int:
        """Values of a pixel that are neither colour nor, by ExtraSamples, alpha."""
        extra = self.samples - COLOURS.get(self.photometric, self.samples)
        return max(0, extra - (self.extra[:1] in ALPHA))

    def __str__(self) -> str:
        name = PHOTOMETRICS.get(self.photometric, f"photometric {self.photometric}")
        planes = " in separate planes" if self.separate and self.samples > 1 else ""
        return f"TIFF {name}, {self.samples} × {self.bits} bits {KINDS[self.kind]}{planes}"


def is_tiff(header: bytes) -> bool:
    """True if the first bytes are those of a TIFF or BigTIFF file."""
    return header[:4] in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")


def read_pages(file: IO[bytes]) -> list[Page]:
    """Return the pages, without reduced copies (of a pyramid, thumbnails) and masks.

    Raises:
        ValueError, struct.error: the chain of pages is damaged.
    """
    file.seek(0)
    magic = file.read(4)
    end, big = ("<" if magic[:2] == b"II" else ">"), b"+" in magic
    file.seek(8 if big else 4)
    offset = _number(file, end, "Q" if big else "I")
    pages: list[Page] = []
    visited: set[int] = set()
    stack = 0
    while offset:
        if offset in visited or len(visited) >= MAX_PAGES:
            raise ValueError("the TIFF file has a damaged chain of pages")
        visited.add(offset)
        file.seek(offset)
        tags = _tags(file, end, big)
        offset = _number(file, end, "Q" if big else "I")
        subtype, old = tags.get(254, (0,))[0], tags.get(255, (1,))[0]
        if not subtype & 0b101 and old != 2:
            pages.append(_page(len(visited) - 1, tags, end))
        if found := re.match(rb"ImageJ=[^\n]*\nimages=(\d+)", tags.get(270, (b"",))[0]):
            stack = int(found[1])
    if not pages:
        raise ValueError("the TIFF file has no page")
    if stack > len(visited):
        raise ValueError(f"an ImageJ stack of {stack} images without pages; save it with pages")
    return pages


def pillow_reads(page: Page) -> bool:
    """True for a type of page that Pillow 13 reads as it is meant (tests/data/test_tiff.py).

    Deeper pages are also right in the order of bytes of Pillow's own files. Pillow swaps the bytes
    of compressed big-endian ones, or takes the high byte of colour.
    """
    if page.kind == 1 and page.bits <= 8:
        is_grey = page.photometric in (WHITE_IS_ZERO, BLACK_IS_ZERO)
        if is_grey and page.samples > 1:
            return page.samples == 2 and page.extra[:1] in ALPHA and not page.separate
        return page.samples - COLOURS.get(page.photometric, page.samples) <= 1
    if page.samples != 1 or page.photometric not in (WHITE_IS_ZERO, BLACK_IS_ZERO):
        return False
    plain = page.compression == 1 or page.little_endian
    if page.fill_order != 1 or page.predictor == 3 or not plain:
        return page.kind == 1 and page.bits == 16 and page.predictor == 1 == page.fill_order
    if page.photometric == BLACK_IS_ZERO:
        return (page.kind, page.bits) in {(1, 16), (2, 16), (2, 32), (3, 32)}
    return page.little_endian and (page.kind, page.bits) in {(1, 16), (3, 32)}


def read_page(file: IO[bytes], page: Page) -> RawImage:
    """Read one page with tifffile.

    Raises:
        ValueError: tifffile is missing, or the page is neither grey nor RGB.
        Exception: tifffile and imagecodecs raise any exception for damaged files.
    """
    _refuse(page)
    try:
        from tifffile import TiffFile
    except ImportError:
        raise ValueError(f"{page}: {EXTRA}") from None
    logging.getLogger("tifffile").setLevel(logging.CRITICAL)  # damage becomes an exception
    file.seek(0)
    with TiffFile(file) as tiff:
        values = tiff.pages[page.index].asarray(maxworkers=1)
    if page.separate and page.samples > 1:
        values = values.transpose(1, 2, 0)
    shape = (page.height, page.width, page.samples)[: 2 if page.samples == 1 else 3]
    if values.shape != shape:
        raise ValueError(f"{page}: pixels of shape {values.shape} instead of {shape}")
    return _raw(page, values)


def _refuse(page: Page) -> None:
    """Raise ValueError for a page that is neither grey nor RGB, each with or without alpha."""
    colours = {WHITE_IS_ZERO: 1, BLACK_IS_ZERO: 1, RGB: 3}.get(page.photometric)
    if colours is None or KINDS[page.kind] in ("void", "complex"):
        raise ValueError(f"{page}: neither grey nor RGB; convert the file to PNG")
    extra = page.samples - colours
    if extra and (extra > 1 or (colours == 1 and page.extra[:1] not in ALPHA)):
        raise ValueError(
            f"{page}: {page.samples} values a pixel are neither grey nor RGB; split the channels "
            "into files, or convert the file to RGB"
        )


def _raw(page: Page, values: np.ndarray) -> RawImage:
    is_float = page.kind == 3
    white = 1 if is_float else 2 ** (page.bits - (page.kind == 2)) - 1
    if values.dtype == bool:
        values = values.astype(np.uint8)
    colours = 3 if page.photometric == RGB else 1
    alpha = None
    if page.samples > colours and page.extra[:1] in ALPHA:
        alpha = np.clip(values[:, :, colours] / white, 0, 1)
    if page.samples > 1:
        values = values[:, :, :3] if colours == 3 else values[:, :, 0]
    inverted = page.photometric == WHITE_IS_ZERO
    premultiplied = page.extra[:1] == (1,)
    return RawImage(values, page.bits, white, inverted, alpha, premultiplied)


def _page(index: int, tags: dict[int, tuple[Any, ...]], end: str) -> Page:
    bits, kinds = tags.get(258, (1,)), tags.get(339, (1,))
    if len(set(bits)) > 1 or len(set(kinds)) > 1:
        raise ValueError(f"TIFF with channels of {bits} bits; convert the file to PNG")
    if 256 not in tags or 257 not in tags or kinds[0] not in KINDS:
        raise ValueError("the TIFF file has a page without a size or type")
    return Page(
        index,
        tags[256][0],
        tags[257][0],
        bits[0],
        tags.get(277, (1,))[0],
        tags.get(262, (BLACK_IS_ZERO,))[0],
        kind=kinds[0],
        compression=tags.get(259, (1,))[0],
        separate=tags.get(284, (1,))[0] == 2,
        extra=tags.get(338, ()),
        orientation=tags.get(274, (1,))[0],
        little_endian=end == "<",
        predictor=tags.get(317, (1,))[0],
        fill_order=tags.get(266, (1,))[0],
    )


def _tags(file: IO[bytes], end: str, big: bool) -> dict[int, tuple[Any, ...]]:
    """Read the integers of one directory, at most 64 of a tag. The file is then at its end."""
    entry = struct.Struct(end + ("HHQ8s" if big else "HHI4s"))
    count = _number(file, end, "Q" if big else "H")
    content = file.read(entry.size * min(count, 4096))
    after = file.tell()
    tags = {}
    for tag, kind, length, inline in entry.iter_unpack(content):
        if kind not in TYPES or not length:
            continue
        values = struct.Struct(f"{end}{min(length, 64)}{TYPES[kind]}")
        if length * struct.calcsize(TYPES[kind]) > len(inline):
            file.seek(struct.unpack(end + ("Q" if big else "I"), inline)[0])
            inline = file.read(values.size)
        tags[tag] = values.unpack(inline[: values.size])
    file.seek(after)
    return tags


def _number(file: IO[bytes], end: str, letter: str) -> int:
    size = struct.calcsize(end + letter)
    return int(struct.unpack(end + letter, file.read(size))[0])
