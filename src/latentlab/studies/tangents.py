"""Tangent planes: the changes of an image that its code answers to, where the data lie.

    J(x) = ∂f(x)/∂x = U diag(s) Vᵀ        energy of direction i: s_i² / Σ s²

The leading columns of V span the tangent plane of the data's manifold at x as the encoder sees it;
the number of directions that hold 90 % of the energy is its local dimension.

Rifai, Dauphin, Vincent, Bengio & Muller 2011, "The manifold tangent classifier".
"""

from __future__ import annotations

from functools import partial
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor

from latentlab.charts import Curve, save_curves
from latentlab.evaluation import Yardsticks
from latentlab.findings import Finding, Picture
from latentlab.losses.contraction import jacobian, tangents
from latentlab.plots import save_rows
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
    values = singular_values(trained, x)
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
                partial(save_rows, rows(trained, x[:SHOWN])),
            ),
            Picture(
                "spectrum",
                "Singular values of the Jacobian, mean of the images, the largest as 1",
                partial(
                    save_curves,
                    [Curve(trained.name, range(1, len(spectrum) + 1), spectrum.tolist())],
                    x="direction",
                    y="singular value",
                    logarithmic="xy",
                ),
            ),
        ],
    )


def singular_values(trained: Trained, x: Tensor) -> Tensor:
    """Of J at images x (N, C, H, W), (N, R), descending, on the CPU."""
    with torch.no_grad():
        parts = [jacobian(trained.module.encode, part.to(trained.device)) for part in x.split(10)]
    return torch.cat([torch.linalg.svdvals(part.cpu()) for part in parts])


def local_dimension(values: Tensor) -> Tensor:
    """How many of the descending singular values (N, R) hold ENERGY of Σ s², int64 (N,)."""
    energy = values.double().square()
    share = energy.cumsum(1) / energy.sum(1, keepdim=True).clamp_min(1e-300)
    return (share < ENERGY).sum(1) + 1


def rows(trained: Trained, x: Tensor) -> Tensor:
    """(N, 1 + DIRECTIONS, C, H, W): images x, then their tangents around grey 0.5."""
    v = tangents(trained.module.encode, x.to(trained.device), DIRECTIONS).cpu()
    peak = v.flatten(2).amax(2)[:, :, None, None, None]
    return torch.cat([x[:, None], 0.5 + 0.5 * v / peak], dim=1)
