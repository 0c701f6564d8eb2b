"""PGM and PPM files whose largest value is not 255. Pillow scales them and drops the number.

Reference: the manual pages pgm(5) and ppm(5) of Netpbm.
"""

from __future__ import annotations

import re
from typing import IO

import numpy as np

from latentlab.data.pixels.values import RawImage
from latentlab.utils.names import counted

SPACE = rb"(?:[ \t\r\n\v\f]|#[^\r\n]*[\r\n])+"  # a comment reaches to the end of its line
HEADER = re.compile(rb"P([2356])" + 3 * (SPACE + rb"(\d+)") + rb"[ \t\r\n\v\f]")
MAX_HEADER = 10_000


def read_netpbm(file: IO[bytes]) -> RawImage | None:
    """Return the values of a PGM or PPM file; None if its largest value is 255, or for a PBM.

    The file states its white. 65535 is what programs write for any data, so it must be in use.

    Raises:
        ValueError: the file has too few values, or values above its largest one.
    """
    file.seek(0)
    match = HEADER.match(file.read(MAX_HEADER))
    if match is None or int(match[4]) in (0, 255):
        return None
    kind, width, height, white = (int(number) for number in match.groups())
    channels = 3 if kind in (3, 6) else 1
    count = width * height * channels
    file.seek(match.end())
    if kind in (2, 3):
        texts = re.sub(rb"#[^\r\n]*", b"", file.read()).split()
        values: np.ndarray = np.array(texts[:count], np.uint32)
    else:
        dtype = np.dtype(">u2" if white > 255 else "u1")
        values = np.frombuffer(file.read(dtype.itemsize * count), dtype)
    if len(values) != count or values.max(initial=0) > white:
        raise ValueError(
            f"{counted(count, 'value', 'is')} expected in this file, each at most {white}"
        )
    shape = (height, width, 3) if channels == 3 else (height, width)
    return RawImage(
        values.astype(np.uint16).reshape(shape), white.bit_length(), white, stated=white != 65535
    )
