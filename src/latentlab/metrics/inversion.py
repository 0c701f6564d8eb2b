"""Latent inversion: the code whose decoded image comes nearest to a given one.

For a model without an encoder (a GAN) it stands in for encode: z* = argmin_z Σ (x − decode(z))²,
by descent on z (Zhu et al. 2016: projection by optimisation) from the best of a set of prior draws,
under a fixed budget, so that the number compares between models that were given the same budget.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from latentlab.contracts import LatentlabError, Split
from latentlab.metrics.features import batches


def invert(
    decode: Callable[[Tensor], Tensor],
    x: Split | Tensor,
    *,
    prior_draws: Tensor,
    steps: int,
    lr: float,
    batch_size: int = 500,
) -> Tensor:
    """Codes (N, D), on the device of `prior_draws`, for images (N, C, H, W) in [0, 1].

    Each image starts at the draw, among `prior_draws` (M, D), whose decoded image has the least
    squared error; then `steps` steps of Adam with rate `lr` (Kingma & Ba 2015, default betas)
    minimise its own summed squared error, and the best code met, the start included, is kept:
    the result is never worse than the nearest draw. Cost: M decodes, and steps + 1 forward and
    steps backward passes per image.

    Images do not influence one another if `decode` treats its rows apart (batch normalisation
    in eval mode). The model's parameters and their `.grad` are not touched; nothing is random.
    Raises LatentlabError for bad draws, budget or shapes, and if a draw decodes to NaN.
    """
    if prior_draws.ndim != 2 or 0 in prior_draws.shape:
        raise LatentlabError(
            f"prior draws have shape {tuple(prior_draws.shape)}: they must be (M, D) with at "
            "least one draw"
        )
    if steps < 0 or not lr > 0:
        raise LatentlabError(f"steps={steps}, lr={lr}: allowed are steps ≥ 0 and lr > 0")
    # Leave an inference mode that the caller may be in: the descent needs gradients.
    with torch.inference_mode(False):
        start = _nearest_draw(decode, x, prior_draws.detach().clone(), batch_size)
        codes, done = [], 0
        for batch in batches(x, size=batch_size):
            z = start[done : done + len(batch)]
            codes.append(_descend(decode, batch.to(z.device), z, steps, lr))
            done += len(batch)
    return torch.cat(codes) if codes else start


def _nearest_draw(
    decode: Callable[[Tensor], Tensor], x: Split | Tensor, draws: Tensor, size: int
) -> Tensor:
    """The draw (N, D) with the nearest decoded image, for every image; holds one block a side."""
    count = len(x)
    best = torch.full((count,), torch.inf, device=draws.device)
    index = torch.zeros(count, dtype=torch.int64, device=draws.device)
    for first in range(0, len(draws), size):
        with torch.no_grad():
            decoded = decode(draws[first : first + size])
        if not decoded.isfinite().all():
            raise LatentlabError(
                "the decoder turns prior draws into values that are not finite: an image must be "
                "in [0, 1]; look for NaN in the model's weights"
            )
        flat, norms, done = decoded.flatten(1), decoded.flatten(1).square().sum(dim=1), 0
        for batch in batches(x, size=size):
            if batch.shape[1:] != decoded.shape[1:]:
                raise LatentlabError(
                    f"images are {tuple(batch.shape[1:])} but the decoder makes "
                    f"{tuple(decoded.shape[1:])}: invert images of the model's own shape"
                )
            # |x|² is left out: it is the same for every draw
            distance, nearest = (norms - 2 * batch.to(flat).flatten(1) @ flat.T).min(dim=1)
            rows = slice(done, done + len(batch))
            index[rows] = torch.where(distance < best[rows], first + nearest, index[rows])
            best[rows] = torch.minimum(distance, best[rows])
            done = rows.stop
    return draws[index]


def _descend(
    decode: Callable[[Tensor], Tensor], x: Tensor, start: Tensor, steps: int, lr: float
) -> Tensor:
    """Adam on the codes (B, D) alone; returns the best code of each image."""
    z = start.clone().requires_grad_()
    optimizer = torch.optim.Adam([z], lr=lr)
    best_z, best_sse = start.clone(), torch.full((len(x),), torch.inf, device=start.device)
    for step in range(steps + 1):
        with torch.set_grad_enabled(step < steps):
            sse = (x - decode(z)).square().flatten(1).sum(dim=1)  # (B,)
        better = sse.detach() < best_sse  # False for NaN
        best_z[better], best_sse[better] = z.detach()[better], sse.detach()[better]
        if step < steps:
            # autograd.grad, not backward: only z gets a gradient, never the model's parameters
            (z.grad,) = torch.autograd.grad(sse.sum(), z)
            optimizer.step()
    return best_z
