"""Tangent planes: the changes of an image that its code answers to, where the data lie.

    J(x) = ∂f(x)/∂x = U diag(s) Vᵀ        energy of direction i: s_i² / Σ s²

The leading columns of V span the tangent plane of the data's manifold at x as the encoder sees it;
the number of directions that hold 90 % of the energy is its local dimension.

Rifai, Dauphin, Vincent, Bengio & Muller 2011, "The manifold tangent classifier", section 3.
"""

from __future__ import annotations

from functools import partial
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor

from latentlab.evaluation import Yardsticks
from latentlab.findings import Finding, Picture
from latentlab.losses.contraction import jacobian
from latentlab.plots import save_rows
from latentlab.studies.contraction import save_curves
from latentlab.trained import Trained

IMAGES = 40  # whose spectrum is averaged
SHOWN, DIRECTIONS = 6, 10  # rows of the picture, and tangents in each
ENERGY = 0.9


@runtime_checkable
class SmoothEncoder(Protocol):
    """A model whose `encode` is smooth and cheap to differentiate, and says so."""

    smooth_encoder: bool

    def encode(self, x: Tensor) -> Tensor: ...


def applies(model: Any) -> bool:
    return isinstance(model, SmoothEncoder) and model.smooth_encoder


def study(trained: Trained, yard: Yardsticks) -> Finding:
    """Spectrum and leading right singular vectors of the encoder's Jacobian at test images."""
    x = next(yard.test.first(IMAGES).batches())
    values = torch.cat([torch.linalg.svdvals(jacobian_at(trained, part)) for part in x.split(10)])
    dimensions = local_dimension(values)  # (N,)
    mean = float(dimensions.double().mean())
    spectrum = (values / values[:, :1].clamp_min(1e-12)).mean(0).clamp_min(1e-6)
    return Finding(
        title="Tangent planes",
        text=f"At a test image {mean:.1f} directions of {x[0].numel()} hold {ENERGY:.0%} of what "
        "the code answers to (squared singular values of the encoder's Jacobian): its local "
        f"dimension. Rows: an image, then its {DIRECTIONS} leading tangents, strongest first; "
        "adding a little of one moves the code most. Grey is no change.",
        numbers={
            "local_dimension": mean,
            "local_dimension_min": float(dimensions.min()),
            "local_dimension_max": float(dimensions.max()),
            "largest_singular_value": float(values[:, 0].mean()),
        },
        pictures=[
            Picture(
                "tangents",
                "Test images and their leading tangents",
                partial(save_rows, tangents(trained, x[:SHOWN])),
            ),
            Picture(
                "spectrum",
                "Singular values of the Jacobian, mean of the images, the largest as 1",
                partial(
                    save_curves,
                    {trained.name: list(enumerate(spectrum.tolist(), 1))},
                    x_label="direction",
                    y_label="singular value",
                    logarithmic="xy",
                ),
            ),
        ],
    )


def jacobian_at(trained: Trained, x: Tensor) -> Tensor:
    """J of images x (N, C, H, W), (N, D, P), on the CPU."""
    with torch.no_grad():
        return jacobian(trained.module.encode, x.to(trained.device)).cpu()


def local_dimension(values: Tensor) -> Tensor:
    """How many of the descending singular values (N, R) hold ENERGY of Σ s², int64 (N,)."""
    energy = values.double().square()
    share = energy.cumsum(1) / energy.sum(1, keepdim=True).clamp_min(1e-300)
    return (share < ENERGY).sum(1) + 1


def tangents(trained: Trained, x: Tensor) -> Tensor:
    """Rows (N, 1 + DIRECTIONS, C, H, W): x, then right singular vectors around grey 0.5."""
    _, _, v = torch.linalg.svd(jacobian_at(trained, x), full_matrices=False)  # (N, R, P)
    v = v[:, :DIRECTIONS]
    strongest = v.gather(2, v.abs().argmax(2, keepdim=True))  # the sign of v is arbitrary
    drawn = 0.5 + 0.5 * (v / strongest)
    return torch.cat([x[:, None], drawn.unflatten(2, x.shape[1:])], dim=1)
