"""Arguments of the Python API: every usual type is taken, all others are named in one line."""

from pathlib import Path

import numpy as np
import pytest
import torch

import latentlab
from latentlab.inference.arguments import as_codes, as_path, whole_number, whole_seed
from latentlab.utils.errors import LatentlabError


@pytest.mark.parametrize("value", [3, np.int64(3), np.uint8(3), torch.tensor(3)])
def test_whole_numbers_of_all_libraries_are_taken(value):
    assert whole_number(value, "The count", least=1) == 3


@pytest.mark.parametrize("value", [0, -1, 2.0, "3", None, True, np.array([1, 2]), 2**64])
def test_what_is_no_whole_number_is_named(value):
    with pytest.raises(LatentlabError, match=r"The count is .* whole number from 1 to 2\^63"):
        whole_number(value, "The count", least=1)


def test_a_seed_can_be_zero_but_not_negative():
    assert whole_seed(0) == 0
    with pytest.raises(LatentlabError, match="The seed is -1"):
        whole_seed(-1)


def test_paths_are_text_or_path_objects():
    assert as_path("a/b", "The model") == as_path(Path("a/b"), "The model")
    with pytest.raises(LatentlabError, match=r"The model is 3 \(int\). Give a name or a path"):
        as_path(3, "The model")


@pytest.mark.parametrize(
    "codes",
    [
        torch.tensor([[1.0, 2.0]]),
        torch.tensor([[1, 2]]),
        torch.tensor([[1.0, 2.0]], dtype=torch.float64),
        np.array([[1.0, 2.0]]),
        np.array([[1.0, 2.0]])[:, ::-1][:, ::-1],  # negative strides
        [[1, 2]],
    ],
)
def test_codes_become_a_float_tensor(codes):
    assert as_codes(codes, 2).equal(torch.tensor([[1.0, 2.0]]))
    assert as_codes(codes, 2).dtype == torch.float32


def test_an_array_that_cannot_be_written_is_not_changed():
    codes = np.ones((1, 2))
    codes.flags.writeable = False
    as_codes(codes, 2).zero_()
    assert codes.sum() == 2


@pytest.mark.parametrize(
    ("codes", "message"),
    [
        (None, "Codes are NoneType that cannot be read as numbers. vae needs"),
        ("codes.npz", "Codes are str"),
        ([[1.0], [1.0, 2.0]], "Codes are list"),
        (np.array([["a", "b"]]), "Codes are ndarray"),
        (np.ones(2), r"Codes have shape \(2,\). vae needs \(N, 2\)"),
        (torch.ones(3, 4), r"Codes have shape \(3, 4\)"),
        (torch.ones(1, 2, dtype=torch.complex64), "Codes are torch.complex64"),
        ([[1.0, float("nan")], [0.0, 0.0]], "1 of 2 codes have values that are NaN or infinite"),
        (np.array([[1e39, 0.0]]), "1 of 1 codes have values .* too large for float32"),
    ],
)
def test_other_codes_are_named_in_one_line(codes, message):
    with pytest.raises(LatentlabError, match=message) as caught:
        as_codes(codes, 2, name="vae")
    assert "\n" not in str(caught.value)


def test_the_methods_of_a_trained_model_check_their_arguments(conditional):
    model = latentlab.load(conditional)
    z = model.sample_latents(np.int64(2), seed=np.int64(1), classes=np.array([3, 4]))
    assert model.decode(z.numpy()).equal(model.decode(z))
    for call in (
        lambda: model.decode(None),
        lambda: model.sample(2.5),
        lambda: model.sample(2, seed="1"),
        lambda: model.sample(2, classes=2.5),
        lambda: latentlab.load(None),
        lambda: latentlab.load("vae", project=3),
        lambda: latentlab.models(3),
    ):
        with pytest.raises(LatentlabError):
            call()
