"""A discriminator that also classifies: K classes of real images, and one of fakes.

With logits l (B, K) and the fakes' logit fixed to 0 (only differences count),

    p(k | x) = exp l_k / (1 + Σ_j exp l_j),     D(x) = Σ_k p(k | x) = σ(log Σ_j exp l_j)

Salimans et al. 2016, "Improved techniques for training GANs", section 5.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor


def real_logit(logits: Tensor) -> Tensor:
    """Class logits (B, K) → the logit of being real, log Σ exp l, (B,)."""
    return logits.logsumexp(1)


def feature_matching(real: Tensor, fake: Tensor) -> Tensor:
    """‖E f(x) − E f(G(z))‖² of features (B, F), each mean over its batch (section 3.1); scalar."""
    return (real.mean(0) - fake.mean(0)).square().sum()


def disagreement(logits: Tensor, warped_logits: Tensor) -> Tensor:
    """H(q, p(· | x′)), nats, mean over the batch: of class logits (B, K) of x and of its warp x′.

    q ∝ p(· | x)² is surer than p, so that warps are pulled to a class and not to doubt (Berthelot
    et al. 2019, "MixMatch", eq. 7, at temperature 1/2). No gradient reaches `logits`: the answer to
    x′ is what has to move.
    """
    return F.cross_entropy(warped_logits, (2 * logits.detach()).softmax(1))
