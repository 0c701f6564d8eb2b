"""log p(x) as a sum over classes, for a model whose log p(x|y) is known."""

import math
from types import SimpleNamespace

import pytest
import torch

from latentlab.diagnostics.metrics.class_likelihood import (
    MIN_PROBABILITY,
    class_probabilities,
    sum_over_classes,
)
from latentlab.samplers import ClassConditional, StandardNormal

GIVEN = torch.tensor([[-3.0, -1.0, -2.0], [-0.5, -4.0, -1.5]])  # log p(x|k) of two images


class Exact:
    """Every code has the weight p(x|y): each bound is exact. `codes`: numbers that were asked."""

    num_classes = 3
    likelihood = SimpleNamespace(outputs=1)

    def __init__(self):
        self.codes = []

    def log_weights(self, x, y, count):
        self.codes.append(count)
        rows = x.flatten().long()
        return GIVEN[rows, y].expand(count, -1)


def test_the_sum_weighs_each_class_by_its_probability():
    model, x, y = Exact(), torch.arange(2.0).view(2, 1, 1, 1), torch.tensor([1, 2])
    p = torch.tensor([0.5, 0.2, 0.3], dtype=torch.float64)
    true = torch.tensor([-0.9, -1.4], dtype=torch.float64)  # a better bound for the true class
    found = sum_over_classes(model, x, y, true, p.log(), num_codes=30, seed=0)
    likelihoods = GIVEN.double().exp()
    likelihoods[[0, 1], [1, 2]] = true.exp()
    torch.testing.assert_close(found, (likelihoods * p).sum(1).log())
    assert set(model.codes) == {10}, "all classes together have 30 codes"


def test_classes_have_the_frequencies_of_the_sampler_and_none_is_impossible():
    sampler = ClassConditional()
    sampler.num_classes = 3
    torch.testing.assert_close(
        class_probabilities(StandardNormal(), 4), torch.full((4,), 0.25, dtype=torch.float64)
    )
    sampler.fit_classes(torch.tensor([0, 0, 2, 2]))
    found = class_probabilities(sampler, 3)
    assert found.tolist() == pytest.approx([0.5, MIN_PROBABILITY, 0.5])
    assert math.isfinite(float(found.log().min()))
