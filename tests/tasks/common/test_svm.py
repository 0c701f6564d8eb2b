"""The linear SVM against scikit-learn's LIBLINEAR."""

import torch
from sklearn.svm import LinearSVC

from latentlab.tasks.common.svm import fit_linear_svm, standardize


def test_scores_are_those_of_liblinear():
    generator = torch.Generator().manual_seed(0)
    labels = torch.randint(3, (200,), generator=generator)
    x = torch.randn(200, 5, generator=generator) + 1.5 * labels[:, None] * torch.eye(5)[0]
    scores = fit_linear_svm(x, labels, 3, c=0.1)(x)
    reference = LinearSVC(C=0.1, tol=1e-9, max_iter=100_000).fit(x.numpy(), labels.numpy())
    expected = torch.from_numpy(reference.decision_function(x.numpy()))
    torch.testing.assert_close(scores, expected, atol=1e-3, rtol=0)


def test_inputs_are_standardized_by_the_training_set():
    train = torch.tensor([[1.0, 5.0], [3.0, 5.0]])
    z, z_test = standardize(train, torch.tensor([[2.0, 7.0]]))
    torch.testing.assert_close(z.mean(0), torch.zeros(2))
    torch.testing.assert_close(z[:, 0].std(), torch.tensor(1.0))
    torch.testing.assert_close(z_test, torch.tensor([[0.0, 2.0]]))
