"""Codes → bytes → codes, and the sensitivity of a decoder."""

import numpy as np
import pytest
import torch

from latentlab.inference.compression import coder, container, pack, sensitivity, unpack
from latentlab.inference.compression.container import CodeDimension, Container
from latentlab.utils.errors import LatentlabError


def test_unpacked_codes_differ_by_half_a_step_at_most_and_a_constant_is_exact():
    z = torch.randn(40, 3, generator=torch.Generator().manual_seed(0))
    z = z * torch.tensor([1.0, 5.0, 0.0]) + 2
    steps = torch.tensor([0.5, 0.25, 1.0])
    names = [f"é{row}" for row in range(40)]
    content = pack(z, steps, names, model="vae", digest=bytes(range(32)))
    error = (unpack(content) - z).abs()
    assert (error <= steps / 2 + 1e-5).all()
    assert float(error[:, 2].max()) == 0
    file = container.read(content)
    assert file.names[3] == "é3"
    assert (file.model, file.digest) == ("vae", bytes(range(32)))


@pytest.mark.parametrize("step", [1e-300, 1e39, 0.0])
def test_steps_beyond_32_bit_numbers_are_an_error(step):
    steps = torch.full((3,), step, dtype=torch.float64)
    with pytest.raises(LatentlabError, match="must be positive and finite"):
        pack(torch.randn(4, 3), steps, ["x"] * 4, model="vae", digest=bytes(32))


def test_codes_that_are_not_finite_or_have_too_many_values_are_an_error():
    table = np.array([8192, 8192])
    data = coder.encode(np.array([[1]]), [table])
    file = Container(bytes(32), "vae", ("a",), (CodeDimension(3e38, 3e38, 2**30, table),), data)
    with pytest.raises(LatentlabError, match="not finite"):
        unpack(container.write(file))
    with pytest.raises(LatentlabError, match="A code value has 1,000,001 different values"):
        pack(torch.tensor([[0.0], [1e6]]), torch.ones(1), ["", ""], model="", digest=bytes(32))
    with pytest.raises(LatentlabError, match="must be finite"):
        pack(torch.tensor([[float("nan")]]), torch.ones(1), [""], model="", digest=bytes(32))


def test_the_sensitivity_of_a_linear_decoder_is_the_norm_of_its_columns():
    basis = torch.tensor([[3.0, 0.0, 1.0], [4.0, 0.5, 0.0]])
    z = torch.randn(200, 3, generator=torch.Generator().manual_seed(0))
    slope = sensitivity(lambda codes: codes @ basis.T, z)
    torch.testing.assert_close(slope, basis.norm(dim=0), rtol=1e-3, atol=0)
