"""Linear probe: multinomial logistic regression on standardised frozen features.

With z = (x − mean) / scale, the objective, minimised by full-batch L-BFGS, is

    J(W, b) = −1/N Σ_n log softmax(Wᵀ z_n + b)[y_n] + l2/2 ‖W‖²,

the bias b unpenalised. scikit-learn's LogisticRegression on z has the same minimiser with
C = 1 / (l2 · N). Most steps are made in float32, the last in float64: the same minimum, sooner.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from latentlab.contracts import LatentlabError
from latentlab.metrics.features import check_features

DEFAULT_L2 = 1e-3


@dataclass(frozen=True)
class Probe:
    """A fitted probe, all float64: `weight` (F, K), `bias` (K,), `mean` (F,), `scale` (F,).

    `largest_gradient` is max |∂J| where the fit stopped: how well the minimum was reached.
    """

    weight: Tensor
    bias: Tensor
    mean: Tensor
    scale: Tensor
    largest_gradient: float

    @classmethod
    def fit(
        cls,
        features: Tensor,
        labels: Tensor,
        num_classes: int,
        *,
        l2: float = DEFAULT_L2,
        tolerance: float = 1e-5,
        max_iterations: int = 1000,
    ) -> Probe:
        """Fit features (N, F) to int labels (N,) in 0…num_classes − 1, starting from zero.

        Stops when max |∂J| ≤ `tolerance`, or after `max_iterations`. A constant feature gets
        scale 1 and so weight 0. Raises LatentlabError for features that are not finite (N, F),
        labels that do not fit them, or l2 ≤ 0 (separable classes would have no minimum).
        """
        features = check_features(features, name="the probe's training features")
        labels = _check_labels(labels, len(features), num_classes)
        if not l2 > 0:
            raise LatentlabError(f"l2 is {l2}: it must be positive; the usual choice is 1e-3")
        x = features.to(torch.float64)
        mean, scale = x.mean(dim=0), x.std(dim=0, correction=0)
        # float32 features cannot vary by less than this: what is left of a constant is rounding
        scale[scale <= torch.finfo(torch.float32).eps * mean.abs()] = 1.0
        # Features in columns: the softmax over K then runs along contiguous memory, 10× faster.
        ones = torch.ones(1, len(x), dtype=x.dtype, device=x.device)
        z = torch.cat([((x - mean) / scale).T, ones])  # (F + 1, N)
        theta = torch.zeros(num_classes, len(z), dtype=z.dtype, device=z.device)
        # float32 cannot tell gradients much smaller than this from its rounding
        for part, reach in ((z.float(), max(tolerance, 1e-5)), (z, tolerance)):
            start = theta.to(part.dtype)
            theta, largest = _minimise(part, labels, start, l2, reach, max_iterations)
        return cls(theta[:, :-1].T.contiguous(), theta[:, -1].clone(), mean, scale, largest)

    def logits(self, features: Tensor) -> Tensor:
        """Features (N, F) → float64 (N, K). Raises LatentlabError for another F or NaN."""
        features = check_features(features, name="the probe's features")
        if features.shape[1] != len(self.mean):
            raise LatentlabError(
                f"the probe was fitted to {len(self.mean)} features and got {features.shape[1]}: "
                "extract both sides with the same network"
            )
        return ((features.to(self.mean) - self.mean) / self.scale) @ self.weight + self.bias

    def predict(self, features: Tensor) -> Tensor:
        """Features (N, F) → most probable class, int64 (N,)."""
        return self.logits(features).argmax(dim=1)


def probe_accuracy(
    train_features: Tensor,
    train_labels: Tensor,
    test_features: Tensor,
    test_labels: Tensor,
    *,
    l2: float = DEFAULT_L2,
) -> dict[str, float]:
    """Fit on the training features (N, F), score on the test features: share in [0, 1].

    Classes are 0…max(train_labels); a test label beyond them counts as a mistake. Raises
    LatentlabError as `Probe.fit` and `Probe.logits` do.
    """
    if train_labels.numel() == 0 or test_labels.shape != (len(test_features),):
        raise LatentlabError(
            f"{train_labels.numel()} training labels, test labels of shape "
            f"{tuple(test_labels.shape)} for {len(test_features)} test features: each image needs "
            "one label; leave the probe out for data without labels"
        )
    probe = Probe.fit(train_features, train_labels, int(train_labels.max()) + 1, l2=l2)
    predicted = probe.predict(test_features)
    return {"probe_accuracy": float((predicted == test_labels.to(predicted)).double().mean())}


def _minimise(
    z: Tensor, labels: Tensor, theta: Tensor, l2: float, tolerance: float, max_iterations: int
) -> tuple[Tensor, float]:
    """theta (K, F + 1) = (Wᵀ, b) at the minimum of J for z (F + 1, N), and max |∂J| there."""
    count = z.shape[1]
    column = torch.arange(count, device=z.device)
    penalised = torch.ones_like(theta)
    penalised[:, -1] = 0
    optimizer = torch.optim.LBFGS(
        [theta],
        max_iter=max_iterations,
        tolerance_grad=tolerance,
        tolerance_change=0.0,  # only the gradient decides
        line_search_fn="strong_wolfe",
    )

    def objective() -> Tensor:
        # The gradient by hand: two products, no graph, and free of the caller's grad mode.
        with torch.no_grad():
            log_p = torch.log_softmax(theta @ z, dim=0)  # (K, N)
            weight = theta * penalised
            loss = l2 / 2 * weight.square().sum() - log_p[labels, column].mean()
            residual = log_p.exp_()
            residual[labels, column] -= 1
            theta.grad = (residual @ z.T) / count + l2 * weight
        return loss

    optimizer.step(objective)
    objective()
    assert theta.grad is not None
    return theta, float(theta.grad.abs().max())


def _check_labels(labels: Tensor, count: int, num_classes: int) -> Tensor:
    if labels.shape != (count,) or labels.is_floating_point():
        raise LatentlabError(
            f"labels are {labels.dtype} of shape {tuple(labels.shape)} for {count} features: one "
            "integer per feature vector is needed"
        )
    if num_classes < 2 or int(labels.min()) < 0 or int(labels.max()) >= num_classes:
        raise LatentlabError(
            f"labels span {int(labels.min())}…{int(labels.max())} for {num_classes} classes: they "
            "must lie in 0…classes − 1 with at least 2 classes; renumber them"
        )
    return labels.to(torch.int64)
