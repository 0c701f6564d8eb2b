"""Linear support vector machine, one class against the rest, with the squared hinge loss.

    min ½ Σ_k ‖w_k‖² + C Σ_n Σ_k max(0, 1 − t_nk w_kᵀ z_n)²      t_nk = 1 if y_n = k, else −1

Fan et al. 2008, "LIBLINEAR: a library for large linear classification".
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor


def standardize(train: Tensor, test: Tensor) -> tuple[Tensor, Tensor]:
    """Subtract the mean of `train` from both (N, F), and divide by its standard deviation.

    A column with a standard deviation of 0 is divided by 1.
    """
    scale, mean = torch.std_mean(train, 0)
    scale = torch.where(scale > 0, scale, 1)
    return (train - mean) / scale, (test - mean) / scale


def fit_linear_svm(
    z: Tensor, labels: Tensor, num_classes: int, *, c: float, max_iterations: int = 100
) -> Callable[[Tensor], Tensor]:
    """Fit to inputs z (N, F). Return the function from inputs (N, F) to scores (N, K).

    A constant 1 is appended to z as in LIBLINEAR: its weight is the bias, with a penalty. L-BFGS in
    float64 stops when no gradient exceeds 1e-5 c N, or after `max_iterations`.
    """
    z = torch.cat([z, z.new_ones(len(z), 1)], 1).double()
    target = 2.0 * F.one_hot(labels, num_classes).double() - 1  # (N, K)
    weight = torch.zeros(z.shape[1], num_classes, dtype=torch.float64)
    optimizer = torch.optim.LBFGS(
        [weight],
        max_iter=max_iterations,
        tolerance_grad=1e-5,
        tolerance_change=0.0,
        line_search_fn="strong_wolfe",
    )

    def objective() -> Tensor:
        slack = (1 - target * (z @ weight)).clamp_min(0)
        scale = 1 / (c * len(z))  # the objective is divided by c N: its gradients are of order 1
        weight.grad = scale * weight - 2 / len(z) * (z.T @ (target * slack))
        return scale / 2 * weight.square().sum() + slack.square().sum() / len(z)

    with torch.no_grad():
        optimizer.step(objective)
    return lambda inputs: inputs.double() @ weight[:-1] + weight[-1]
