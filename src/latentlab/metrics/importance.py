"""The likelihood of a model with hidden codes, by importance sampling.

    log p(x) ≥ E[log 1/S Σ_s p(x, z_s) / q(z_s|x)],   z_s ~ q(z|x),   exact as S → ∞

Burda et al. 2016, "Importance weighted autoencoders", eq. 8 and section 5.1.
"""

from __future__ import annotations

import math
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor

LARGEST = 2**21  # numbers decoded at once: 8 MiB a tensor


class Observer(Protocol):
    """`kind` names the likelihood, `binary` says that it is of a draw of the image.

    `outputs`: how many numbers of the decoder it takes per value of the image.
    """

    kind: str
    binary: bool
    outputs: int


@runtime_checkable
class ImportanceWeighted(Protocol):
    """A model with a likelihood: `log_weights` gives log p(x, z) − log q(z|x), nats, (S, B)."""

    pixels: Observer

    def log_weights(self, x: Tensor, y: Tensor, samples: int) -> Tensor: ...


@torch.inference_mode()
def log_likelihood(
    model: ImportanceWeighted, x: Tensor, y: Tensor, *, samples: int, seed: int
) -> tuple[Tensor, Tensor]:
    """log p(x) of observed images (N, C, H, W) with `samples` codes each, and the ELBO, nats, (N,).

    Memory does not grow with N or `samples`; the draws come from `seed`.
    """
    cost = x[0].numel() * model.pixels.outputs
    at_once = max(1, min(samples, LARGEST // cost))
    images = max(1, LARGEST // (cost * at_once))
    found = []
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        for part, labels in zip(x.split(images), y.split(images), strict=True):
            sizes = [min(at_once, samples - done) for done in range(0, samples, at_once)]
            log_w = torch.cat([model.log_weights(part, labels, size).double() for size in sizes])
            found.append(torch.stack([log_w.logsumexp(0) - math.log(samples), log_w.mean(0)]))
    bound, elbo = torch.cat(found, 1)
    return bound, elbo


def binarized(x: Tensor, seed: int) -> Tensor:
    """Each pixel drawn once as Bernoulli(x): the test images of dynamic binarization."""
    return torch.bernoulli(x, generator=torch.Generator().manual_seed(seed))
