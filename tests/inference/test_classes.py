"""Classes by name or number, and samples of classes."""

import numpy as np
import pytest
import torch

import latentlab
from latentlab.inference.classes import class_indices, cycled
from latentlab.utils.errors import LatentlabError

NAMES = ("cat", "dog", "7")


@pytest.mark.parametrize(
    ("classes", "expected"),
    [
        ("dog", [1]),
        (2, [2]),
        ("2", [2]),
        ("7", [2]),
        (["cat", 1], [0, 1]),
        (range(3), [0, 1, 2]),
        (np.array([2, 0]), [2, 0]),
        (torch.tensor([1]), [1]),
    ],
)
def test_a_name_comes_before_an_index(classes, expected):
    assert class_indices(classes, 3, NAMES) == expected


@pytest.mark.parametrize(
    ("classes", "message"),
    [
        ("dgo", r"no class 'dgo'. Did you mean 'dog'\? Classes are 0 to 2 \(cat, dog, 7\)"),
        (3, "no class 3. Classes are 0 to 2"),
        (-1, "no class -1"),
        ([], "list of classes is empty"),
        ([1.5], r"A class is 1.5 \(float\)"),
        (1.5, r"A class is 1.5 \(float\)"),
        ([None], r"A class is None \(NoneType\)"),
    ],
)
def test_a_class_that_does_not_exist(classes, message):
    with pytest.raises(LatentlabError, match=message):
        class_indices(classes, 3, NAMES)


def test_classes_are_used_in_turn():
    assert cycled([4, 2], 5).tolist() == [4, 2, 4, 2, 4]


def test_samples_of_a_class_have_its_code_and_the_same_noise(conditional):
    model = latentlab.load(conditional)
    assert model.is_conditional
    z = model.sample_latents(6, seed=3)
    ones = model.sample_latents(6, seed=3, classes=["3", 5])
    assert torch.equal(ones[:, :-10], z[:, :-10])
    assert ones[:, -10:].argmax(1).tolist() == [3, 5, 3, 5, 3, 5]
    assert (ones[:, -10:].sum(1) == 1).all()
    images = model.sample(6, seed=3, classes=["3", 5])
    assert torch.equal(images, model.decode(ones))


def test_another_model_has_no_classes(tiny):
    vae = latentlab.load("vae", project=tiny.root)
    with pytest.raises(
        LatentlabError, match=r"vae is not class-cond.*: conditional_gan, conditional_vae\."
    ):
        vae.sample(1, classes=1)


def test_the_names_of_classes_come_with_the_run_folder(tiny, conditional):
    assert latentlab.load("vae", project=tiny.root).classes == tuple("0123456789")
    assert latentlab.load(conditional).classes == tuple("0123456789")
