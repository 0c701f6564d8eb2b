"""Latent inversion: the code whose decoded image is nearest to a given image.

For a model without an encoder (a GAN), inversion replaces `encode`:

    z* = argmin_{z in S} Σ (x − decode(z))²

S holds the codes that the sampler of the model can give: a one-hot part stays one-hot, a uniform
part stays in its cube, a Gaussian part stays below the norm that holds 99 % of its samples. Other
codes were never decoded in training. A search among them finds a smaller error, which says nothing
about the images that the model samples.

Each search starts at the best of a set of prior samples. Then it is projected gradient descent
(Zhu et al. 2016, "Generative visual manipulation on the natural image manifold", section 3.1):
after each step of Adam, the code is projected into S. A one-hot part is no variable of the descent.
The descent starts in several categories instead, and successive halving (Jamieson & Talwalkar 2016,
"Non-stochastic best arm identification and hyperparameter optimization", algorithm 1) divides the
steps among the starts of an image: after each round the better half continues.

The budget is fixed and equal for all models: see `num_decodings`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from latentlab.contracts import Split, StructuredSampler
from latentlab.metrics.fid.features import batches
from latentlab.utils.errors import LatentlabError

Function = Callable[[Tensor], Tensor]
MAX_STARTS = 3  # categories in which a search starts; docs/results.md compares 1, 3 and all
BETAS, EPSILON = (0.9, 0.999), 1e-8  # of Adam
TOLERANCE = 1e-4  # rounding of a projection
STEP_LENGTH, TINY = 1e-3, 1e-30  # length of the step of the gradient mapping; no division by 0


def invert(
    decode: Function,
    x: Split | Tensor,
    *,
    prior_samples: Tensor,
    steps: int,
    lr: float,
    sampler: object = None,
    batch_size: int = 500,
) -> Tensor:
    """Return codes (N, D) of images (N, C, H, W) in [0, 1], on the device of `prior_samples`.

    Each image starts at the code, among `prior_samples` (M, D), whose decoded image has the
    smallest squared error. With a one-hot part, it starts at one such code of each of the three
    categories with the nearest samples. Then the starts of an image get `steps` steps of Adam in
    total, with rate `lr` (Kingma & Ba 2015, default betas), on the summed squared error of this
    image. The best code of all steps is kept, the start included.

    `sampler`: a contracts.StructuredSampler keeps all codes inside its region, the prior samples
    included. With any other sampler, and with None, the search is free: all values of a code are
    variables without limits. Codes of indices have no gradient: the nearest sample is the result.

    Images are independent of each other if `decode` treats its rows independently (batch
    normalization in eval mode). The model's parameters and their `.grad` do not change. Nothing is
    random.

    Raises:
        LatentlabError: prior samples, budget or image shape are not valid, or a prior sample
            decodes to values that are not finite.
    """
    _check(prior_samples, steps, lr)
    # Leave an inference mode of the caller: the descent needs gradients.
    with torch.inference_mode(False):
        region = _region(sampler, prior_samples.shape[1])
        samples = region.project(prior_samples.detach().clone())
        starts = _starts(decode, x, samples, region, batch_size)  # (N, S, D)
        codes, done = [starts[:0, 0]], 0
        for batch in batches(x, size=max(1, batch_size // starts.shape[1])):
            z = starts[done : done + len(batch)]
            codes.append(_descend(decode, batch.to(z.device), z, region, steps, lr))
            done += len(batch)
    return torch.cat(codes)


def num_decodings(*, num_images: int, num_starts: int, steps: int) -> int:
    """The budget of `invert`: decoded codes. A backward pass through the decoder counts as one.

    M samples are decoded once, for all images. Each image gets `steps` steps of two decodings, and
    one for the code after the last step: M + N (2 · steps + 1). It does not depend on the sampler.
    """
    return num_starts + num_images * (2 * steps + 1)


def fraction_outside(codes: Tensor, sampler: StructuredSampler) -> float:
    """Fraction of codes (N, D) outside the region of the sampler: a projection moves them."""
    moved = (sampler.project(codes) - codes).abs().amax(1)
    return (moved > TOLERANCE).double().mean().item()


@dataclass(frozen=True)
class _Region:
    """Codes that a search may use. `one_hot` (D,): values that are no variables."""

    project: Function
    one_hot: Tensor
    has_gradient: bool


def _region(sampler: object, dim: int) -> _Region:
    if not isinstance(sampler, StructuredSampler):
        return _Region(lambda z: z, torch.zeros(dim, dtype=torch.bool), True)
    parts = sampler.parts(dim)
    one_hot = [torch.full((part.size,), part.distribution == "one_hot") for part in parts]
    indices = any(part.distribution == "indices" for part in parts)
    return _Region(sampler.project, torch.cat(one_hot), not indices)


def _check(prior_samples: Tensor, steps: int, lr: float) -> None:
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


def _starts(
    decode: Function, x: Split | Tensor, samples: Tensor, region: _Region, size: int
) -> Tensor:
    """For every image, the nearest samples of S ≤ 3 categories, the nearest first, (N, S, D)."""
    fixed = samples * region.one_hot.to(samples.device)
    category = torch.unique(fixed, dim=0, return_inverse=True)[1]  # (M,); all 0 without one-hot
    found = []
    for label in range(int(category.max()) + 1):
        rows = (category == label).nonzero().flatten()
        distance, index = _nearest_sample(decode, x, samples[rows], size)
        found.append((distance, rows[index]))
    distances, rows = (torch.stack(values, dim=1) for values in zip(*found, strict=True))
    order = distances.argsort(dim=1, stable=True)[:, :MAX_STARTS]
    return samples[rows.gather(1, order)]


def _nearest_sample(
    decode: Function, x: Split | Tensor, samples: Tensor, size: int
) -> tuple[Tensor, Tensor]:
    """For every image, ‖x − decode(z)‖² − ‖x‖² of the nearest sample z, and its index, (N,) each.

    Memory holds one block of images and one block of decoded samples.
    """
    best = torch.full((len(x),), torch.inf, device=samples.device)
    index = torch.zeros(len(x), dtype=torch.int64, device=samples.device)
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
            distance, nearest = (norms - 2 * batch.to(flat).flatten(1) @ flat.T).min(dim=1)
            rows = slice(done, done + len(batch))
            index[rows] = torch.where(distance < best[rows], first + nearest, index[rows])
            best[rows] = torch.minimum(distance, best[rows])
            done = rows.stop
    return best, index


def halving_rounds(starts: int, steps: int) -> Iterator[tuple[int, int]]:
    """Rounds of successive halving: (starts that continue, steps of each of them).

    An image has `steps` steps in total. Rounds in which a start would get no step are left out: the
    starts are ranked without it. The last start gets what is left.
    """
    sizes = [starts]
    while sizes[-1] > 1:
        sizes.append((sizes[-1] + 1) // 2)
    left, each = steps, steps // len(sizes)
    for size in sizes[:-1]:
        if count := each // size:
            yield size, count
            left -= size * count
    yield 1, left


def _descend(
    decode: Function, x: Tensor, starts: Tensor, region: _Region, steps: int, lr: float
) -> Tensor:
    """The best code (B, D) of each image, from its starts (B, S, D), the nearest first."""
    if not region.has_gradient:
        return starts[:, 0]
    z, best, done = starts, starts, 0
    sse = torch.full(z.shape[:2], torch.inf, device=z.device)  # of `best`
    mean, square = torch.zeros_like(z), torch.zeros_like(z)  # moments of the gradient
    variable = ~region.one_hot.to(z.device)
    for kept, count in halving_rounds(z.shape[1], steps):
        order = sse.argsort(dim=1, stable=True)[:, :kept]
        z, mean, square, best = (_rows(t, order) for t in (z, mean, square, best))
        sse = sse.gather(1, order)
        for _ in range(count):
            done += 1
            error, gradient = _error(decode, x, z, with_gradient=True)
            best, sse = _better(z, error, best, sse)
            gradient = _projected(gradient * variable, z, region)
            mean = BETAS[0] * mean + (1 - BETAS[0]) * gradient
            square = BETAS[1] * square + (1 - BETAS[1]) * gradient.square()
            scale = (square / (1 - BETAS[1] ** done)).sqrt() + EPSILON
            z = z - lr * mean / (1 - BETAS[0] ** done) / scale
            z = region.project(z.flatten(0, 1)).view_as(z)
    error, _ = _error(decode, x, z, with_gradient=False)
    return _better(z, error, best, sse)[0][:, 0]


def _error(decode: Function, x: Tensor, z: Tensor, *, with_gradient: bool) -> tuple[Tensor, Tensor]:
    """Squared errors (B, S) of codes (B, S, D) of images (B, C, H, W), and their gradient."""
    z = z.detach().requires_grad_(with_gradient)
    with torch.set_grad_enabled(with_gradient):
        x_hat = decode(z.flatten(0, 1)).unflatten(0, z.shape[:2])
        error = (x[:, None] - x_hat).square().flatten(2).sum(dim=2)
    if not with_gradient:
        return error, torch.zeros_like(z)
    # autograd.grad instead of backward: only z gets a gradient, not the parameters
    (gradient,) = torch.autograd.grad(error.sum(), z)
    return error.detach(), gradient


def _projected(gradient: Tensor, z: Tensor, region: _Region) -> Tensor:
    """The gradient mapping (z − project(z − η g)) / η, (B, S, D); g itself where z may follow −g.

    At a border it has no part that leads outside. Without it, Adam and the projection would not end
    at the optimum: Adam scales each value of a code by another factor, which turns the direction.
    """
    eta = STEP_LENGTH / gradient.norm(dim=2, keepdim=True).clamp_min(TINY)
    ahead = z - eta * gradient
    inside = region.project(ahead.flatten(0, 1)).view_as(z)
    moved = (inside != ahead).any(dim=2, keepdim=True)
    return torch.where(moved, (z - inside) / eta, gradient)


def _better(z: Tensor, error: Tensor, best: Tensor, sse: Tensor) -> tuple[Tensor, Tensor]:
    """The better of two codes (B, S, D) each, and its error (B, S). NaN is never better."""
    better = error < sse
    return torch.where(better[..., None], z, best), torch.where(better, error, sse)


def _rows(values: Tensor, order: Tensor) -> Tensor:
    """Values (B, S, D) in the order (B, S') of their second dimension, (B, S', D)."""
    return values.gather(1, order[..., None].expand(-1, -1, values.shape[2]))
