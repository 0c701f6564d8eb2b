"""Sampler comparison: one decoder with codes from several samplers.

The codes of a VAE should be distributed like its prior. Where they are not, a density that is
fitted to the codes of training images gives better samples (ex-post density estimation).

Ghosh et al. 2020, "From variational to deterministic autoencoders", section 4. Two-stage VAE: Dai &
Wipf 2019, "Diagnosing and enhancing VAE models".
"""

from __future__ import annotations

from functools import partial
from typing import Any

import torch

from latentlab.contracts import StandardNormalPrior
from latentlab.evaluation.evaluator import Evaluator
from latentlab.evaluation.results import Figure, Result
from latentlab.inference.trained import TrainedModel
from latentlab.metrics.fid.features import extract
from latentlab.metrics.fid.frechet import fid
from latentlab.samplers import (
    FittedGaussian,
    FittedMixture,
    Prior,
    StandardNormal,
    TwoStageVAE,
)
from latentlab.visualization.grids import save_rows

NUM_CODES = 10_000  # training codes that fit the samplers
NUM_SAMPLES = 2000  # images per sampler
NUM_COMPONENTS = 20  # of the mixture
BATCH_SIZE, MAX_STEPS, MAX_EPOCHS = 256, 2000, 50  # of the two-stage VAE
NUM_SHOWN = 10


def applies(model: Any) -> bool:
    return isinstance(model, StandardNormalPrior) and model.standard_normal_prior


def samplers(num_codes: int) -> dict[str, Prior]:
    """The samplers, by name. A mixture has at most as many components as there are codes.

    The two-stage VAE trains for MAX_STEPS batches, or for MAX_EPOCHS epochs if this is less.
    """
    components = min(NUM_COMPONENTS, num_codes)
    steps = min(MAX_STEPS, MAX_EPOCHS * -(-num_codes // BATCH_SIZE))
    return {
        "prior N(0, I)": StandardNormal(),
        "Gaussian": FittedGaussian(),
        f"mixture of {components}": FittedMixture(components),
        "two-stage VAE": TwoStageVAE(steps=steps, batch_size=BATCH_SIZE),
    }


def diagnose(trained: TrainedModel, evaluator: Evaluator) -> Result:
    """Compute the FID of each sampler, and of reconstructions, with equally many images."""
    codes = trained.encode(torch.cat(list(evaluator.train.first(NUM_CODES).batches())))
    count, seed = min(NUM_SAMPLES, len(evaluator.test)), evaluator.settings.seed
    x = torch.cat(list(evaluator.test.first(count).batches()))
    real = extract(evaluator.feature_extractor, x)
    scores, rows = {}, {}
    for name, sampler in samplers(len(codes)).items():
        sampler.fit(codes)
        z = sampler.sample((count, codes.shape[1]), torch.Generator().manual_seed(seed))
        images = trained.decode(z)
        scores[name] = fid(real, extract(evaluator.feature_extractor, images))
        rows[name] = images[:NUM_SHOWN].clone()  # a view would keep all images in memory
    best = min(scores, key=scores.__getitem__)
    x_hat = trained.reconstruct(x)
    scores["reconstructions"] = fid(real, extract(evaluator.feature_extractor, x_hat))
    plot = partial(save_rows, torch.stack(list(rows.values())))
    return Result(
        title="Sampler comparison",
        summary=_summary(count, len(codes), best),
        metrics={f"fid_{_key(name)}": value for name, value in scores.items()},
        table={name: {"FID": value} for name, value in scores.items()},
        figures=[Figure("samples", "Rows: " + ", ".join(rows), plot)],
    )


def _summary(count: int, num_codes: int, best: str) -> str:
    return (
        f"FID of {count:,} images per sampler against equally many test images. The samplers are "
        f"fitted to the codes of {num_codes:,} training images. FID depends on the number of "
        "images: compare these values with each other only. The last row, reconstructions of test "
        f"images, is about the best value that a sampler can reach. Lowest FID: {best}."
    )


def _key(name: str) -> str:
    """The name in lower case, with underscores between its words."""
    return "_".join("".join(c if c.isalnum() else " " for c in name.lower()).split())
