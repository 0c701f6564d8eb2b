"""Entropy coder: symbols of known frequencies → nearly the minimum number of bytes, and back.

Range asymmetric numeral systems, rANS (Duda 2013, "Asymmetric numeral systems: entropy coding
combining speed of Huffman coding with compression rate of arithmetic coding"). The message is one
number x. A symbol s of frequency f_s out of M = 2^BITS, with c_s = Σ_{r<s} f_r, is added by

    x ← M ⌊x / f_s⌋ + c_s + (x mod f_s)

This makes x about M / f_s times larger: log₂(M / f_s) bits. The symbol that is decoded last is
encoded first. x stays in [2^16, 2^32): 16 bits are written when it grows and read when it shrinks.
"""

from __future__ import annotations

import struct
from bisect import bisect_right
from collections.abc import Iterator, Sequence

import numpy as np

from latentlab.utils.errors import LatentlabError

BITS = 14
TOTAL = 1 << BITS  # M, the sum of the frequencies
WORD = 16  # bits that are written or read at a time
LOW = 1 << WORD  # x ≥ LOW
BLOCK = 500  # rows decoded at a time


def quantize_counts(counts: np.ndarray) -> np.ndarray:
    """Counts ≥ 0 (S,), of which 1…2^13 are positive → frequencies (S,) that sum to 2^14.

    A positive count gets at least frequency 1. The largest frequency absorbs the rounding error.

    Raises:
        LatentlabError: another number of positive counts, or a negative count.
    """
    present = counts > 0
    if not 0 < present.sum() <= TOTAL // 2 or (counts < 0).any():
        raise LatentlabError(
            f"{int(present.sum())} different symbols cannot be coded. Allowed is 1…{TOTAL // 2}."
            " Use larger steps."
        )
    fractions = counts / counts.sum() * TOTAL
    frequencies = np.where(present, np.maximum(1, np.rint(fractions)), 0).astype(np.int64)
    while excess := int(frequencies.sum()) - TOTAL:
        largest = int(frequencies.argmax())
        frequencies[largest] -= min(excess, int(frequencies[largest]) // 2)
    return frequencies


def encode(symbols: np.ndarray, tables: Sequence[np.ndarray]) -> bytes:
    """Symbols, int (N, D), column d with frequencies tables[d] (S_d,) → bytes.

    A symbol is an index into its table. Its frequency there must be positive.
    """
    starts = [_starts(table) for table in tables]
    frequencies = [table.tolist() for table in tables]
    columns = range(len(tables) - 1, -1, -1)
    words: list[int] = []
    x = LOW
    for row in reversed(symbols.tolist()):
        for d in columns:
            f = frequencies[d][row[d]]
            if x >= f << (2 * WORD - BITS):
                words.append(x & (LOW - 1))
                x >>= WORD
            x = ((x // f) << BITS) + starts[d][row[d]] + x % f
    return struct.pack("<I", x) + np.array(words[::-1], "<u2").tobytes()


def decode(data: bytes, count: int, tables: Sequence[np.ndarray]) -> Iterator[np.ndarray]:
    """Bytes of `encode` → symbols, int64, in blocks (≤ 500, D), `count` rows in total.

    Memory is one block and time is `count` · D steps, for any content of `data`.

    Raises:
        LatentlabError: the data end before the last row or go on after it.
    """
    if len(data) < 4 or len(data) % 2:
        raise _damaged()
    (x,) = struct.unpack_from("<I", data)
    words = iter(np.frombuffer(data, "<u2", offset=4).tolist())
    columns = [(table.tolist(), _starts(table)) for table in tables]
    for first in range(0, count, BLOCK):
        block = np.empty((min(BLOCK, count - first), len(columns)), np.int64)
        for row in block:
            for d, (frequencies, starts) in enumerate(columns):
                slot = x & (TOTAL - 1)
                row[d] = symbol = bisect_right(starts, slot) - 1
                x = frequencies[symbol] * (x >> BITS) + slot - starts[symbol]
                if x < LOW:
                    x = x << WORD | _next(words)
        yield block
    if x != LOW or next(words, None) is not None:
        raise _damaged()


def _starts(table: np.ndarray) -> list[int]:
    """c_s, the first slot of each symbol, (S,)."""
    return (table.cumsum() - table).tolist()


def _next(words: Iterator[int]) -> int:
    word = next(words, None)
    if word is None:
        raise _damaged()
    return word


def _damaged() -> LatentlabError:
    return LatentlabError("The coded data are damaged. Copy the file again from its source.")
