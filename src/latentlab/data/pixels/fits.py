"""The values of FITS images, which Pillow reads without their scale and sign.

Reference: FITS standard 4.0 (IAU 2018), section 4.4: value = BZERO + BSCALE · stored value.
"""

from __future__ import annotations

import re
from typing import IO, TYPE_CHECKING

import numpy as np

from latentlab.data.pixels.values import RawImage

if TYPE_CHECKING:
    from PIL.Image import Image

MAX_HEADER = 36 * 80 * 100


def read_fits(file: IO[bytes], image: Image) -> RawImage:
    """Return the values of the first image of a FITS file that Pillow has opened as `image`.

    Raises:
        ValueError: a compressed image, a cube, or more than 8 bits with a scale that is no shift.
    """
    header = _header(file)
    bits = int(header.get("BITPIX", 0))
    if header.get("NAXIS") != 2.0:
        raise ValueError("FITS: only an uncompressed first image of two axes can be read")
    values = np.asarray(image)
    if bits == 16:
        values = values.view(np.int16)
    scale, zero = header.get("BSCALE", 1.0), header.get("BZERO", 0.0)
    if bits < 0 or scale != 1 or zero % 1:
        return RawImage(values * scale + zero, abs(bits), 1)
    signed = bits > 8  # bytes have no sign, wider integers have one; BZERO changes that
    if zero == (2 ** (bits - 1) if signed else -128):
        signed = not signed
    elif zero:
        return RawImage(values + zero, bits, 1)
    values = (values.astype(np.int64) + int(zero)).astype(f"{'i' if signed else 'u'}{bits // 8}")
    return RawImage(values, bits, 2 ** (bits - signed) - 1)


def _header(file: IO[bytes]) -> dict[str, float]:
    """Return the cards of the first header whose value is a number."""
    file.seek(0)
    content = file.read(MAX_HEADER).decode("latin-1")
    cards = [content[start : start + 80] for start in range(0, len(content), 80)]
    found = {}
    for card in cards:
        if card.strip() == "END":
            break
        if match := re.match(r"([A-Z0-9_-]+) *= *([-+0-9.ED]+) *(/|$)", card):
            found[match[1]] = float(match[2].replace("D", "E"))
    return found
