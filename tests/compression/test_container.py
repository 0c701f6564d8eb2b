"""The compressed file: what goes in comes out, and no bytes of a stranger do harm."""

import struct
import tracemalloc
import zlib
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from latentlab.compression import coder, container, pack, sensitivity, unpack
from latentlab.compression.container import MAGIC, Container, Unit
from latentlab.compression.files import file_name, model_of, save_images
from latentlab.contracts import LatentlabError


def _packed(count=40, names=None):
    generator = torch.Generator().manual_seed(0)
    z = torch.randn(count, 3, generator=generator) * torch.tensor([1.0, 5.0, 0.0]) + 2
    steps = torch.tensor([0.5, 0.25, 1.0])
    names = names or [f"é{row}" for row in range(count)]
    return z, steps, pack(z, steps, names, model="vae", digest=bytes(range(32)))


def _sealed(body):
    return body + struct.pack("<I", zlib.crc32(body))


def test_codes_come_back_within_half_a_step_and_a_constant_one_exactly():
    z, steps, content = _packed()
    error = (unpack(content) - z).abs()
    assert (error <= steps / 2 + 1e-5).all()
    assert float(error[:, 2].max()) == 0
    file = container.read(content)
    assert file.names[3] == "é3"
    assert (file.model, file.digest) == ("vae", bytes(range(32)))


@pytest.mark.parametrize("cut", range(0, 200, 7))
def test_a_shortened_file_is_refused(cut):
    content = _packed()[2]
    with pytest.raises(LatentlabError, match=r"damaged or incomplete|no file of"):
        container.read(content[:cut])
    with pytest.raises(LatentlabError, match="damaged or incomplete"):
        container.read(content[:-1])


def test_every_flipped_bit_is_noticed():
    content = _packed()[2]
    for at in range(len(content)):
        changed = bytearray(content)
        changed[at] ^= 1 << at % 8
        with pytest.raises(LatentlabError):
            container.read(bytes(changed))


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_a_forged_checksum_opens_nothing(data):
    """Bytes changed at random and sealed anew are refused, or hold no more than their size."""
    body = bytearray(_packed(count=5)[2][:-4])
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
def test_noise_is_refused(noise):
    with pytest.raises(LatentlabError):
        unpack(_sealed(MAGIC + noise))


@pytest.mark.parametrize(
    ("after", "message"),
    [
        (b"\xff\xff\xff\xff\x07" + b"\x01", "images of 1 numbers"),
        (b"\x05" + b"\xff\xff\xff\xff\x07", "images of 2147483647 numbers"),
        (b"\xff\xff\xff\xff\xff\xff\xff", "too large"),
        (b"\x05\x01" + struct.pack("<ff", 0, float("nan")) + b"\0\1" + b"\x01" * 20, "step nan"),
        (b"\x05\x01" + struct.pack("<ff", 0, 1) + b"\0\xff\xff\x7f" + b"\x01" * 20, "bytes wanted"),
        (b"\x05\x01" + struct.pack("<ff", 0, 1) + b"\0\x02\x01\x01" + b"\x01" * 20, "sum to 2"),
    ],
)
def test_what_claims_too_much_is_refused_before_memory_is_taken(after, message):
    content = _sealed(MAGIC + bytes(32) + b"\x03vae" + after)
    tracemalloc.start()
    try:
        with pytest.raises(LatentlabError, match=message):
            container.read(content)
        assert tracemalloc.get_traced_memory()[1] < 1_000_000
    finally:
        tracemalloc.stop()


def test_codes_beyond_every_number_are_refused():
    table = np.array([8192, 8192])
    data = coder.encode(np.array([[1]]), [table])
    file = Container(bytes(32), "vae", ("a",), (Unit(3e38, 3e38, 2**30, table),), data)
    with pytest.raises(LatentlabError, match="not finite"):
        unpack(container.write(file))
    with pytest.raises(LatentlabError, match="a code would take"):
        pack(torch.tensor([[0.0], [1e6]]), torch.ones(1), ["", ""], model="", digest=bytes(32))
    with pytest.raises(LatentlabError, match="must be finite"):
        pack(torch.tensor([[float("nan")]]), torch.ones(1), [""], model="", digest=bytes(32))


def test_sensitivity_of_a_linear_decoder_is_the_length_of_its_columns():
    basis = torch.tensor([[3.0, 0.0, 1.0], [4.0, 0.5, 0.0]])
    z = torch.randn(200, 3, generator=torch.Generator().manual_seed(0))
    slope = sensitivity(lambda codes: codes @ basis.T, z)
    torch.testing.assert_close(slope, basis.norm(dim=0), rtol=1e-3, atol=0)


def test_names_from_a_file_never_leave_the_folder(tmp_path):
    names = ["../../etc/passwd", "/a", "a/b", "..", ".hidden", "", "a\0b", "x" * 300, "Cat", "cat"]
    images = ((name, torch.zeros(1, 2, 2)) for name in names)
    folder = tmp_path / "out"
    folder.mkdir()
    assert save_images(images, folder) == len(names)
    written = {path.name for path in tmp_path.rglob("*.png")}
    assert len(written) == len(names)
    assert {path.parent for path in tmp_path.rglob("*.png")} == {folder}
    assert "Cat.png" in written
    assert file_name("image-000000", 7, set()) == "image-000000"


def test_a_file_cannot_name_a_path_as_its_model():
    file = container.read(_packed()[2])
    assert model_of(container.write(file)) == "vae"
    for name in ("../vae", "/tmp/x", "", "a b"):
        with pytest.raises(LatentlabError, match="no name of a model"):
            model_of(container.write(replace(file, model=name)))
