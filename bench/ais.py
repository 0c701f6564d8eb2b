"""log p(x) of a VAE or an IWAE by annealed importance sampling, from both sides.

    make ais MODEL=vae
    python bench/ais.py vae --images 20 --chains 8 --temperatures 1000
    python bench/ais.py vae --project DIR

Prints, with half widths of 95 % intervals over images:

- on test images: the bound of importance sampling with 1,000 codes, and the lower bound of AIS;
- on as many images that the model drew: both bounds of AIS. log p(x) of these images is between
  them, so their distance is the error of AIS. A small one says that the first number is trusted.

The defaults take about a minute of one CPU core for 28 × 28 pixels. With more temperatures the
bounds come closer. Black-and-white likelihoods are measured on one draw of binary test images.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from torch import Tensor

import latentlab
from latentlab.data.prepared import read_split
from latentlab.diagnostics.likelihood import observations
from latentlab.diagnostics.metrics.annealed_importance_sampling import (
    AIS,
    GaussianLatentModel,
    log_likelihood_of,
    make_ais,
    simulate,
)
from latentlab.diagnostics.metrics.importance_sampling import log_likelihood
from latentlab.metrics.intervals import mean_half_width

NUM_SAMPLES = 1000


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("model")
    parser.add_argument("--project", type=Path, default=Path())
    parser.add_argument("--images", type=int, default=20)
    parser.add_argument("--chains", type=int, default=4, help="of each image (4)")
    parser.add_argument("--temperatures", type=int, default=300)
    parser.add_argument("--leapfrog", type=int, default=10, help="steps of a transition (10)")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    trained = latentlab.load(args.model, project=args.project)
    if not isinstance(trained.module, GaussianLatentModel):
        raise SystemExit(
            f"{args.model} has no decoder with a pixel likelihood and the prior N(0, I). Models of"
            " the classes VAE and IWAE have them: choose one of these"
        )
    model, seed = trained.module, args.seed
    test = read_split(args.project / "data" / "prepared", "test").some(args.images, seed=seed)
    observed, y = observations(trained, test, seed)
    x = observed[0]
    bound = log_likelihood(model, x, y, num_samples=[NUM_SAMPLES], seed=seed)
    ais = make_ais(
        log_likelihood_of(model),
        x,
        latent_dim=model.latent_dim,
        num_temperatures=args.temperatures,
        num_chains=args.chains,
        leapfrog_steps=args.leapfrog,
        seed=seed,
    )
    print(f"{len(x)} test images")
    show(f"importance sampling, {NUM_SAMPLES:,} codes", bound.log_px)
    show("AIS, lower bound", ais.lower_bound(x, seed=seed + 1))
    print_simulated(ais, model, len(x), seed)


def print_simulated(ais: AIS, model: GaussianLatentModel, count: int, seed: int) -> None:
    """Both bounds of images that the model drew, and their distance."""
    x, z = simulate(model, count, seed=seed + 2)
    lower, upper = ais.lower_bound(x, seed=seed + 3), ais.upper_bound(x, z, seed=seed + 4)
    print(f"{count} images of the model")
    show("AIS, lower bound", lower)
    show("AIS, upper bound", upper)
    show("distance", upper - lower)


def show(name: str, values: Tensor) -> None:
    half = mean_half_width(values)
    print(f"  {name:<36}{float(values.mean()):9.2f} ± {half:.2f} nats", flush=True)


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
