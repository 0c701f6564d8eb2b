"""The compressed file: damaged or forged bytes are an error."""

import struct
import tracemalloc
import zlib

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from latentlab.inference.compression import container, pack, unpack
from latentlab.inference.compression.container import MAGIC
from latentlab.utils.errors import LatentlabError


def _packed(count=40):
    """The bytes of a valid file."""
    generator = torch.Generator().manual_seed(0)
    z = torch.randn(count, 3, generator=generator) * torch.tensor([1.0, 5.0, 0.0]) + 2
    steps = torch.tensor([0.5, 0.25, 1.0])
    names = [f"é{row}" for row in range(count)]
    return pack(z, steps, names, model="vae", digest=bytes(range(32)))


def _sealed(body):
    return body + struct.pack("<I", zlib.crc32(body))


@pytest.mark.parametrize("cut", range(0, 200, 7))
def test_a_shortened_file_is_an_error(cut):
    content = _packed()
    with pytest.raises(LatentlabError, match=r"damaged or incomplete|does not begin with latentz2"):
        container.read(content[:cut])
    with pytest.raises(LatentlabError, match="damaged or incomplete"):
        container.read(content[:-1])


def test_every_flipped_bit_is_an_error():
    content = _packed()
    for at in range(len(content)):
        changed = bytearray(content)
        changed[at] ^= 1 << at % 8
        with pytest.raises(LatentlabError):
            container.read(bytes(changed))


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_random_bytes_with_a_valid_checksum_do_no_harm(data):
    """Bytes that were changed at random are an error, or declare no more images than bytes."""
    body = bytearray(_packed(count=5)[:-4])
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(len(MAGIC), len(body) - 1))
        body[at] = data.draw(st.integers(0, 255))
    try:
        codes = unpack(_sealed(bytes(body)))
    except LatentlabError:
        return
    assert len(codes) <= len(body)


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=300))
def test_noise_is_an_error(noise):
    with pytest.raises(LatentlabError):
        unpack(_sealed(MAGIC + noise))


@pytest.mark.parametrize(
    ("after", "message"),
    [
        (b"\xff\xff\xff\xff\x07" + b"\x01", "images of 1 values"),
        (b"\x05" + b"\xff\xff\xff\xff\x07", "images of 2147483647 values"),
        (b"\xff\xff\xff\xff\xff\xff\xff", "too large"),
        (b"\x05\x01" + struct.pack("<ff", 0, float("nan")) + b"\0\1" + b"\x01" * 20, "step nan"),
        (
            b"\x05\x01" + struct.pack("<ff", 0, 1) + b"\0\xff\xff\x7f" + b"\x01" * 20,
            "bytes are needed",
        ),
        (b"\x05\x01" + struct.pack("<ff", 0, 1) + b"\0\x02\x01\x01" + b"\x01" * 20, "sum to 2"),
    ],
)
def test_a_large_declared_size_is_an_error_before_memory_is_allocated(after, message):
    content = _sealed(MAGIC + bytes(32) + b"\x03vae" + after)
    tracemalloc.start()
    try:
        with pytest.raises(LatentlabError, match=message):
            container.read(content)
        assert tracemalloc.get_traced_memory()[1] < 1_000_000
    finally:
        tracemalloc.stop()
