"""Files of the safetensors format."""

import json
import struct

import pytest
import torch

from latentlab.config import safetensors

TENSORS = {
    "weight": torch.arange(6, dtype=torch.float32).reshape(2, 3) / 7,
    "half": torch.tensor([1.5, -2.0], dtype=torch.bfloat16),
    "count": torch.tensor(3),
    "mask": torch.tensor([True, False]),
    "empty": torch.empty(0, 4),
    "view": torch.arange(6).reshape(2, 3).T,
}


@pytest.fixture
def path(tmp_path):
    file = tmp_path / "a.safetensors"
    file.write_bytes(safetensors.to_bytes(TENSORS))
    return file


def test_tensors_are_read_back(path):
    found = safetensors.read(path)
    assert set(found) == set(TENSORS)
    for name, tensor in TENSORS.items():
        assert found[name].dtype == tensor.dtype
        assert torch.equal(found[name], tensor)


def test_the_package_safetensors_reads_the_file(path):
    package = pytest.importorskip("safetensors.torch")
    found = package.load_file(path)
    assert all(torch.equal(found[name], tensor) for name, tensor in TENSORS.items())


def test_the_layout_is_that_of_the_format(path):
    content = path.read_bytes()
    (length,) = struct.unpack("<Q", content[:8])
    header = json.loads(content[8 : 8 + length])
    assert length % 8 == 0
    start, end = header["weight"]["data_offsets"]
    body = content[8 + length :]
    assert struct.unpack("<6f", body[start:end]) == tuple(TENSORS["weight"].flatten().tolist())
    ends = sorted(e["data_offsets"] for n, e in header.items() if n != "__metadata__")
    assert max(end for _, end in ends) == len(body), "no byte is left over"


def header(**entry):
    text = json.dumps({"x": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4], **entry}})
    return struct.pack("<Q", len(text)) + text.encode() + b"\0" * 4


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "too short"),
        (struct.pack("<Q", 2**60) + b"{}", "claims 1,152,921"),
        (struct.pack("<Q", 2) + b"[]", "no JSON object"),
        (struct.pack("<Q", 2) + b"{x", "Expecting property name"),
        (header(shape=[2]), "do not fit"),
        (header(shape=[-1]), "do not fit"),
        (header(shape=[2**60], data_offsets=[0, 2**62]), "do not fit"),
        (header(data_offsets=[4, 8]), "do not fit"),
        (header(data_offsets=[-4, 0]), "do not fit"),
        (header(dtype="PICKLE"), "wrong entry"),
        (header(shape="abc"), "wrong entry"),
    ],
)
def test_a_damaged_file_is_an_error(tmp_path, content, message):
    file = tmp_path / "bad.safetensors"
    file.write_bytes(content)
    with pytest.raises(ValueError, match=message):
        safetensors.read(file)


def test_a_type_that_the_format_does_not_have():
    with pytest.raises(ValueError, match=r"x is torch\.complex64"):
        safetensors.to_bytes({"x": torch.zeros(1, dtype=torch.complex64)})
