"""The rank of an error among those of the training, against scipy."""

import pytest
import torch
from scipy.stats import percentileofscore

from latentlab.outliers import quantiles


def test_quantiles_are_mean_percentile_ranks():
    generator = torch.Generator().manual_seed(0)
    reference = torch.randint(10, (57,), generator=generator).float()
    values = torch.tensor([-1.0, 0, 3, 4.5, 9, 11])
    expected = [percentileofscore(reference.numpy(), float(v), kind="mean") / 100 for v in values]
    assert quantiles(values, reference).tolist() == pytest.approx(expected)
