"""Stacked images: how many of K³ modes does a generator reach, and how evenly?

Three training images, drawn independently, are the channels of one colour image, so K classes
make K³ modes: 1,000 for MNIST. The judge names each channel of a sample, three names are a mode:

    KL(q ‖ p) = Σ_m q(m) log(q(m) / p(m)),   p(a, b, c) = p(a) p(b) p(c)

q: the shares of modes among N samples; p(a): the share of class a in the training split. Metz et
al. 2017, "Unrolled GANs"; with N = 26,000, Srivastava et al. 2017, "VEEGAN", and Lin et al. 2018,
"PacGAN". N draws of p itself have a KL of some (K³ − 1) / 2N where N is large beside K³: 0.019 for
MNIST. The judge errs as well, so test images, stacked and judged alike, are the reference.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn

from latentlab.contracts import LatentlabError, Split, Task, to_float
from latentlab.cures import Cures
from latentlab.findings import Finding, Picture
from latentlab.games import play
from latentlab.metrics.features import extract
from latentlab.nets.conv import Discriminator, Generator, init_dcgan
from latentlab.plots import save_grid
from latentlab.tasks import Context

CHANNELS = 3
BATCH = 500
COLUMNS, ROWS = 12, 2  # of samples, drawn for each row of the table
REAL = "real images"
CURES: Mapping[str, Cures] = {
    "DCGAN": Cures(),
    "packing 2": Cures(packing=2),
    "R1": Cures(r1=1.0),
}
PUBLISHED = {"DCGAN": 99.0, "VEEGAN": 150.0, "PacDCGAN2": 1000.0}  # modes, Lin et al. 2018
Draw = Callable[[int], Tensor]  # N → stacks (N, 3, H, W) in [0, 1]
Judge = Callable[[Tensor], Tensor]  # images (N, 1, H, W) → logits (N, K)


@dataclass(frozen=True)
class Stacked(Task):
    """Each game: `images` stacks, networks of `width` channels at the widest map, Adam from `lr`.

    `samples` stacks are counted, of each generator and of test images.
    """

    images: int = 100_000
    samples: int = 26_000
    width: int = 16
    latent_dim: int = 64
    batch_size: int = 32
    lr: float = 1e-3

    def __post_init__(self) -> None:
        for key in ("images", "samples", "width", "latent_dim", "batch_size"):
            if getattr(self, key) < 1:
                raise LatentlabError(f"{key} is {getattr(self, key)}: it must be ≥ 1")

    def run(self, context: Context) -> Finding:
        judge, shares = _referee(context)
        train, test = context.yard.train, context.yard.test
        scores, shown = {}, []
        for name in (REAL, *CURES):
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(context.seed)
                draw = partial(stacks, test) if name == REAL else self.play(train, CURES[name])
                first, named = self.look(draw, judge)
            scores[name] = score(named, shares)
            shown.append(first)
        return self._finding(scores, torch.cat(shown), len(shares) ** CHANNELS)

    def play(self, train: Split, cures: Cures) -> Draw:
        """A generator trained with `cures`, as what draws its samples."""
        shape = (CHANNELS, *train.images.shape[2:])
        generator = nn.Sequential(
            Generator(shape, latent_dim=self.latent_dim, width=self.width), nn.Tanh()
        )
        discriminator = Discriminator(
            cures.packed(shape), width=self.width, batch_norm=cures.batch_norm
        )
        for network in (generator, discriminator):
            network.apply(init_dcgan).to(memory_format=torch.channels_last)
        play(
            generator,
            cures.equip(discriminator),
            lambda: 2 * stacks(train, self.batch_size) - 1,
            lambda: torch.randn(self.batch_size, self.latent_dim),
            loss="non_saturating",
            cures=cures,
            steps=-(-self.images // self.batch_size),
            lr=self.lr,
        )
        generator.eval()
        return lambda count: (generator(torch.randn(count, self.latent_dim)) + 1) / 2

    @torch.no_grad()
    def look(self, draw: Draw, judge: Judge) -> tuple[Tensor, Tensor]:
        """The first stacks, to be shown; the classes (N, 3) that the judge sees in all."""
        first, named = torch.empty(0), []
        for start in range(0, self.samples, BATCH):
            x = draw(min(BATCH, self.samples - start))
            first = first if start else x[: COLUMNS * ROWS]
            named.append(classes_of(x, judge))
        return first, torch.cat(named)

    def _finding(self, scores: dict[str, dict[str, float]], shown: Tensor, modes: int) -> Finding:
        caption = f"Stacks, two rows each, from above: {', '.join(scores)}"
        return Finding(
            title="Stacked images",
            text=self._text(modes),
            numbers={
                f"{name.replace(' ', '_').lower()}_{key}": value
                for name, row in scores.items()
                for key, value in row.items()
            },
            table=scores | {f"{name} (published)": {"modes": n} for name, n in PUBLISHED.items()},
            pictures=[Picture("samples", caption, partial(save_grid, shown, columns=COLUMNS))],
        )

    def _text(self, modes: int) -> str:
        return (
            f"Three grey images are the channels of one: {modes:,} modes, as the judge names them. "
            f"Of {self.samples:,} samples each: how many modes occur, and the KL divergence of "
            "their shares from the training split's, 0 at best, in nats. Each game, one trial: "
            f"{self.images:,} images, networks of width {self.width}. The judge errs, and names "
            "poor images too: read the row of real images, stacks of the test split, and the "
            "picture. Published rows: Lin et al. 2018, for 1,000 modes of MNIST and 26,000 "
            "samples, with larger networks and longer training."
        )


def stacks(split: Split, count: int) -> Tensor:
    """`count` times three grey images of the split, drawn independently: (N, 3, H, W) in [0, 1]."""
    rows = torch.randint(len(split), (count, CHANNELS))
    return to_float(split.images[rows].squeeze(2))


def classes_of(x: Tensor, judge: Judge) -> Tensor:
    """The class that the judge sees in each channel of stacks (N, 3, H, W): int64 (N, 3)."""
    return extract(judge, x.flatten(0, 1).unsqueeze(1)).argmax(1).unflatten(0, (-1, CHANNELS))


def score(named: Tensor, shares: Tensor) -> dict[str, float]:
    """Modes covered by classes (N, 3), and their KL from independent classes of `shares` (K,).

    Infinite, if there is a class whose share is 0.
    """
    found, counts = named.unique(dim=0, return_counts=True)
    q, p = counts.double() / len(named), shares[found].prod(1)
    return {"modes": float(len(found)), "kl_nats": float((q * (q / p).log()).sum())}


def _referee(context: Context) -> tuple[Judge, Tensor]:
    """The judge, and each class's share (K,) of the training split. Raises LatentlabError."""
    judge, labels = context.yard.judge, context.yard.train.labels
    if judge is None or labels is None:
        raise LatentlabError(
            "stacked images are counted by their classes, and these images have no labels, so no"
            " judge: choose data with two classes or more, or take the task off the list in"
            " params.yaml"
        )
    if (channels := context.meta.image_shape[0]) != 1:
        raise LatentlabError(
            f"images have {channels} channels, and a stack is made of three grey ones: set"
            " data.channels to 1, or take the task off the list in params.yaml"
        )
    return judge, labels.bincount(minlength=context.meta.num_classes).double() / len(labels)
