"""An entropy coder: symbols of known frequencies → the fewest bytes, and back.

Range asymmetric numeral systems, rANS (Duda 2013, "Asymmetric numeral systems: entropy coding
combining speed of Huffman coding with compression rate of arithmetic coding"): the whole message
is one number x, and a symbol s of frequency f_s out of M = 2^BITS, c_s = Σ_{r<s} f_r, goes in by

    x ← M ⌊x / f_s⌋ + c_s + (x mod f_s)

which makes x about M / f_s times larger: log₂(M / f_s) bits. What is decoded last goes in first. x
is kept in [2^16, 2^32): 16 bits move out as it grows and in as it shrinks.
"""

from __future__ import annotations

import struct
from bisect import bisect_right
from collections.abc import Iterator, Sequence

import numpy as np

from latentlab.contracts import LatentlabError

BITS = 14
TOTAL = 1 << BITS  # M: frequencies sum to this
WORD = 16  # bits that move at a time
LOW = 1 << WORD  # x ≥ LOW
BLOCK = 500  # rows decoded at a time


def quantised(counts: np.ndarray) -> np.ndarray:
    """Counts ≥ 0 (S,), of which 1…2^13 are positive → frequencies that sum to 2^14.

    Whatever occurs keeps at least 1; the rounding error goes to the largest.
    """
    present = counts > 0
    if not 0 < present.sum() <= TOTAL // 2 or (counts < 0).any():
        raise LatentlabError(
            f"{int(present.sum())} different symbols cannot be coded: allowed is 1…{TOTAL // 2};"
            " choose larger steps"
        )
    share = counts / counts.sum() * TOTAL
    frequencies = np.where(present, np.maximum(1, np.rint(share)), 0).astype(np.int64)
    while excess := int(frequencies.sum()) - TOTAL:
        largest = int(frequencies.argmax())
        frequencies[largest] -= min(excess, int(frequencies[largest]) // 2)
    return frequencies


def encode(symbols: np.ndarray, tables: Sequence[np.ndarray]) -> bytes:
    """Symbols (N, D), column d by the frequencies tables[d] → bytes.

    A symbol is an index into its table and must have a positive frequency there.
    """
    starts = [_starts(table) for table in tables]
    frequencies = [table.tolist() for table in tables]
    units = range(len(tables) - 1, -1, -1)
    words: list[int] = []
    x = LOW
    for row in reversed(symbols.tolist()):
        for d in units:
            f = frequencies[d][row[d]]
            if x >= f << (2 * WORD - BITS):
                words.append(x & (LOW - 1))
                x >>= WORD
            x = ((x // f) << BITS) + starts[d][row[d]] + x % f
    return struct.pack("<I", x) + np.array(words[::-1], "<u2").tobytes()


def decode(data: bytes, count: int, tables: Sequence[np.ndarray]) -> Iterator[np.ndarray]:
    """Bytes of `encode` → symbols, in blocks (≤ 500, D), `count` rows altogether.

    Raises LatentlabError at the end of the bytes, or of the rows, if the other is not at its end.
    Memory is that of one block, and time count · D steps, whatever the bytes say.
    """
    if len(data) < 4 or len(data) % 2:
        raise _damaged()
    (x,) = struct.unpack_from("<I", data)
    words = iter(np.frombuffer(data, "<u2", offset=4).tolist())
    units = [(table.tolist(), _starts(table)) for table in tables]
    for first in range(0, count, BLOCK):
        block = np.empty((min(BLOCK, count - first), len(units)), np.int64)
        for row in block:
            for d, (frequencies, starts) in enumerate(units):
                slot = x & (TOTAL - 1)
                row[d] = symbol = bisect_right(starts, slot) - 1
                x = frequencies[symbol] * (x >> BITS) + slot - starts[symbol]
                if x < LOW:
                    x = x << WORD | _next(words)
        yield block
    if x != LOW or next(words, None) is not None:
        raise _damaged()


def _starts(table: np.ndarray) -> list[int]:
    """c_s: where the slots of each symbol begin, (S,)."""
    return (table.cumsum() - table).tolist()


def _next(words: Iterator[int]) -> int:
    word = next(words, None)
    if word is None:
        raise _damaged()
    return word


def _damaged() -> LatentlabError:
    return LatentlabError("the coded numbers are damaged: get the file anew from where it came")
