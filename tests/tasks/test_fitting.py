"""The small trainings of tasks, against scikit-learn and closed forms."""

import pytest
import torch
from sklearn.decomposition import PCA
from sklearn.svm import LinearSVC
from torch import nn

from latentlab.contracts import LatentlabError, Split, to_float
from latentlab.tasks.fitting import (
    fit,
    fit_bottleneck,
    linear_svm,
    of_class,
    pca_errors,
)


def test_the_linear_svm_is_that_of_liblinear():
    generator = torch.Generator().manual_seed(0)
    labels = torch.randint(3, (200,), generator=generator)
    x = torch.randn(200, 5, generator=generator) + 1.5 * labels[:, None] * torch.eye(5)[0]
    scores = linear_svm(x, labels, 3, c=0.1)(x)
    reference = LinearSVC(C=0.1, tol=1e-9, max_iter=100_000).fit(x.numpy(), labels.numpy())
    expected = torch.from_numpy(reference.decision_function(x.numpy()))
    torch.testing.assert_close(scores, expected, atol=1e-3, rtol=0)


def test_least_squares_is_found_and_what_is_frozen_stays():
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(100, 3, generator=generator)
    y = x @ torch.tensor([1.0, -2.0, 0.5]) + 0.7
    net = nn.Linear(3, 1)
    fit(net, lambda a, b: (net(a)[:, 0] - b).square().mean(), (x, y), steps=300, lr=5e-2)
    torch.testing.assert_close(net.weight[0], torch.tensor([1.0, -2.0, 0.5]), atol=1e-3, rtol=0)
    net.weight.requires_grad_(False)
    before = net.weight.clone()
    fit(net, lambda a, b: (net(a)[:, 0] - 2 * b).square().mean(), (x, y), steps=5)
    assert torch.equal(net.weight, before)


def test_a_bottleneck_follows_its_seed_alone():
    x = torch.rand(50, 9, generator=torch.Generator().manual_seed(0))
    torch.manual_seed(5)
    state = torch.get_rng_state()
    nets = [
        fit_bottleneck(x, [8, 2], steps=steps, lr=1e-2, seed=seed, corruption=0.2)
        for steps, seed in ((0, 1), (60, 1), (60, 1), (60, 2))
    ]
    assert torch.equal(torch.get_rng_state(), state), "the caller's randomness is untouched"
    drawn, a, b, other = (net.errors(x) for net in nets)
    assert torch.equal(a, b)
    assert not torch.equal(a, other)
    assert float(a.mean()) < float(drawn.mean())
    x_hat = nets[1](x)
    torch.testing.assert_close(a, (x_hat - x).square().sum(1).detach())


def test_residuals_of_pca_are_those_of_scikit_learn(context):
    part = of_class(context.yard.train, 3)
    assert set(part.labels.tolist()) == {3}
    x = to_float(context.yard.test.images).flatten(1)
    reference = PCA(7).fit(to_float(part.images).flatten(1).double().numpy())
    x_hat = reference.inverse_transform(reference.transform(x.double().numpy()))
    expected = ((x_hat - x.double().numpy()) ** 2).sum(1)
    torch.testing.assert_close(
        pca_errors(part, 7, x).double(), torch.from_numpy(expected), atol=1e-3, rtol=0
    )
    with pytest.raises(LatentlabError, match="class 11 has 0 training images"):
        of_class(context.yard.train, 11)


@pytest.mark.parametrize("count", [10, 37, 100])
def test_labelled_draws_are_balanced_and_without_repetition(count):
    labels = torch.arange(10).repeat_interleave(torch.arange(10, 110, 10))
    rows = torch.arange(len(labels))
    split = Split(rows.view(-1, 1, 1, 1), labels)
    draws = [split.balanced(count, seed=seed) for seed in (0, 0, 1)]
    sizes = torch.bincount(draws[0].labels, minlength=10)
    assert len(draws[0]) == count == len(draws[0].images.unique())
    assert int(sizes.max() - sizes.min()) <= 1
    assert torch.equal(labels[draws[0].images.flatten()], draws[0].labels)
    assert torch.equal(draws[0].images, draws[1].images)
    assert not torch.equal(draws[0].images, draws[2].images)


def test_a_class_that_runs_out_gives_its_place_to_others():
    split = Split(torch.zeros(30, 1, 1, 1), torch.tensor([0] * 2 + [1] * 28))
    assert torch.bincount(split.balanced(20, seed=0).labels).tolist() == [2, 18]
