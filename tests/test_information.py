"""Bounds on mutual information against the exact value, where it is known."""

import itertools
import math

import pytest
import torch
from scipy.integrate import quad
from scipy.special import erf
from sklearn.metrics import mutual_info_score
from torch.distributions import Independent, Normal, Uniform

from latentlab.contracts import LatentlabError, Split
from latentlab.losses.information import categorical_information, uniform_information
from latentlab.losses.semi_supervised import feature_matching, real_logit
from latentlab.metrics.assignment import best_assignment, counts
from latentlab.metrics.taught import taught_accuracy
from latentlab.priors import Coded


def test_a_category_that_is_plain_to_see_says_its_entropy_and_no_more():
    y = torch.arange(7).repeat(3)
    sure = 40.0 * torch.eye(7)[y]
    assert float(categorical_information(sure, y)) == pytest.approx(math.log(7), rel=1e-6)
    assert float(categorical_information(torch.zeros(21, 7), y)) == pytest.approx(0, abs=1e-6)
    for seed in range(20):
        logits = 5 * torch.randn(21, 7, generator=torch.Generator().manual_seed(seed))
        assert float(categorical_information(logits, y)) < math.log(7)


def test_the_categorical_bound_is_tight_for_the_true_posterior_only():
    """y uniform on 3 values, x on 4, with counts for p(x|y): I(y; x) by scikit-learn."""
    table = torch.tensor([[6, 2, 1, 1], [1, 7, 1, 1], [2, 2, 2, 4]])  # 10 draws of x for each y
    y = torch.arange(3).repeat_interleave(10)
    x = torch.cat([torch.arange(4).repeat_interleave(row) for row in table])
    exact = mutual_info_score(y.numpy(), x.numpy())
    posterior = (table / table.sum(0)).log().T  # (x, y)
    assert float(categorical_information(posterior[x], y)) == pytest.approx(exact, rel=1e-5)
    other = posterior + torch.randn(4, 3, generator=torch.Generator().manual_seed(0))
    assert float(categorical_information(other[x], y)) < exact


def test_the_continuous_bound_is_the_entropy_and_log_likelihood_of_torch_distributions():
    g = torch.Generator().manual_seed(1)
    mu, logvar, c = (torch.randn(50, 3, generator=g) for _ in range(3))
    c = c.clamp(-1, 1)
    prior = Independent(Uniform(-torch.ones(3), torch.ones(3)), 1)
    q = Independent(Normal(mu, (logvar / 2).exp()), 1)
    expected = prior.entropy() + q.log_prob(c).mean()
    assert float(uniform_information(mu, logvar, c)) == pytest.approx(float(expected), rel=1e-5)


def test_the_continuous_bound_stays_below_the_information_of_a_noisy_copy():
    """x = c + σ n: I(c; x) = h(x) − h(σ n), the first by numerical integration."""
    sigma = 0.1

    def density(x):
        return (erf((x + 1) / (sigma * 2**0.5)) - erf((x - 1) / (sigma * 2**0.5))) / 4

    def surprise(x):
        return -density(x) * math.log(density(x)) if density(x) > 0 else 0.0

    exact = quad(surprise, -4, 4, limit=200)[0] - 0.5 * math.log(2 * math.pi * math.e * sigma**2)
    g = torch.Generator().manual_seed(2)
    c = torch.rand(100_000, 1, generator=g) * 2 - 1
    x = c + sigma * torch.randn(c.shape, generator=g)
    logvar = torch.full_like(c, 2 * math.log(sigma))
    good, careless = uniform_information(x, logvar, c), uniform_information(x, logvar + 2, c)
    assert exact - 0.1 < float(good) < exact
    assert float(careless) < float(good)


def test_coded_prior_has_uniform_numbers_between_noise_and_class():
    prior = Coded()
    prior.num_classes, prior.num_continuous = 3, 2
    z = prior.sample((5000, 9), torch.Generator().manual_seed(0))
    noise, c, y = z[:, :4], z[:, 4:6], z[:, 6:]
    assert float(noise.abs().max()) > 2.5
    assert -1 <= float(c.min()) < -0.99
    assert 0.99 < float(c.max()) <= 1
    assert float(c.var()) == pytest.approx(1 / 3, rel=0.05)
    assert torch.equal(y.sum(1), torch.ones(5000))
    with pytest.raises(ValueError, match="noise before them"):
        prior.sample((2, 5))


@pytest.mark.parametrize("seed", range(5))
def test_the_best_assignment_is_the_best_of_all_permutations(seed):
    g = torch.Generator().manual_seed(seed)
    codes, labels = torch.randint(0, 5, (2, 200), generator=g)
    table = counts(codes, labels)
    match = best_assignment(table)
    agreed = sum(int(table[code, label]) for code, label in match.items())
    every = (
        sum(int((labels[codes == code] == label).sum()) for code, label in enumerate(order))
        for order in itertools.permutations(range(5))
    )
    assert agreed == max(every)
    assert sorted(match.values()) == list(range(5))


def test_more_codes_than_labels_leaves_some_without_one():
    table = counts(torch.tensor([0, 1, 2, 2, 2]), torch.tensor([1, 0, 0, 0, 1]))
    assert table.tolist() == [[0, 1], [1, 0], [2, 1]]
    assert best_assignment(table) == {0: 1, 2: 0}


@pytest.mark.parametrize(("codes", "labels"), [([0, 1], [0]), ([], []), ([0, 1], [0, -1])])
def test_counts_needs_a_code_and_a_label_for_every_image(codes, labels):
    with pytest.raises(LatentlabError, match=r"pass one of each|negative"):
        counts(torch.tensor(codes).long(), torch.tensor(labels).long())


def test_being_real_is_what_a_softmax_over_one_more_class_says():
    logits = 3 * torch.randn(8, 5, generator=torch.Generator().manual_seed(0))
    softmax = torch.cat([logits, torch.zeros(8, 1)], 1).softmax(1)
    torch.testing.assert_close(real_logit(logits).sigmoid(), 1 - softmax[:, -1])


def test_feature_matching_compares_means_alone():
    g = torch.Generator().manual_seed(0)
    real = torch.randn(6, 3, generator=g)
    assert float(feature_matching(real, real.flip(0).repeat(2, 1))) == pytest.approx(0, abs=1e-10)
    shift = torch.tensor([1.0, -2.0, 0.5])
    assert float(feature_matching(real, real + shift)) == pytest.approx(5.25, rel=1e-5)


def test_taught_accuracy_tells_good_lessons_from_wrong_ones():
    g = torch.Generator().manual_seed(0)
    y = torch.arange(200) % 2
    x = torch.rand(200, 1, 4, 4, generator=g) / 2 + y[:, None, None, None] / 2
    test = Split((255 * x).to(torch.uint8), y)
    state = torch.get_rng_state()
    assert taught_accuracy(x, y, test, steps=200) == 1
    assert taught_accuracy(x, 1 - y, test, steps=200) == 0
    assert torch.equal(torch.get_rng_state(), state), "the caller's randomness is its own"
    with pytest.raises(LatentlabError, match="each image needs one"):
        taught_accuracy(x, y[:5], test)
