"""The entropy coder, compared with Shannon's bound; and damaged bytes."""

import numpy as np
import pytest

from latentlab.inference.compression.coder import TOTAL, decode, encode, quantize_counts
from latentlab.utils.errors import LatentlabError


def _message(rows, seed=0):
    """Symbols (rows, 4): one nearly certain, one skewed, one uniform, one constant."""
    rng = np.random.default_rng(seed)
    columns = [
        rng.random(rows) < 0.02,
        np.minimum(rng.geometric(0.3, rows) - 1, 30),
        rng.integers(100, size=rows),
        np.zeros(rows),
    ]
    symbols = np.stack(columns, 1).astype(np.int64)
    return symbols, [quantize_counts(np.bincount(column)) for column in symbols.T]


def _decoded(data, count, tables):
    return np.concatenate(list(decode(data, count, tables)))


@pytest.mark.parametrize("rows", [1, 2, 499, 1201])
def test_decode_is_the_inverse_of_encode(rows):
    symbols, tables = _message(rows)
    np.testing.assert_array_equal(_decoded(encode(symbols, tables), rows, tables), symbols)


def test_the_size_is_the_ideal_code_length():
    symbols, tables = _message(3000)
    ideal = sum(
        -np.log2(table[column] / TOTAL).sum()
        for table, column in zip(tables, symbols.T, strict=True)
    )
    bits = 8 * len(encode(symbols, tables))
    assert ideal <= bits <= ideal + 64 + 1e-4 * ideal, (
        "at most 64 bits more: the state of 32 bits, the end of 16, and a part of a word"
    )


def test_frequencies_are_proportional_to_the_counts_and_at_least_one():
    counts = np.array([1_000_000, 0, 1, 500_000])
    table = quantize_counts(counts)
    assert table.sum() == TOTAL
    assert table[1] == 0
    assert table[2] == 1
    assert abs(table[0] - TOTAL * 2 / 3) < 3
    many = quantize_counts(np.ones(TOTAL // 2, np.int64) + np.eye(1, TOTAL // 2, dtype=np.int64)[0])
    assert many.sum() == TOTAL
    assert many.min() >= 1
    for bad in (np.zeros(3, np.int64), np.ones(TOTAL, np.int64)):
        with pytest.raises(LatentlabError, match="different symbols cannot be coded"):
            quantize_counts(bad)


def test_the_cost_of_rounded_frequencies_is_small():
    rng = np.random.default_rng(1)
    counts = np.bincount(np.minimum(rng.geometric(0.1, 20_000), 60))
    p = counts[counts > 0] / counts.sum()
    q = quantize_counts(counts)[counts > 0] / TOTAL
    assert 0 <= (p * np.log2(p / q)).sum() < 1e-3, "Kullback-Leibler divergence, bits a symbol"


def test_bytes_that_are_cut_or_too_long_are_an_error():
    symbols, tables = _message(50)
    data = encode(symbols, tables)
    for wrong in (
        b"",
        data[:3],
        data[:-2],
        data[:-4],
        data[4:],
        data + bytes(4),
        data + b"\1\0\0\0",
    ):
        with pytest.raises(LatentlabError, match="damaged"):
            _decoded(wrong, 50, tables)
    for count in (49, 51):
        with pytest.raises(LatentlabError, match="damaged"):
            _decoded(data, count, tables)


@pytest.mark.parametrize("at", range(0, 40, 3))
def test_a_flipped_bit_never_decodes_to_the_message(at):
    symbols, tables = _message(50)
    data = bytearray(encode(symbols, tables))
    data[at] ^= 1 << at % 8
    try:
        wrong = _decoded(bytes(data), 50, tables)
    except LatentlabError:
        return
    assert not np.array_equal(wrong, symbols)
