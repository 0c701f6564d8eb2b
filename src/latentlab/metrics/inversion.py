"""Latent inversion: the code whose decoded image is nearest to a given image.

For a model without an encoder (a GAN), inversion replaces `encode`:

    z* = argmin_z Σ (x − decode(z))²

It is gradient descent on z (Zhu et al. 2016, "Generative visual manipulation on the natural image
manifold", section 3.1: projection by optimization), started from the best of a set of prior
samples. The budget is fixed, so the result can be compared between models with the same budget.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from latentlab.contracts import Split
from latentlab.metrics.fid.features import batches
from latentlab.utils.errors import LatentlabError


def invert(
    decode: Callable[[Tensor], Tensor],
    x: Split | Tensor,
    *,
    prior_samples: Tensor,
    steps: int,
    lr: float,
    batch_size: int = 500,
) -> Tensor:
    """Return codes (N, D) of images (N, C, H, W) in [0, 1], on the device of `prior_samples`.

    Each image starts at the code, among `prior_samples` (M, D), whose decoded image has the
    smallest squared error. Then `steps` steps of Adam with rate `lr` (Kingma & Ba 2015, default
    betas) minimize the summed squared error of this image. The best code of all steps is kept, the
    start included. So the result is never worse than the nearest prior sample. Cost: M decodes,
    and for each image `steps` + 1 forward and `steps` backward passes.

    Images are independent of each other if `decode` treats its rows independently (batch
    normalization in eval mode). The model's parameters and their `.grad` do not change. Nothing is
    random.

    Raises:
        LatentlabError: prior samples, budget or image shape are not valid, or a prior sample
            decodes to values that are not finite.
    """
    if prior_samples.ndim != 2 or 0 in prior_samples.shape:
        raise LatentlabError(
            f"Prior samples have shape {tuple(prior_samples.shape)}. They must be (M, D) with at "
            "least one sample. Sample more codes."
        )
    if steps < 0 or not lr > 0:
        raise LatentlabError(
            f"Inversion got steps={steps}, lr={lr}. Allowed are steps ≥ 0 and lr > 0. Change "
            "evaluation.inversion_steps or evaluation.inversion_lr."
        )
    # Leave an inference mode of the caller: the descent needs gradients.
    with torch.inference_mode(False):
        start = _nearest_sample(decode, x, prior_samples.detach().clone(), batch_size)
        codes, done = [], 0
        for batch in batches(x, size=batch_size):
            z = start[done : done + len(batch)]
            codes.append(_descend(decode, batch.to(z.device), z, steps, lr))
            done += len(batch)
    return torch.cat(codes) if codes else start


def _nearest_sample(
    decode: Callable[[Tensor], Tensor], x: Split | Tensor, samples: Tensor, size: int
) -> Tensor:
    """For every image, the sample with the nearest decoded image, (N, D).

    Memory holds one block of images and one block of decoded samples.
    """
    count = len(x)
    best = torch.full((count,), torch.inf, device=samples.device)
    index = torch.zeros(count, dtype=torch.int64, device=samples.device)
    for first in range(0, len(samples), size):
        with torch.no_grad():
            decoded = decode(samples[first : first + size])
        if not decoded.isfinite().all():
            raise LatentlabError(
                "The decoder maps prior samples to values that are not finite. Images must be in "
                "[0, 1]. Look for NaN in the weights of the model."
            )
        flat, norms, done = decoded.flatten(1), decoded.flatten(1).square().sum(dim=1), 0
        for batch in batches(x, size=size):
            if batch.shape[1:] != decoded.shape[1:]:
                raise LatentlabError(
                    f"Images are {tuple(batch.shape[1:])} but the decoder returns "
                    f"{tuple(decoded.shape[1:])}. Both shapes must be equal. Use images of the "
                    "model's shape."
                )
            # ‖x‖² is left out: it is the same for every sample
            distance, nearest = (norms - 2 * batch.to(flat).flatten(1) @ flat.T).min(dim=1)
            rows = slice(done, done + len(batch))
            index[rows] = torch.where(distance < best[rows], first + nearest, index[rows])
            best[rows] = torch.minimum(distance, best[rows])
            done = rows.stop
    return samples[index]


def _descend(
    decode: Callable[[Tensor], Tensor], x: Tensor, start: Tensor, steps: int, lr: float
) -> Tensor:
    """Minimize the squared error by Adam, from codes (B, D). Return the best code of each image."""
    z = start.clone().requires_grad_()
    optimizer = torch.optim.Adam([z], lr=lr)
    best_z, best_sse = start.clone(), torch.full((len(x),), torch.inf, device=start.device)
    for step in range(steps + 1):
        with torch.set_grad_enabled(step < steps):
            sse = (x - decode(z)).square().flatten(1).sum(dim=1)  # (B,)
        better = sse.detach() < best_sse  # False for NaN
        best_z[better], best_sse[better] = z.detach()[better], sse.detach()[better]
        if step < steps:
            # autograd.grad instead of backward: only z gets a gradient, not the parameters
            (z.grad,) = torch.autograd.grad(sse.sum(), z)
            optimizer.step()
    return best_z
