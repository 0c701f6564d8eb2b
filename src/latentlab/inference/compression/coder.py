"""Entropy coder: symbols of known frequencies → nearly the minimum number of bytes, and back.

Asymmetric numeral systems (Duda 2013, "Asymmetric numeral systems: entropy coding combining speed
of Huffman coding with compression rate of arithmetic coding"), in the implementation of the package
constriction (Bamler 2022, "Understanding entropy coding with asymmetric numeral systems"). A symbol
of frequency f out of M = 2^14 takes log₂(M / f) bits.

The coder is a stack: the symbol that is decoded last is encoded first.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import constriction
import numpy as np

from latentlab.utils.errors import LatentlabError

AnsCoder = constriction.stream.stack.AnsCoder
Categorical = constriction.stream.model.Categorical
Uniform = constriction.stream.model.Uniform

BITS = 14
TOTAL = 1 << BITS  # M, the sum of the frequencies
WORD_BYTES = 4
END_VALUES, END = 1 << 16, 0xA5C3  # of this many values, the one that ends a message
BLOCK = 500  # rows that are decoded at a time


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
    coder, models = AnsCoder(), [_Model(table) for table in tables]
    coder.encode_reverse(END, Uniform(END_VALUES))
    for first in reversed(range(0, len(symbols), BLOCK)):
        block = symbols[first : first + BLOCK]
        for column, model in reversed(list(zip(block.T, models, strict=True))):
            if model.categorical is not None:
                coder.encode_reverse(model.rank[column], model.categorical)
    return coder.get_compressed().astype("<u4").tobytes()


def decode(data: bytes, count: int, tables: Sequence[np.ndarray]) -> Iterator[np.ndarray]:
    """Bytes of `encode` → symbols, int64, in blocks (≤ 500, D), `count` rows in total.

    Memory is `data` and one block, and time is `count` · D steps, for any content of `data`.

    Raises:
        LatentlabError: the data end before the last row or go on after it.
    """
    if len(data) % WORD_BYTES or data[-WORD_BYTES:] == bytes(WORD_BYTES):
        raise _damaged()
    coder = AnsCoder(np.frombuffer(data, "<u4").astype(np.uint32))
    models = [_Model(table) for table in tables]
    for first in range(0, count, BLOCK):
        block = np.empty((min(BLOCK, count - first), len(models)), np.int64)
        for d, model in enumerate(models):
            ranks = 0
            if model.categorical is not None:
                ranks = coder.decode(model.categorical, len(block))
            block[:, d] = model.symbols[ranks]
        yield block
    # the package decodes past the end of the data without an error
    if coder.decode(Uniform(END_VALUES)) != END or not coder.is_empty():
        raise _damaged()


class _Model:
    """The distribution of one column. Symbols of frequency 0 have no place in it.

    Attributes:
        symbols: the symbols of positive frequency, (K,).
        rank: for each symbol, its place among them, int32 (S,).
        categorical: None for a single symbol, which takes no bits.
    """

    def __init__(self, table: np.ndarray) -> None:
        self.symbols = np.flatnonzero(table)
        self.rank = (np.cumsum(table > 0) - 1).astype(np.int32)
        self.categorical = None
        if len(self.symbols) > 1:
            # multiples of 2^-14 are exact in float32: the coder of every machine is the same
            fractions = (table[self.symbols] / TOTAL).astype(np.float32)
            self.categorical = Categorical(fractions, perfect=False)


def _damaged() -> LatentlabError:
    return LatentlabError("The coded data are damaged. Copy the file again from its source.")
