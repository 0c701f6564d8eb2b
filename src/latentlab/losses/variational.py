"""Codes sampled from a Gaussian posterior, bounds of log p(x), divergences, and information.

`elbo_terms` and `iwae_bound` are bounds of log p(x). `kl_standard_normal` compares the posterior of
one image with N(0, I), `mmd` compares two sets of codes. `categorical_information` and
`uniform_information` are lower bounds of the mutual information of an image and its code.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor


def reparameterize(mu: Tensor, logvar: Tensor) -> Tensor:
    """z = mu + exp(logvar/2) · eps, eps ~ N(0, I), (B, D). Kingma & Welling 2014, section 2.4."""
    return mu + torch.exp(0.5 * logvar) * torch.randn_like(mu)


def sample_weighted(mu: Tensor, logvar: Tensor, num_samples: int) -> tuple[Tensor, Tensor]:
    """S codes z ~ q(z|x) for each image, (S, B, D), and log p(z) − log q(z|x), nats, (S, B).

    The prior p is N(0, I). The constants of both densities cancel: ½ Σ_D (eps² + logvar − z²).
    """
    eps = torch.randn(num_samples, *mu.shape, dtype=mu.dtype, device=mu.device)
    z = mu + torch.exp(0.5 * logvar) * eps
    return z, 0.5 * (eps.square() + logvar - z.square()).sum(-1)


def elbo_terms(nll: Tensor, kl: Tensor, beta: float = 1.0) -> dict[str, Tensor]:
    """Means of −log p(x|z) and KL, both (B,) in nats, the ELBO, and the loss nll + beta · kl."""
    nll_nats, kl_nats = nll.mean(), kl.mean()
    return {
        "loss": nll_nats + beta * kl_nats,
        "elbo_nats": -(nll_nats + kl_nats),
        "nll_nats": nll_nats,
        "kl_nats": kl_nats,
    }


def iwae_bound(log_weights: Tensor) -> Tensor:
    """log 1/K Σ_k w_k of log w (K, B), nats, (B,). Burda et al. 2016, eq. 8; the ELBO at K = 1."""
    return log_weights.logsumexp(0) - math.log(len(log_weights))


def kl_standard_normal(mu: Tensor, logvar: Tensor) -> Tensor:
    """KL(N(mu, diag exp(logvar)) ‖ N(0, I)), nats, (B,). Kingma & Welling 2014, appendix B."""
    return unit_kl_standard_normal(mu, logvar).sum(1)


def unit_kl_standard_normal(mu: Tensor, logvar: Tensor) -> Tensor:
    """KL(N(mu, exp(logvar)) ‖ N(0, 1)) of each unit of the code, nats, elementwise."""
    return -0.5 * (1 + logvar - mu.square() - logvar.exp())


def mmd(x: Tensor, y: Tensor, *, variance: float = 1.0) -> Tensor:
    """Maximum mean discrepancy of the distributions of x (N, D) and y (M, D), a scalar.

        1/(N(N−1)) Σ_{i≠j} k(x_i, x_j) + 1/(M(M−1)) Σ_{i≠j} k(y_i, y_j) − 2/(NM) Σ_{i,j} k(x_i, y_j)
        k(a, b) = C / (C + ‖a − b‖²),   C = 2 · D · variance

    The unbiased U-statistic of MMD², so it can be negative (Gretton et al. 2012, "A kernel
    two-sample test", eq. 3). k is the inverse multiquadratics kernel of Tolstikhin et al. 2018,
    section 4. Its C is the mean of ‖a − b‖² for two samples of N(0, `variance` · I).
    A set of one code has no pairs: its sum over i ≠ j counts as 0.
    """
    c = 2.0 * x.shape[1] * variance
    return _mean_of_pairs(x, c) + _mean_of_pairs(y, c) - 2 * _imq(x, y, c).mean()


def _mean_of_pairs(x: Tensor, c: float) -> Tensor:
    """Mean of k(x_i, x_j) over all i ≠ j."""
    count = len(x)
    return (_imq(x, x, c).sum() - count) / max(1, count * (count - 1))  # k(x_i, x_i) = 1


def _imq(x: Tensor, y: Tensor, c: float) -> Tensor:
    """c / (c + ‖x_i − y_j‖²), (N, M)."""
    distance = torch.cdist(x, y, compute_mode="donot_use_mm_for_euclid_dist")
    return c / (c + distance.square())


def categorical_information(logits: Tensor, y: Tensor) -> Tensor:
    """log K + E log Q(y|x), nats, for y (B,) uniform over K classes, logits (B, K).

    A lower bound of the mutual information of x and y. At most log K.
    """
    return math.log(logits.shape[1]) - F.cross_entropy(logits, y)


def uniform_information(mu: Tensor, logvar: Tensor, c: Tensor) -> Tensor:
    """J log 2 + E Σ_j log N(c_j; mu_j, exp(logvar_j)), nats, for c (B, J) uniform on [−1, 1]^J.

    A lower bound of the mutual information of x and c. It has no upper limit: a continuous code
    can contain more nats than its own entropy.
    """
    log_q = -0.5 * ((c - mu).square() * (-logvar).exp() + logvar + math.log(2 * math.pi))  # (B, J)
    return c.shape[1] * math.log(2) + log_q.sum(1).mean()
