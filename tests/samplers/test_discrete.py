"""Densities over discrete codes: probabilities, samples, states."""

import itertools

import pytest
import torch
import torch.nn.functional as F
from scipy.stats import chisquare

from latentlab.samplers import AutoregressivePrior, IndependentCategorical
from latentlab.samplers.discrete import nearest_indices, positions_before


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def markov_chain(length=4, values=3, count=3000):
    """Each index equals the one before it with probability 0.8, else it is uniform."""
    g = seeded(4)
    columns = [torch.randint(values, (count,), generator=g)]
    for _ in range(length - 1):
        stay = torch.rand(count, generator=g) < 0.8
        columns.append(torch.where(stay, columns[-1], torch.randint(values, (count,), generator=g)))
    return torch.stack(columns, 1).float()


def all_sequences(length=4, values=3):
    return torch.tensor(list(itertools.product(range(values), repeat=length))).float()


@pytest.fixture(scope="module")
def fitted():
    prior = AutoregressivePrior(hidden=16, steps=250, batch_size=128, lr=2e-2)
    prior.fit(markov_chain())
    return prior


def test_autoregressive_probabilities_sum_to_one_and_are_those_of_the_chain(fitted):
    s = all_sequences()
    p = fitted.log_prob(s).exp()
    assert float(p.sum()) == pytest.approx(1, abs=1e-4)
    stays = (s[:, 1:] == s[:, :-1]).double()
    true = (stays * (0.8 + 0.2 / 3) + (1 - stays) * 0.2 / 3).prod(1) / 3
    assert float((p - true).abs().sum()) < 0.15
    assert float((1 / 81 - true).abs().sum()) > 0.8  # of independent indices


def test_autoregressive_samples_have_its_probabilities(fitted):
    assert fitted.learns
    indices = fitted.sample((8000, 4), seeded()).long() @ torch.tensor([27, 9, 3, 1])
    counts = torch.bincount(indices, minlength=81).double()
    expected = fitted.log_prob(all_sequences()).exp().double()
    assert chisquare(counts.numpy(), (8000 * expected / expected.sum()).numpy()).pvalue > 0.01


def test_the_neighbours_in_a_grid_are_four_rows_up_and_four_positions_to_the_left():
    side = 7
    mask = torch.zeros(9, 9)
    mask[:4], mask[4, :4] = 1, 1  # of a masked convolution of type A
    for position, found in enumerate(positions_before(side**2)):
        grid = torch.zeros(side + 8, side + 8)
        y, x = divmod(position, side)
        grid[y : y + 9, x : x + 9] = mask
        expected = grid[4:-4, 4:-4].flatten().nonzero().flatten()
        inside = found[found < side**2]
        assert torch.equal(inside.sort().values, expected)
        assert len(found) == 40


def test_indices_that_form_no_square_are_a_sequence():
    before = positions_before(60)
    assert before[50].tolist() == list(range(49, 9, -1))
    assert before[1].tolist() == [0] + 39 * [60]


@pytest.mark.parametrize("length", [36, 15])
def test_an_index_depends_on_the_indices_before_it_only(length):
    codes = torch.randint(4, (300, length), generator=seeded()).float()
    prior = AutoregressivePrior(hidden=8, steps=30)
    prior.fit(codes)
    one = codes[:1].long()
    for changed in range(length):
        other = one.clone()
        other[0, changed] = (other[0, changed] + 1) % 4
        logits = [prior._logits(prior._with_outside(i), slice(None))[0] for i in (one, other)]
        differs = (logits[0] != logits[1]).any(1).nonzero().flatten().tolist()
        assert all(position > changed for position in differs)
        last_of_a_row = changed % 6 == 5 if length == 36 else changed == length - 1
        assert changed + 1 in differs or last_of_a_row


def test_independent_indices_have_the_frequencies_of_each_position():
    codes = torch.tensor([[0.0, 2.0], [0.0, 1.0], [1.0, 1.0], [1.0, 1.0]])
    prior = IndependentCategorical()
    assert prior.learns
    prior.fit(codes)
    assert prior.frequencies.tolist() == [[0.5, 0.5, 0], [0, 0.75, 0.25]]
    z = prior.sample((4000, 2), seeded())
    assert chisquare(torch.bincount(z[:, 0].long()).numpy(), [2000, 2000]).pvalue > 0.01
    assert chisquare(torch.bincount(z[:, 1].long())[1:].numpy(), [3000, 1000]).pvalue > 0.01


@pytest.mark.parametrize("sampler", [IndependentCategorical, AutoregressivePrior])
def test_indices_must_be_whole_numbers_and_have_the_fitted_length(sampler):
    for codes in ([[0.5, 2.0]], [[-1.0, 2.0]]):
        with pytest.raises(ValueError, match=r"Choose latentlab\.samplers\.FittedMixture"):
            sampler().fit(torch.tensor(codes))
    with pytest.raises(ValueError, match="asked for 3 indices"):
        sampler().sample((5, 3))


@pytest.mark.parametrize(
    "make", [IndependentCategorical, lambda: AutoregressivePrior(hidden=8, steps=5)]
)
def test_fitting_is_deterministic_and_is_loaded_from_a_state(make):
    codes = markov_chain()
    priors = [make(), make(), make()]
    priors[0].fit(codes)
    torch.rand(7)  # changes the state of the global generator
    with torch.inference_mode():
        priors[1].fit(markov_chain())
    priors[2].load_state_dict(priors[0].state_dict())
    first, *rest = [prior.sample((50, 4), seeded()) for prior in priors]
    assert first.dtype == torch.float32
    assert all(torch.equal(first, z) for z in rest)


def test_settings_must_be_positive():
    with pytest.raises(ValueError, match="must be > 0"):
        AutoregressivePrior(steps=0)


def test_projected_codes_are_whole_numbers_of_the_codebook():
    z = torch.tensor([[-3.0, 0.4, 1.6, 9.0]])
    assert nearest_indices(z, 5).tolist() == [[0, 0, 2, 4]]


def pixel_cnn(prior, codes, side, k):
    """Logits (N, K, side, side) by a masked convolution, written with zeros in its kernel."""
    weights = prior.masked.weight.reshape(prior.hidden, -1, prior.embedding.embedding_dim)
    kernel = torch.zeros(prior.hidden, weights.shape[2], 81)
    kernel[:, :, :40] = weights.movedim(1, 2)  # 4 rows of 9, then 4 positions to the left
    outside = torch.full((len(codes), side + 8, side + 8), k)
    outside[:, 4:-4, 4:-4] = codes.view(-1, side, side)
    hidden = F.conv2d(prior.embedding(outside).movedim(3, 1), kernel.unflatten(2, (9, 9)))
    hidden = hidden + prior.position.T.view(1, prior.hidden, side, side)
    hidden = hidden.sigmoid() * hidden
    point = torch.einsum("oi,nihw->nohw", prior.pointwise.weight, hidden)
    point = point + prior.pointwise.bias[:, None, None]
    logits = torch.einsum("oi,nihw->nohw", prior.head.weight, hidden + point.sigmoid() * point)
    return logits + prior.head.bias[:, None, None]


def test_the_network_is_one_masked_convolution_and_a_residual_block_of_1_by_1():
    side, k = 5, 3
    prior = AutoregressivePrior(hidden=6)
    prior._build(side**2, k)
    with torch.no_grad():
        for parameter in prior.parameters():
            parameter.normal_(0, 0.4)
        codes = torch.randint(k, (20, side**2), generator=seeded())
        p = pixel_cnn(prior, codes, side, k).log_softmax(1).flatten(2)
        expected = p.gather(1, codes[:, None])[:, 0].sum(1)
        torch.testing.assert_close(prior.log_prob(codes.float()), expected)
        loss = float(prior._loss(codes.float()))
    assert loss == pytest.approx(float(-expected.mean() / side**2), rel=1e-5)
    names = {name.split(".")[0] for name in prior.state_dict()}
    assert names == {"embedding", "masked", "position", "pointwise", "head"}
    assert prior.masked.bias is None


def test_samples_and_fitted_weights_have_no_gradient():
    codes = markov_chain(count=50).requires_grad_()
    prior = AutoregressivePrior(hidden=4, steps=2)
    prior.fit(codes)
    assert not prior.sample((3, 4)).requires_grad
    assert not prior.log_prob(codes).requires_grad


def test_a_codebook_of_one_vector_has_one_index():
    prior = AutoregressivePrior(hidden=4, steps=2)
    prior.fit(torch.zeros(20, 4))
    assert (prior.head.out_features, prior.codebook_size) == (1, 1)
    assert prior.sample((5, 4)).tolist() == torch.zeros(5, 4).tolist()


def test_samplers_that_are_not_fitted_have_no_indices():
    prior = AutoregressivePrior()
    assert (prior.length, prior.codebook_size, prior.head.out_features) == (0, 0, 1)
    assert IndependentCategorical().frequencies.shape == (0, 0)
