"""Noise and classes together: each follows its own law, and they are independent."""

import pytest
import torch
from scipy.stats import chisquare, kstest

from latentlab.priors import Conditional, with_class


def drawn(count, dim, classes, seed=0):
    prior = Conditional()
    prior.num_classes = classes
    return prior.sample((count, dim), torch.Generator().manual_seed(seed))


def test_noise_is_normal_and_classes_are_uniform_one_hot_rows():
    z = drawn(6000, 7, 4)
    noise, classes = z[:, :3], z[:, 3:]
    assert kstest(noise.flatten().double().numpy(), "norm").pvalue > 0.01
    assert torch.equal(classes.sum(1), torch.ones(6000))
    assert set(classes.unique().tolist()) == {0.0, 1.0}
    assert chisquare(classes.sum(0).double().numpy()).pvalue > 0.01
    means = torch.stack([noise[classes[:, k] == 1].mean(0) for k in range(4)])
    assert float(means.abs().max()) < 4 / 1500**0.5, "the noise does not know the class"


def test_a_seed_decides_the_draw():
    assert torch.equal(drawn(50, 9, 3, seed=1), drawn(50, 9, 3, seed=1))
    assert not torch.equal(drawn(50, 9, 3, seed=1), drawn(50, 9, 3, seed=2))


@pytest.mark.parametrize(("dim", "classes"), [(5, 0), (5, 1), (5, 5)])
def test_it_needs_classes_and_room_for_noise(dim, classes):
    with pytest.raises(ValueError, match="two classes or more"):
        drawn(2, dim, classes)


def test_with_class_replaces_the_class_and_keeps_the_noise():
    z = drawn(3, 6, 4)
    asked = with_class(z, torch.tensor([2, 0, 3]), 4)
    assert torch.equal(asked[:, :2], z[:, :2])
    assert asked[:, 2:].tolist() == [[0, 0, 1, 0], [1, 0, 0, 0], [0, 0, 0, 1]]
