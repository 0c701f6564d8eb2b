"""The rank of an error among reference errors, compared with scipy."""

import pytest
import torch
from scipy.stats import percentileofscore

from latentlab.inference.anomaly import empirical_cdf


def test_the_empirical_cdf_is_the_mean_percentile_rank_of_scipy():
    generator = torch.Generator().manual_seed(0)
    reference = torch.randint(10, (57,), generator=generator).float()
    values = torch.tensor([-1.0, 0, 3, 4.5, 9, 11])
    expected = [percentileofscore(reference.numpy(), float(v), kind="mean") / 100 for v in values]
    assert empirical_cdf(values, reference).tolist() == pytest.approx(expected)
