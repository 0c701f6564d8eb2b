"""File format of `latentlab compress`: the model, the rounding of the codes, the codes.

    "latentz2"
    SHA-256 of the model's weights                           32 bytes
    name of the model                                        length, UTF-8
    number of images N, size of the codes D                  varint each
    per code dimension: mean, step                           float32 each
         lowest value, number of symbols, frequencies        varints
    a name for each image                                    length, UTF-8, each
    entropy-coded data                                       up to 4 bytes before the end
    CRC-32 of all bytes before it                            4 bytes

Little-endian. A varint holds 7 bits per byte, the lowest bits first. The reader checks every length
against the number of bytes that are left. Each image takes at least one byte, so a small file
cannot declare many images.
"""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass

import numpy as np

from latentlab.inference.compression import coder
from latentlab.utils.errors import LatentlabError

MAGIC = b"latentz2"
MAX_VARINT = 2**31  # no valid file has a larger varint


@dataclass(frozen=True)
class CodeDimension:
    """One dimension of the code: z ≈ mean + step · (lowest + symbol), with symbols 0…S−1.

    `frequencies`: int64 (S,), their sum is 2^14.
    """

    mean: float
    step: float
    lowest: int
    frequencies: np.ndarray


@dataclass(frozen=True)
class Container:
    """The content of a file.

    Attributes:
        digest: SHA-256 of the model's weights.
        model: name of the model.
        names: one name per image; "" for none.
        dimensions: one for each of the D code dimensions.
        data: the symbols (N, D), coded by `coder.encode`.
    """

    digest: bytes
    model: str
    names: tuple[str, ...]
    dimensions: tuple[CodeDimension, ...]
    data: bytes


def write(container: Container) -> bytes:
    """Return the bytes of the file."""
    parts = [MAGIC, container.digest, _text(container.model)]
    parts += [_varint(len(container.names)), _varint(len(container.dimensions))]
    for dimension in container.dimensions:
        parts.append(struct.pack("<ff", dimension.mean, dimension.step))
        parts += [_varint(_zigzag(dimension.lowest)), _varint(len(dimension.frequencies))]
        parts += [_varint(int(f)) for f in dimension.frequencies]
    parts += [_text(name) for name in container.names]
    body = b"".join([*parts, container.data])
    return body + struct.pack("<I", zlib.crc32(body))


def read(content: bytes) -> Container:
    """Parse the bytes of a file.

    Raises:
        LatentlabError: the bytes are not a file of `write`, or they are damaged.
    """
    if not content.startswith(MAGIC):
        raise LatentlabError(
            f"The file does not begin with {MAGIC.decode()}. It must be a file of `latentlab"
            " compress` of this version. Compress the images again."
        )
    body, checksum = content[:-4], content[-4:]
    if struct.pack("<I", zlib.crc32(body)) != checksum:
        raise LatentlabError(
            "The file is damaged or incomplete: its checksum is wrong. Copy the file again from its"
            " source."
        )
    try:
        return _read(_Reader(body, len(MAGIC)))
    except (EOFError, UnicodeDecodeError, ValueError) as error:
        raise LatentlabError(
            f"The file is not valid ({error}). Compress the images again."
        ) from None


def _read(reader: _Reader) -> Container:
    digest, model = reader.take(32), reader.text()
    count, width = reader.varint(), reader.varint()
    if not count or not width or count + 10 * width > len(reader.data):
        raise ValueError(f"{count} images of {width} values in {len(reader.data)} bytes")
    dimensions = tuple(_dimension(reader) for _ in range(width))
    names = tuple(reader.text() for _ in range(count))
    return Container(digest, model, names, dimensions, reader.rest())


def _dimension(reader: _Reader) -> CodeDimension:
    mean, step = struct.unpack("<ff", reader.take(8))
    if not np.isfinite([mean, step]).all() or step <= 0:
        raise ValueError(f"mean {mean} and step {step} of a code dimension")
    coded, size = reader.varint(), reader.varint()
    reader.expect(size)
    frequencies = np.array([reader.varint() for _ in range(size)], np.int64)
    if frequencies.sum() != coder.TOTAL:
        raise ValueError(f"frequencies sum to {frequencies.sum()}, not {coder.TOTAL}")
    return CodeDimension(mean, step, (coded >> 1) ^ -(coded & 1), frequencies)


class _Reader:
    """Reads bytes in order. Raises EOFError beyond the end."""

    def __init__(self, data: bytes, at: int) -> None:
        self.data, self.at = data, at

    def expect(self, size: int) -> None:
        if size > len(self.data) - self.at:
            raise EOFError(f"{size} bytes are needed, {len(self.data) - self.at} are left")

    def take(self, size: int) -> bytes:
        self.expect(size)
        self.at += size
        return self.data[self.at - size : self.at]

    def varint(self) -> int:
        value, shift = 0, 0
        while True:
            (byte,) = self.take(1)
            value |= (byte & 127) << shift
            if value > MAX_VARINT or shift > 28:
                raise ValueError("an integer is too large")
            if byte < 128:
                return value
            shift += 7

    def text(self) -> str:
        return self.take(self.varint()).decode()

    def rest(self) -> bytes:
        return self.take(len(self.data) - self.at)


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    return bytes([*out, value])


def _zigzag(value: int) -> int:
    """…, −2, −1, 0, 1, 2, … → …, 3, 1, 0, 2, 4, …: short varints for small negative values."""
    return 2 * value if value >= 0 else -2 * value - 1


def _text(text: str) -> bytes:
    coded = text.encode("utf-8", "backslashreplace")
    return _varint(len(coded)) + coded
