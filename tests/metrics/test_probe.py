"""The probe, compared with scikit-learn's logistic regression of the same objective."""

import numpy as np
import pytest
import torch
from scipy.special import log_softmax
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from latentlab.metrics import probe as module
from latentlab.metrics.probe import Probe, probe_accuracy
from latentlab.utils.errors import LatentlabError


def _classes(count, num_features, num_classes, seed):
    """Overlapping Gaussian classes, with features of very different scale and offset."""
    generator = torch.Generator().manual_seed(seed)
    centres = torch.randn(num_classes, num_features, generator=torch.Generator().manual_seed(99))
    labels = torch.arange(count) % num_classes
    x = centres[labels] + 1.5 * torch.randn(count, num_features, generator=generator)
    return x * torch.logspace(-2, 2, num_features) + 5, labels


def _objective(z, labels, weight, bias, l2):
    log_p = log_softmax(z @ weight + bias, axis=1)
    return -log_p[np.arange(len(z)), labels].mean() + l2 / 2 * np.square(weight).sum()


@pytest.mark.parametrize(("num_classes", "l2"), [(2, 1e-2), (4, 1e-3), (4, 1.0)])
def test_the_probe_equals_scikit_learns_logistic_regression(num_classes, l2):
    x, labels = _classes(300, 6, num_classes, 0)
    probe = Probe.fit(x, labels, num_classes, l2=l2, tolerance=1e-9)
    scaler = StandardScaler().fit(x.double().numpy())
    z = scaler.transform(x.double().numpy())
    # scikit-learn has one weight vector w for two classes. The pair ±w/2 has half of the squared
    # norm, hence half of the penalty.
    c = 1 / (l2 * len(x)) * (2 if num_classes == 2 else 1)
    reference = LogisticRegression(C=c, tol=1e-10, max_iter=10_000).fit(z, labels.numpy())
    weight, bias = reference.coef_.T, reference.intercept_
    if num_classes == 2:
        weight, bias = np.hstack([-weight, weight]) / 2, np.hstack([-bias, bias]) / 2
    np.testing.assert_allclose(probe.weight, weight, atol=1e-5)
    np.testing.assert_allclose(probe.bias, bias, atol=1e-5)
    assert np.array_equal(probe.predict(x), reference.predict(z))
    ours = _objective(z, labels.numpy(), probe.weight.numpy(), probe.bias.numpy(), l2)
    assert ours == pytest.approx(_objective(z, labels.numpy(), weight, bias, l2), rel=1e-9)


def test_the_fit_stops_where_the_gradient_is_zero():
    x, labels = _classes(200, 5, 3, 1)
    probe = Probe.fit(x, labels, 3)
    z = ((x.double() - probe.mean) / probe.scale).numpy()
    parameters = np.concatenate([probe.weight.numpy().ravel(), probe.bias.numpy()])

    def value(p):
        return _objective(z, labels.numpy(), p[:15].reshape(5, 3), p[15:], 1e-3)

    steps = 1e-5 * np.eye(18)
    slopes = [(value(parameters + h) - value(parameters - h)) / 2e-5 for h in steps]
    assert np.abs(slopes).max() == pytest.approx(probe.largest_gradient, abs=1e-9)
    assert probe.largest_gradient <= 1e-5


@pytest.mark.parametrize("constant", [0.0, 0.1, -0.1, 1e6])
def test_a_constant_feature_has_no_effect(constant):
    x, labels = _classes(200, 5, 3, 2)
    padded = torch.cat([x, torch.full((200, 1), constant)], dim=1)
    with_it, without = (Probe.fit(z, labels, 3, tolerance=1e-11) for z in (padded, x))
    torch.testing.assert_close(with_it.weight[:5], without.weight, rtol=1e-6, atol=1e-6)
    assert with_it.weight[5].abs().max() < 1e-6
    assert torch.equal(with_it.predict(padded), without.predict(x))


@pytest.mark.parametrize("sign", [1, -1])
def test_a_deviation_below_the_rounding_of_float32_is_none(sign):
    """Near 1e6 float32 has steps of 1/16. A small feature with as small a mean has a deviation."""
    x, labels = _classes(200, 2, 2, 2)
    x[:, 0] = sign * (1e6 + labels / 16)
    x[:, 1] = sign * (1e-6 + 1e-7 * labels)
    scale = Probe.fit(x, labels, 2).scale
    assert scale.tolist() == [1.0, pytest.approx(5e-8, rel=1e-3)]


def test_a_class_without_examples_is_never_predicted():
    x, labels = _classes(100, 5, 2, 3)
    assert int(Probe.fit(x, labels, 4).predict(x).max()) == 1


def test_accuracy_is_the_fraction_of_correct_predictions():
    x, labels = _classes(300, 6, 3, 4)
    x_test, labels_test = _classes(90, 6, 3, 5)
    scaler = StandardScaler().fit(x.double().numpy())
    reference = LogisticRegression(C=1 / (0.01 * 300), tol=1e-8, max_iter=1000)
    reference.fit(scaler.transform(x.double().numpy()), labels.numpy())
    expected = reference.score(scaler.transform(x_test.double().numpy()), labels_test.numpy())
    found = probe_accuracy(x, labels, x_test, labels_test, l2=0.01)
    assert found == pytest.approx(expected, abs=1e-12)
    assert 0.4 < expected < 1  # neither chance nor perfect
    wrong = probe_accuracy(x, labels, x_test, torch.full_like(labels_test, 7), l2=0.01)
    assert wrong == 0


def test_the_grad_mode_does_not_matter_and_features_do_not_change():
    x, labels = _classes(60, 4, 3, 6)
    before, expected = x.clone(), Probe.fit(x, labels, 3).weight
    with torch.inference_mode():
        assert torch.equal(Probe.fit(x.clone(), labels, 3).weight, expected)
    assert torch.equal(Probe.fit(x.requires_grad_(), labels, 3).weight, expected)
    assert torch.equal(x.detach(), before)


def test_errors():
    x, labels = _classes(30, 4, 3, 7)
    with pytest.raises(LatentlabError, match="not finite in 30 of 30"):
        Probe.fit(x * torch.nan, labels, 3)
    with pytest.raises(LatentlabError, match=r"shape \(29,\) for 30 features"):
        Probe.fit(x, labels[:29], 3)
    with pytest.raises(LatentlabError, match="One integer per feature vector is needed"):
        Probe.fit(x, labels.float(), 3)
    with pytest.raises(LatentlabError, match="Labels are in 0…2 for 2 classes"):
        Probe.fit(x, labels, 2)
    with pytest.raises(LatentlabError, match="Labels are in -1…1 for 3 classes"):
        Probe.fit(x, labels - 1, 3)
    with pytest.raises(LatentlabError, match="l2 is 0"):
        Probe.fit(x, labels, 3, l2=0)
    with pytest.raises(LatentlabError, match="fitted to 4 features and got 3"):
        Probe.fit(x, labels, 3).predict(x[:, :3])
    with pytest.raises(LatentlabError, match="Do not use the probe for data without labels"):
        probe_accuracy(x, labels[:0], x, labels)


def _correlated(seed=0):
    """400 features in a chain, as neighbouring pixels, for two overlapping classes."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(600) % 2
    x = torch.randn(600, 200, generator=generator).cumsum(1) + labels[:, None] * 2.0
    return torch.cat([x, x + 0.01 * torch.randn(600, 200, generator=generator)], 1), labels


def _evaluations(monkeypatch, x, labels):
    calls, log_softmax_of_torch = [], torch.log_softmax

    def counted(*args, **options):
        calls.append(1)
        return log_softmax_of_torch(*args, **options)

    with monkeypatch.context() as patch:
        patch.setattr(torch, "log_softmax", counted)
        probe = Probe.fit(x, labels, 2)
    return len(calls), probe


def test_preconditioning_saves_evaluations_and_keeps_the_minimum(monkeypatch):
    x, labels = _correlated()
    with_factor, probe = _evaluations(monkeypatch, x, labels)
    monkeypatch.setattr(module, "MAX_HESSIAN_FEATURES", 10)
    without, plain = _evaluations(monkeypatch, x, labels)
    assert with_factor < without / 2
    assert max(probe.largest_gradient, plain.largest_gradient) <= 1e-5
    torch.testing.assert_close(probe.logits(x), plain.logits(x), atol=0.05, rtol=0.05)


def test_equal_features_and_a_tiny_penalty_have_a_factor():
    x, _ = _correlated()
    factor = module._hessian_factor(torch.cat([x, x], 1).double().T, 2, 1e-12)
    assert factor is not None
    assert factor.isfinite().all()
