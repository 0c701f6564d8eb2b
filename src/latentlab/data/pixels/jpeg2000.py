"""JPEG 2000 images that Pillow changes: a sign, fewer than 8 bits, and colour of more than 8 bits.

Pillow 13 shifts values of b < 8 bits to the left, so white becomes 240 of 4 bits. It adds half of
the range to values with a sign. Colour, and grey with alpha, of more than 8 bits is rounded up
without a limit: the brightest values become 0. Reference: ISO/IEC 15444-1, annex A.5.1 (SIZ).
"""

from __future__ import annotations

import struct
from typing import IO, TYPE_CHECKING

import numpy as np

from latentlab.data.pixels.tiff import EXTRA
from latentlab.data.pixels.values import RawImage

if TYPE_CHECKING:
    from PIL.Image import Image

SOC_SIZ = b"\xff\x4f\xff\x51"  # start of the codestream
HEADER = 2**16
SYCC = b"colr\x01"  # followed by precedence, approximation and the colour space
SYCC_NUMBER = 18


def read_jpeg2000(file: IO[bytes], image: Image) -> RawImage | None:
    """Return the values of a file that Pillow has opened as `image`; None if Pillow reads it right.

    Raises:
        ValueError: channels of several types, or colour that needs imagecodecs.
    """
    bits, signed, channels = _channels(file)
    image.load()
    if image.mode.startswith("I"):
        bits = min(bits, 16)  # Pillow drops more
        return _raw(np.asarray(image) >> (16 - bits), bits, signed)
    if bits == 8 and not signed:
        return None
    name = f"JPEG 2000 with {channels} × {bits} bits{' and a sign' if signed else ''}"
    if image.mode not in ("L", "LA", "RGB", "RGBA"):
        raise ValueError(f"{name} and the mode {image.mode}; convert the file to PNG")
    if bits <= 8:
        return _raw(np.asarray(image) >> (8 - bits), bits, signed)
    return _raw(_decoded(file, name), bits, signed)


def _channels(file: IO[bytes]) -> tuple[int, bool, int]:
    """Return the bits of all channels, whether they have a sign, and the number of channels."""
    file.seek(0)
    content = file.read(HEADER)
    if SOC_SIZ not in content[:-200]:
        content += file.read()
    start = content.find(SOC_SIZ)
    (count,) = struct.unpack_from(">H", content, start + 40)
    channels = {content[start + 42 + 3 * i : start + 45 + 3 * i] for i in range(count)}
    depths = {channel[0] for channel in channels}
    if len(depths) != 1:
        raise ValueError("the JPEG 2000 file has channels of several types; convert it to PNG")
    depth = depths.pop()
    bits = (depth & 0x7F) + 1
    if bits > 8 and count > 1 and (len(channels) > 1 or _is_sycc(content[:start])):
        raise ValueError(f"JPEG 2000 with YCbCr colours of {bits} bits; convert the file to PNG")
    return bits, depth > 0x7F, count


def _is_sycc(boxes: bytes) -> bool:
    place = boxes.find(SYCC)
    return place >= 0 and boxes[place + 7 : place + 11] == SYCC_NUMBER.to_bytes(4, "big")


def _decoded(file: IO[bytes], name: str) -> np.ndarray:
    try:
        from imagecodecs import jpeg2k_decode
    except ImportError:
        raise ValueError(f"{name}: {EXTRA}") from None
    file.seek(0)
    return np.asarray(jpeg2k_decode(file.read()))


def _raw(values: np.ndarray, bits: int, signed: bool) -> RawImage:
    """Split off alpha. Pillow has added half of the range to values with a sign, if unsigned."""
    if signed and values.dtype.kind == "u":
        values = values.astype(np.int32) - 2 ** (bits - 1)
    white = max(1, 2 ** (bits - signed) - 1)
    if values.ndim == 2 or values.shape[2] == 3:
        return RawImage(values, bits, white)
    colours = values[:, :, 0] if values.shape[2] == 2 else values[:, :, :3]
    return RawImage(colours, bits, white, alpha=np.clip(values[:, :, -1] / white, 0, 1))
