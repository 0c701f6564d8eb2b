"""The file that `latentlab compress` writes: whose codes, how they were rounded, the codes.

    "latentz1"
    SHA-256 of the model's weights                           32 bytes
    name of the model                                        length, UTF-8
    number of images N, of units D                           varint each
    per unit: mean, step                                     float32 each
              lowest symbol, number of symbols, frequencies  varints
    a name for each image                                    length, UTF-8, each
    rANS                                                     until 4 bytes before the end
    CRC-32 of all before

Little-endian; a varint holds 7 bits a byte, the lowest first. Reading believes nothing: every
length is checked against the bytes that are there, and each image costs at least one byte, so that
a small file cannot claim to hold much.
"""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass

import numpy as np

from latentlab.compression import coder
from latentlab.contracts import LatentlabError

MAGIC = b"latentz1"
LARGEST = 2**31  # beyond it no varint here has a meaning


@dataclass(frozen=True)
class Unit:
    """One code number: z ≈ mean + step · (lowest + symbol); `frequencies` (S,) sum to 2^14."""

    mean: float
    step: float
    lowest: int
    frequencies: np.ndarray


@dataclass(frozen=True)
class Container:
    """What a file says; `data` are the symbols (N, D) as `coder.encode` wrote them."""

    digest: bytes  # SHA-256 of the model's weights
    model: str
    names: tuple[str, ...]  # one per image, "" where there is none
    units: tuple[Unit, ...]
    data: bytes


def write(container: Container) -> bytes:
    """The file's bytes. Raises LatentlabError for fewer bytes than images."""
    parts = [MAGIC, container.digest, _text(container.model)]
    parts += [_varint(len(container.names)), _varint(len(container.units))]
    for unit in container.units:
        parts.append(struct.pack("<ff", unit.mean, unit.step))
        parts += [_varint(_zigzag(unit.lowest)), _varint(len(unit.frequencies))]
        parts += [_varint(int(f)) for f in unit.frequencies]
    parts += [_text(name) for name in container.names]
    body = b"".join([*parts, container.data])
    return body + struct.pack("<I", zlib.crc32(body))


def read(content: bytes) -> Container:
    """Bytes → what they say. Raises LatentlabError for anything that `write` did not write."""
    if not content.startswith(MAGIC):
        raise LatentlabError(
            "this is no file of `latentlab compress`, or one of another version: it must begin"
            f" with {MAGIC.decode()}"
        )
    body, checksum = content[:-4], content[-4:]
    if struct.pack("<I", zlib.crc32(body)) != checksum:
        raise LatentlabError(
            "the file is damaged or incomplete (its checksum differs): get it anew from where it"
            " came"
        )
    try:
        return _read(_Reader(body, len(MAGIC)))
    except (EOFError, UnicodeDecodeError, ValueError) as error:
        raise LatentlabError(f"the file contradicts itself ({error}): compress anew") from None


def _read(reader: _Reader) -> Container:
    digest, model = reader.take(32), reader.text()
    count, width = reader.varint(), reader.varint()
    if not count or not width or count + 10 * width > len(reader.data):
        raise ValueError(f"{count} images of {width} numbers in {len(reader.data)} bytes")
    units = tuple(_unit(reader) for _ in range(width))
    names = tuple(reader.text() for _ in range(count))
    return Container(digest, model, names, units, reader.rest())


def _unit(reader: _Reader) -> Unit:
    mean, step = struct.unpack("<ff", reader.take(8))
    if not np.isfinite([mean, step]).all() or step <= 0:
        raise ValueError(f"mean {mean} and step {step} of a unit")
    coded, size = reader.varint(), reader.varint()
    reader.expect(size)
    frequencies = np.array([reader.varint() for _ in range(size)], np.int64)
    if frequencies.sum() != coder.TOTAL:
        raise ValueError(f"frequencies sum to {frequencies.sum()}, not {coder.TOTAL}")
    return Unit(mean, step, (coded >> 1) ^ -(coded & 1), frequencies)


class _Reader:
    """Takes bytes from the front; EOFError beyond the end."""

    def __init__(self, data: bytes, at: int) -> None:
        self.data, self.at = data, at

    def expect(self, size: int) -> None:
        if size > len(self.data) - self.at:
            raise EOFError(f"{size} bytes wanted, {len(self.data) - self.at} left")

    def take(self, size: int) -> bytes:
        self.expect(size)
        self.at += size
        return self.data[self.at - size : self.at]

    def varint(self) -> int:
        value, shift = 0, 0
        while True:
            (byte,) = self.take(1)
            value |= (byte & 127) << shift
            if value > LARGEST or shift > 28:
                raise ValueError("a number is too large")
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
    """…, −2, −1, 0, 1, 2, … → …, 3, 1, 0, 2, 4, …: small numbers stay small."""
    return 2 * value if value >= 0 else -2 * value - 1


def _text(text: str) -> bytes:
    coded = text.encode("utf-8", "backslashreplace")
    return _varint(len(coded)) + coded
