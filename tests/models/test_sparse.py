"""Sparse autoencoders: penalties against torch.distributions, the choice of k against sorting."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch.distributions import Bernoulli, Laplace, kl_divergence

from latentlab.losses.sparsity import above_top_k, bernoulli_kl, l1_norm, top_k
from latentlab.models.k_sparse_ae import KSparseAE
from latentlab.models.sparse_ae import SparseAE

SHAPE = (1, 6, 6)


def test_l1_differs_from_a_laplace_priors_nll_by_a_constant():
    z = torch.randn(5, 7, dtype=torch.float64)
    nll = -Laplace(torch.zeros(7).double(), 1.0).log_prob(z).sum(1)
    constant = nll - l1_norm(z)
    assert torch.allclose(constant, torch.full((5,), 7 * np.log(2)).double())


@pytest.mark.parametrize("rho", [0.05, 0.3])
def test_target_penalty_is_the_divergence_of_two_coins(rho):
    z = torch.rand(9, 4, dtype=torch.float64)
    coin = Bernoulli(torch.tensor(rho, dtype=torch.float64))
    expected = kl_divergence(coin, Bernoulli(z.mean(0))).sum()
    assert bernoulli_kl(rho, z).item() == pytest.approx(expected.item(), rel=1e-10)
    assert bernoulli_kl(rho, torch.full((3, 4), rho)).item() == pytest.approx(0, abs=1e-6)


def test_target_penalty_stays_finite_for_saturated_units():
    z = torch.tensor([[0.0, 1.0]], requires_grad=True)
    loss = bernoulli_kl(0.05, z)
    loss.backward()
    assert loss.isfinite()
    assert z.grad.isfinite().all()


def test_target_penalty_of_half_precision_units_has_the_same_limit():
    z = torch.ones(9, 4, dtype=torch.bfloat16)  # 1 − 1e-6 is 1 in bfloat16
    limit = torch.full((4,), 1 - 1e-6, dtype=torch.float64)
    coin = Bernoulli(torch.tensor(0.05, dtype=torch.float64))
    expected = kl_divergence(coin, Bernoulli(limit)).sum()
    assert bernoulli_kl(0.05, z).item() == pytest.approx(expected.item(), rel=0.01)


@pytest.mark.parametrize("k", [1, 3, 8])
def test_top_k_keeps_what_numpy_sorts_last_and_lets_only_its_gradient_pass(k):
    z = torch.randn(6, 8, requires_grad=True)
    kept = top_k(z, k)
    values = z.detach().numpy()
    expected = np.zeros_like(values)
    for row, numbers in enumerate(values):
        chosen = np.argsort(numbers)[-k:]
        expected[row, chosen] = numbers[chosen]
    assert np.array_equal(kept.detach().numpy(), expected)
    weights = torch.randn(6, 8)
    (kept * weights).sum().backward()
    assert torch.equal(z.grad, torch.where(torch.from_numpy(expected != 0), weights, 0.0))


@pytest.mark.parametrize("k", [1, 3, 7])
def test_above_top_k_is_what_numpy_sorts_last_less_the_next(k):
    z = torch.randn(6, 8)
    expected = np.zeros((6, 8), np.float32)
    for row, numbers in enumerate(z.numpy()):
        order = np.argsort(numbers)
        expected[row, order[-k:]] = numbers[order[-k:]] - numbers[order[-k - 1]]
    assert np.allclose(above_top_k(z, k).numpy(), expected, atol=1e-6)


@pytest.mark.parametrize("tied", [True, False])
def test_k_sparse_code_has_k_units_and_draws_the_sum_of_their_columns(tied):
    model = KSparseAE(SHAPE, units=40, k=5, alpha=2, tied=tied)
    x = torch.rand(4, *SHAPE)
    z = model.encode(x)
    assert (z != 0).sum(1).tolist() == [5] * 4
    assert (model.features(x) != 0).sum(1).tolist() == [10] * 4
    columns = model.dictionary()  # (D, C, H, W)
    by_hand = (z[:, :, None, None, None] * columns).sum(1) + model.offset.view(SHAPE)
    assert torch.allclose(model.decode(z), by_hand.clamp(0, 1), atol=1e-5)


def test_tied_k_sparse_has_one_matrix_and_its_gradient_is_the_untied_ones_summed():
    x = torch.rand(5, *SHAPE)
    tied = KSparseAE(SHAPE, units=20, k=4)
    untied = KSparseAE(SHAPE, units=20, k=4, tied=False)
    assert sum(p.numel() for p in tied.parameters()) == 36 * 20 + 20 + 36
    with torch.no_grad():
        untied.encoder.load_state_dict(tied.encoder.state_dict())
        untied.decoder.weight.copy_(tied.encoder.weight.T)
    for model in (tied, untied):
        model.loss(x, 4)["loss"].backward()
    summed = untied.encoder.weight.grad + untied.decoder.weight.grad.T
    assert torch.allclose(tied.encoder.weight.grad, summed, rtol=1e-4, atol=1e-5)


def test_k_falls_in_a_line_until_the_middle_of_training():
    model = KSparseAE(SHAPE, units=50, k=10, k_start=30)
    ks = []
    for step in (0, 25, 50, 75, 100):
        model._trainer = SimpleNamespace(global_step=step, estimated_stepping_batches=100)
        ks.append(model.scheduled_k())
    assert ks == [30, 20, 10, 10, 10]


def test_l1_columns_have_length_one_so_that_scaling_buys_nothing():
    model = SparseAE(SHAPE, units=9)
    lengths = model.dictionary().flatten(1).norm(dim=1)
    assert torch.allclose(lengths, torch.ones(9), atol=1e-6)
    x = torch.rand(3, *SHAPE)
    before = model.loss(x)["loss"]
    with torch.no_grad():
        model.decoder.weight.mul_(100)
    assert model.loss(x)["loss"].item() == pytest.approx(before.item(), rel=1e-5)


@pytest.mark.parametrize("penalty", ["l1", "kl"])
def test_sparse_loss_is_error_plus_weighted_penalty(penalty):
    model = SparseAE(SHAPE, units=9, penalty=penalty, weight=0.7, rho=0.1)
    x = torch.rand(4, *SHAPE)
    z = model.encode(x)
    x_hat = model.reconstruct_linearly(z)
    terms = {"l1": z.abs().sum() / 4}
    coins = Bernoulli(torch.tensor(0.1)), Bernoulli(z.mean(0))
    terms["kl"] = kl_divergence(*coins).sum()
    expected = (x_hat - x).square().sum() / 4 + 0.7 * terms[penalty]
    got = model.loss(x)
    assert got["loss"].item() == pytest.approx(expected.item(), rel=1e-4)
    on = z > (0 if penalty == "l1" else 0.1)
    assert got["inactive_share"].item() == pytest.approx(1 - on.float().mean().item(), abs=1e-6)


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: KSparseAE(SHAPE, units=10, k=11), "choose 1 ≤ k ≤ k_start ≤ units"),
        (lambda: KSparseAE(SHAPE, units=10, k=0), "choose 1 ≤ k"),
        (lambda: KSparseAE(SHAPE, units=10, k=5, k_start=4), "k_start = 4"),
        (lambda: KSparseAE(SHAPE, units=10, k=5, alpha=3), "must be ≥ 1 and below units"),
        (lambda: SparseAE(SHAPE, weight=-1), "needs a weight ≥ 0"),
        (lambda: SparseAE(SHAPE, penalty="kl", rho=1.0), r"lies in \(0, 1\)"),
    ],
)
def test_impossible_settings_are_refused(build, message):
    with pytest.raises(ValueError, match=message):
        build()
