"""Samplers: the same decoder, its codes drawn by different densities.

A VAE promises that codes are spread as its prior; where they are not, a density fitted to the codes
of the training images afterwards draws better images (ex-post density estimation).

Ghosh et al. 2020, "From variational to deterministic autoencoders", section 4; the two-stage VAE is
Dai & Wipf 2019, "Diagnosing and enhancing VAE models".
"""

from __future__ import annotations

from functools import partial
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor

from latentlab.contracts import Sampler
from latentlab.evaluation import Yardsticks
from latentlab.findings import Finding, Picture
from latentlab.metrics.features import extract
from latentlab.metrics.fid import GaussianStatistics, frechet_distance
from latentlab.plots import save_rows
from latentlab.priors import FittedGaussian, FittedMixture, StandardNormal, TwoStage
from latentlab.trained import Trained

CODES = 10_000  # training codes that the samplers are fitted to
DRAWN = 2000  # images a sampler; FID falls with their number, so these compare among themselves
COMPONENTS = 20  # of the mixture
SHOWN = 10


@runtime_checkable
class NormalCodes(Protocol):
    """A model of the family VAE whose codes are to be N(0, I)."""

    family: str
    codes_are_normal: bool


def applies(model: Any) -> bool:
    return isinstance(model, NormalCodes) and model.codes_are_normal


def samplers(codes: int) -> dict[str, Sampler]:
    """Samplers that can be fitted to so many codes."""
    components = min(COMPONENTS, codes)
    return {
        "prior N(0, I)": StandardNormal(),
        "one Gaussian": FittedGaussian(),
        f"mixture of {components}": FittedMixture(components),
        "second VAE": TwoStage(),
    }


@torch.inference_mode()
def study(trained: Trained, yard: Yardsticks) -> Finding:
    """FID of every sampler at the same number of images, beside that of real images."""
    codes = trained.encode(torch.cat(list(yard.train.first(CODES).batches())))
    count, seed = min(DRAWN, len(yard.test)), yard.settings.seed
    real = extract(yard.eyes, yard.test.first(count))
    table, rows = {}, []
    for name, sampler in samplers(len(codes)).items():
        sampler.fit(codes)
        z = sampler.sample((count, codes.shape[1]), torch.Generator().manual_seed(seed))
        images = trained.decode(z)
        table[name] = {"FID": _fid(yard, images, real)}
        rows.append(images[:SHOWN])
    table["reconstructions"] = {"FID": _of_reconstructions(trained, yard, real, count)}
    best = min(list(table)[:-1], key=lambda name: table[name]["FID"])
    return Finding(
        title="Samplers",
        text=f"{count:,} images a sampler, against as many test images; FID falls with their "
        "number, so the column compares within itself only. The last row, test images through "
        f"encoder and decoder, is as well as any sampler may do. Best here: {best}.",
        numbers={f"fid_{_key(name)}": row["FID"] for name, row in table.items()},
        table=table,
        pictures=[
            Picture(
                "samples",
                "Rows: " + ", ".join(list(table)[:-1]),
                partial(save_rows, torch.stack(rows)),
            )
        ],
    )


def _of_reconstructions(trained: Trained, yard: Yardsticks, real: Tensor, count: int) -> float:
    x_hat = trained.reconstruct(torch.cat(list(yard.test.first(count).batches())))
    return _fid(yard, x_hat, real)


def _fid(yard: Yardsticks, images: Tensor, real: Tensor) -> float:
    fake = extract(yard.eyes, images)
    return frechet_distance(GaussianStatistics.of(real), GaussianStatistics.of(fake))


def _key(name: str) -> str:
    return "_".join("".join(c if c.isalnum() else " " for c in name.lower()).split())
