"""bfloat16 only where the hardware computes in it."""

import pytest
import torch
from torch import nn

from latentlab.utils.bfloat16 import bfloat16_autocast, computes_in_bfloat16

CPU = torch.device("cpu")


@pytest.fixture
def capabilities(monkeypatch):
    """Instructions of the processor: a dict that a test changes."""
    known = {"avx2": True, "avx512_bf16": False, "amx_bf16": False}
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: known, raising=False)
    return known


def output_type(*, enabled):
    with bfloat16_autocast(CPU, enabled=enabled):
        return nn.Linear(3, 2)(torch.rand(4, 3)).dtype


@pytest.mark.parametrize("name", ["avx512_bf16", "amx_bf16", "bf16", "sve_bf16"])
def test_a_processor_with_the_instructions_computes_in_bfloat16(capabilities, name):
    assert output_type(enabled=True) == torch.float32
    capabilities[name] = True
    assert output_type(enabled=True) == torch.bfloat16
    assert output_type(enabled=False) == torch.float32


def test_the_precision_of_the_trainer_holds_inside(capabilities):
    """`precision: bf16-mixed` is not switched off where the option of the model is."""
    with torch.autocast("cpu", torch.bfloat16):
        assert output_type(enabled=False) == torch.bfloat16
        assert output_type(enabled=True) == torch.bfloat16


def test_gpus_compute_in_bfloat16(capabilities):
    assert not computes_in_bfloat16(CPU)
    assert computes_in_bfloat16(torch.device("cuda"))


def test_a_torch_that_cannot_tell_computes_in_float32(monkeypatch):
    monkeypatch.delattr(torch.cpu, "get_capabilities", raising=False)
    assert not computes_in_bfloat16(CPU)
