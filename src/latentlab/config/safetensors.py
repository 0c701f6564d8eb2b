"""Tensors in a file of the safetensors format: a JSON header and raw bytes, no code, no pickle.

The format: 8 bytes with the length of the header (little-endian), the header as JSON, the bytes of
all tensors in order and without gaps. https://huggingface.co/docs/safetensors has the description.
The package safetensors reads these files, and is not needed.
"""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

DTYPES = {
    "F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16,
    "I64": torch.int64, "I32": torch.int32, "I16": torch.int16, "I8": torch.int8,
    "U8": torch.uint8, "BOOL": torch.bool,
}  # fmt: skip
CODES = {dtype: code for code, dtype in DTYPES.items()}
MAX_HEADER = 100 * 2**20  # bytes; the limit of the package safetensors


def to_bytes(tensors: Mapping[str, Tensor]) -> bytes:
    """Return the content of a file. Raise ValueError for a dtype that the format does not have."""
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    parts, start = [], 0
    for name, tensor in sorted(tensors.items()):
        if tensor.dtype not in CODES:
            raise ValueError(f"{name} is {tensor.dtype}, which safetensors does not have")
        flat = tensor.detach().cpu().contiguous().reshape(-1)
        parts.append(flat.view(torch.uint8).numpy().tobytes() if flat.numel() else b"")
        end = start + len(parts[-1])
        code, shape = CODES[tensor.dtype], list(tensor.shape)
        header[name] = {"dtype": code, "shape": shape, "data_offsets": [start, end]}
        start = end
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return struct.pack("<Q", len(text)) + text + b"".join(parts)


def read(path: Path) -> dict[str, Tensor]:
    """Read a file. Raise ValueError if it is damaged: wrong header, sizes or offsets."""
    content = bytearray(path.read_bytes())
    if len(content) < 8:
        raise ValueError("the file is too short")
    (length,) = struct.unpack("<Q", content[:8])
    if length > min(MAX_HEADER, len(content) - 8):
        raise ValueError(f"the header claims {length:,} bytes")
    header = json.loads(bytes(content[8 : 8 + length]))
    if not isinstance(header, dict):
        raise ValueError("the header is no JSON object")
    header.pop("__metadata__", None)
    body = memoryview(content)[8 + length :]
    return {name: _tensor(name, entry, body) for name, entry in header.items()}


def _tensor(name: str, entry: Any, body: memoryview) -> Tensor:
    try:
        dtype, shape = DTYPES[entry["dtype"]], [int(size) for size in entry["shape"]]
        start, end = (int(offset) for offset in entry["data_offsets"])
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{name} has a wrong entry in the header ({error!r})") from None
    size = math.prod(shape) * dtype.itemsize
    if min([*shape, start, 0]) < 0 or end - start != size or end > len(body):
        raise ValueError(f"{name} has offsets that do not fit its shape or the file")
    if size == 0:
        return torch.empty(shape, dtype=dtype)
    flat = torch.frombuffer(body[start:end], dtype=torch.uint8).clone()
    return flat.view(dtype).reshape(shape)
