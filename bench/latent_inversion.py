"""Latent inversion of test images: inside the prior, free, with more steps, and of noise.

    python bench/latent_inversion.py gan dcgan conditional_gan      # models without an encoder
    python bench/latent_inversion.py NAME --project DIR

Prints a table of the mean SSE of the first 200 test images, with the half width of its 95 %
interval (bootstrap over images). The columns:

- nearest: the nearest of 2,000 prior samples, without descent;
- 100 steps, 300 steps: the search of `encode`, inside the prior;
- each category: 100 steps in every category, ten times the budget for ten classes;
- free: 100 steps of rate 0.1, all values of the code are variables without limits;
- outside: fraction of the codes of the free search that the sampler cannot give;
- noise: 100 steps inside the prior for 100 images of uniform noise, and of noise with the histogram
  of each pixel of the test images; variance: SSE of the mean image of this noise. What the search
  can draw by itself.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

import torch
from tables import table_lines
from torch import Tensor

import latentlab
from latentlab.config import EvaluationSettings
from latentlab.contracts import to_float
from latentlab.data.prepared import read_split
from latentlab.inference.trained import TrainedModel
from latentlab.metrics import inversion
from latentlab.metrics.intervals import mean_half_width
from latentlab.metrics.inversion import fraction_outside, halving_rounds, invert, num_decodings

NUM_IMAGES, NUM_NOISE = 200, 100
FREE_RATE = 0.1  # of Adam; with 0.3, a free search ends farther from the image
COLUMNS = (
    "nearest", "100 steps", "300 steps", "each category", "free", "outside",
    "uniform noise", "variance", "pixel noise", "its variance",
)  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("models", nargs="+")
    parser.add_argument("--project", type=Path, default=Path())
    args = parser.parse_args()
    x = to_float(read_split(args.project / "data" / "prepared", "test").images[:NUM_IMAGES])
    rows = {
        f"`{name}`": measure(latentlab.load(name, project=args.project), x) for name in args.models
    }
    budget = num_decodings(num_images=1, num_starts=0, steps=100)
    print(f"Decodings for each image after the 2,000 prior samples: {budget} with 100 steps.\n")
    print("\n".join(table_lines(COLUMNS, rows)))


def measure(model: TrainedModel, x: Tensor) -> dict[str, str]:
    """Return the row of one model: column → cell."""
    settings, sampler = EvaluationSettings(), model.sampler
    samples = model.sample_latents(settings.inversion_num_starts, seed=settings.seed)

    def search(images: Tensor, steps: int = 100, *, inside: bool = True) -> tuple[Tensor, Tensor]:
        z = invert(
            model.module.decode,
            images,
            prior_samples=samples,
            steps=steps,
            lr=settings.inversion_lr if inside else FREE_RATE,
            sampler=sampler if inside else None,
        )
        return z, (model.decode(z) - images).square().flatten(1).sum(1)

    codes, free = search(x, inside=False)
    row = {
        "nearest": cell(search(x, 0)[1]),
        "100 steps": cell(search(x)[1]),
        "300 steps": cell(search(x, 300)[1]),
        "each category": cell(each_category(lambda: search(x)[1])),
        "free": cell(free),
        "outside": f"{fraction_outside(codes, sampler):.2f}",
    }
    for name, column in (("uniform noise", "variance"), ("pixel noise", "its variance")):
        noise = noise_images(x, histogram=name == "pixel noise")
        row[name] = cell(search(noise)[1])
        row[column] = f"{float((noise - noise.mean(0)).square().flatten(1).sum(1).mean()):.2f}"
    return row


def each_category(search: Callable[[], Tensor]) -> Tensor:
    """Run a search whose every start gets all steps, in all categories."""
    kept = inversion.MAX_STARTS
    inversion.MAX_STARTS = 2**31
    inversion.halving_rounds = lambda starts, steps: iter([(starts, steps), (1, 0)])
    try:
        return search()
    finally:
        inversion.MAX_STARTS, inversion.halving_rounds = kept, halving_rounds


def noise_images(x: Tensor, *, histogram: bool) -> Tensor:
    """100 images: uniform, or each pixel from a random test image of its own."""
    generator = torch.Generator().manual_seed(0)
    if not histogram:
        return torch.rand(NUM_NOISE, *x.shape[1:], generator=generator)
    values = x.flatten(1)
    rows = torch.randint(len(x), (NUM_NOISE, values.shape[1]), generator=generator)
    return values.gather(0, rows).view(NUM_NOISE, *x.shape[1:])


def cell(sse: Tensor) -> str:
    return f"{float(sse.mean()):.2f} ± {mean_half_width(sse):.2f}"


if __name__ == "__main__":
    main()
