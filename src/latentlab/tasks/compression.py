"""Compression: rounded and entropy-coded codes. File size against reconstruction error.

A code z is rounded to multiples of the step sizes Δ_d. An entropy coder writes the integers;
discrete codes are integers already:

    rate = −1/8 Σ_d log₂ p_d(round(z_d / Δ_d)) bytes          distortion = Σ_pixels (x̂ − x)²

The task compares the trained model with autoencoders that were trained for this purpose. They
minimize distortion + λ · rate. In training, uniform noise in [−½, ½] replaces the rounding, and the
density of the code is logistic (Ballé, Laparra & Simoncelli 2017, "End-to-end optimized image
compression").

Baselines: PCA with the same coder, with all components whose standard deviation is above Δ / 2, and
JPEG with all images in one file, so that its header counts once. Lossless formats, all images in
one file too, are the sizes from which no loss is worth it: on images of few pixels, they are
smaller than JPEG (common/image_codecs.py). All sizes are sizes of real files, and all errors are
errors of decoded files.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from latentlab.contracts import DiscreteCodes, Split, Task, to_float
from latentlab.evaluation.results import Figure, Result
from latentlab.inference.compression import pack, pack_indices, sensitivity, unpack
from latentlab.losses.reconstruction import squared_error
from latentlab.metrics.pca import PCA
from latentlab.metrics.reconstruction import psnr_db
from latentlab.networks.mlp import mlp
from latentlab.tasks.common.context import Context
from latentlab.tasks.common.fitting import fit, seeded
from latentlab.tasks.common.image_codecs import jpeg, lossless_sizes, read_jpeg
from latentlab.tasks.common.requirements import require_at_least, require_encoder
from latentlab.utils.errors import LatentlabError
from latentlab.visualization.charts import Curve, save_curves
from latentlab.visualization.grids import save_rows

NUM_SHOWN = 10
BASELINES = ("PCA", "JPEG")
JPEG_QUALITIES = (1, 5, 10, 20, 30, 50, 75, 90)


class Point(NamedTuple):
    """One file: bytes per image, mean PSNR in dB, and the first decoded images."""

    bytes_per_image: float
    psnr_db: float
    images: Tensor


Curves = dict[str, list[Point]]  # method → points


class RateAutoencoder(nn.Module):
    """Images (B, C, H, W) or (B, P) → z (B, D), which is rounded to integers → flat images (B, P).

    p(z_d) is logistic with learned mean and scale. The probability of an integer z_d is that of its
    interval, F(z_d + ½) − F(z_d − ½). `rate_weight`: λ, squared error per bit.
    """

    def __init__(
        self, num_pixels: int, *, hidden: int, latent_dim: int, rate_weight: float
    ) -> None:
        super().__init__()
        self.rate_weight = rate_weight
        self.encoder = mlp([num_pixels, hidden, hidden, latent_dim])
        self.decoder = mlp([latent_dim, hidden, hidden, num_pixels])
        self.mean = nn.Parameter(torch.zeros(latent_dim))
        self.log_scale = nn.Parameter(torch.ones(latent_dim))

    def encode(self, x: Tensor) -> Tensor:
        return self.encoder(x.flatten(1))

    def decode(self, z: Tensor) -> Tensor:
        return self.decoder(z).sigmoid()

    def rate_bits(self, z: Tensor) -> Tensor:
        """−Σ_d log₂ (F(z_d + ½) − F(z_d − ½)), (B,)."""
        z, scale = z - self.mean, self.log_scale.exp()
        interval = ((z + 0.5) / scale).sigmoid() - ((z - 0.5) / scale).sigmoid()
        return -interval.clamp_min(1e-9).log2().sum(1)

    def loss(self, x: Tensor) -> Tensor:
        z = self.encode(x)
        z = z + torch.rand_like(z) - 0.5
        return (squared_error(self.decode(z), x) + self.rate_weight * self.rate_bits(z)).mean()


@dataclass(frozen=True)
class Compression(Task):
    """`num_images` test images are compressed.

    `step_sizes`: Δ of the trained model and of PCA, one file for each. `rate_weights`: λ, one
    autoencoder for each. These autoencoders are P-`hidden`-`hidden`-D for P pixels, D =
    `latent_dim`, or P / 4 if P / 4 is smaller. They train for `train_steps` batches of 128 by Adam;
    the learning rate falls from `lr` to 0.
    """

    needs_encoder = True

    num_images: int = 2000
    step_sizes: tuple[float, ...] = (0.3, 0.6, 1.0, 1.5, 2.5)
    rate_weights: tuple[float, ...] = (0.02, 0.05, 0.15)
    hidden: int = 256
    latent_dim: int = 48
    train_steps: int = 3000
    lr: float = 2e-3

    def __post_init__(self) -> None:
        require_at_least(1, self, "num_images", "hidden", "latent_dim", "train_steps")
        if min(self.step_sizes, default=0) <= 0:
            raise LatentlabError(f"step_sizes is {self.step_sizes}: give one or more values > 0")
        if min(self.rate_weights, default=-1) < 0:
            raise LatentlabError(
                f"rate_weights is {self.rate_weights}: give one or more values ≥ 0"
            )

    def run(self, context: Context) -> Result:
        require_encoder(context)
        test = context.evaluator.test.first(self.num_images)
        curves = {
            context.trained.name: self.by_model(context, test),
            "trained for rate": self.by_rate(context, test),
            "PCA": self.by_pca(context, test),
            "JPEG": [jpeg_point(test, quality) for quality in JPEG_QUALITIES],
        }
        lossless = {n: size / len(test) for n, size in lossless_sizes(test.images).items()}
        return make_result(curves, lossless, test)

    def by_model(self, context: Context, test: Split) -> list[Point]:
        """One file for each step; one file of discrete codes, which are not rounded."""
        trained = context.trained
        z = trained.encode(to_float(test.images))
        if isinstance(trained.module, DiscreteCodes):
            content = pack_indices(z, [""] * len(z), model="", digest=bytes(32))
            return [file_point(content, trained.decode, test)]
        s = sensitivity(trained.decode, z)
        return [code_point(z, step / s, trained.decode, test) for step in self.step_sizes]

    def by_pca(self, context: Context, test: Split) -> list[Point]:
        pca, shape = PCA.fit(context.evaluator.train), test.images.shape[1:]
        points = []
        for step in self.step_sizes:
            k = max(1, int((pca.variances > (step / 2) ** 2).sum()))
            z = pca.encode(to_float(test.images), k=k)
            decode = lambda z: pca.decode(z).clamp(0, 1).unflatten(1, shape)  # noqa: E731
            points.append(code_point(z, torch.full((k,), step), decode, test))
        return points

    def by_rate(self, context: Context, test: Split) -> list[Point]:
        x = to_float(context.evaluator.train.images).flatten(1)
        return [self.rate_point(weight, x, test, context.seed) for weight in self.rate_weights]

    def rate_point(self, rate_weight: float, x: Tensor, test: Split, seed: int) -> Point:
        """Train one `RateAutoencoder` on flat images x (N, P) and compress the test images."""
        shape = test.images.shape[1:]
        latent_dim = min(self.latent_dim, x.shape[1] // 4)
        with seeded(seed):
            net = RateAutoencoder(
                x.shape[1], hidden=self.hidden, latent_dim=latent_dim, rate_weight=rate_weight
            )
            fit(net, net.loss, (x,), steps=self.train_steps, lr=self.lr, seed=seed)
        with torch.inference_mode():
            z = net.encode(to_float(test.images))
            decode = lambda z: net.decode(z).unflatten(1, shape)  # noqa: E731
            return code_point(z.clone(), torch.ones(latent_dim), decode, test)


def code_point(z: Tensor, steps: Tensor, decode: Callable[[Tensor], Tensor], test: Split) -> Point:
    """Write codes z (N, D), rounded to multiples of `steps` (D,), to a file; read and decode it."""
    content = pack(z, steps, [""] * len(z), model="", digest=bytes(32))
    return file_point(content, decode, test)


def file_point(content: bytes, decode: Callable[[Tensor], Tensor], test: Split) -> Point:
    """Decode a file with the codes of all images of `test`."""
    with torch.inference_mode():
        x_hat = torch.cat([decode(part) for part in unpack(content).split(500)])
    return Point(len(content) / len(test), mean_psnr_db(x_hat, test), x_hat[:NUM_SHOWN].clone())


def jpeg_point(test: Split, quality: int) -> Point:
    """All images in one JPEG file."""
    content = jpeg(test.images, quality)
    x_hat = to_float(read_jpeg(content, test.images.shape))
    return Point(len(content) / len(test), mean_psnr_db(x_hat, test), x_hat[:NUM_SHOWN])


def mean_psnr_db(x_hat: Tensor, test: Split) -> float:
    """Mean over all images of `test` of the PSNR in dB of reconstructions x_hat (N, C, H, W)."""
    mse = squared_error(x_hat, to_float(test.images)) / test.images[0].numel()  # (N,)
    return float(psnr_db(mse).mean())


def make_result(curves: Curves, lossless: Mapping[str, float], test: Split) -> Result:
    """Compare the files of all methods with PCA and JPEG files of equal size.

    `lossless`: bytes per image of lossless formats.
    """
    own = [name for name in curves if name not in BASELINES]
    points = curves["trained for rate"]
    middle = points[len(points) // 2]
    size = middle.bytes_per_image
    shown = nearest_points(curves, size)
    rows = ", ".join(f"{name} ({point.bytes_per_image:.0f})" for name, point in shown)
    return Result(
        title="Compression",
        summary=f"{len(test):,} test images of {test.images[0].numel()} pixels are compressed to"
        " one file, which is decoded again. The size includes the histograms of the codes. A"
        " higher PSNR is better. The other columns are PCA and JPEG at equal size: “–” means"
        " that they have no file of this size. Without any loss, one file of all images has"
        f" {', '.join(f'{size:.0f} ({name})' for name, size in lossless.items())} bytes per image.",
        metrics={
            "bytes_per_image": size,
            "psnr_db": middle.psnr_db,
            "pca_psnr_db": psnr_at_size(curves["PCA"], size),
            **{f"{_key(name)}_bytes_per_image": size for name, size in lossless.items()},
        },
        table={
            f"{name}, {point.bytes_per_image:.1f} bytes": table_row(point, curves)
            for name in own
            for point in curves[name]
        },
        figures=[
            Figure(
                "rate_distortion",
                "PSNR against bytes per image; vertical lines: lossless files",
                partial(save_psnr, curves, lossless),
            ),
            Figure(
                "decoded",
                f"Test images, and below the decoded images; bytes per image: {rows}",
                save_decoded(shown, test),
            ),
        ],
    )


def table_row(point: Point, curves: Curves) -> dict[str, float]:
    """PSNR of a file, and of the baselines at equal size; a missing value is left out."""
    size = point.bytes_per_image
    row = {f"{name} dB, equal size": psnr_at_size(curves[name], size) for name in BASELINES}
    return {"PSNR dB": point.psnr_db} | {k: v for k, v in row.items() if not math.isnan(v)}


def _key(name: str) -> str:
    return name.replace(" ", "_").lower()


def save_psnr(curves: Curves, lossless: Mapping[str, float], path: Path) -> None:
    lines = [
        Curve(name, [p.bytes_per_image for p in points], [p.psnr_db for p in points], marker="o")
        for name, points in curves.items()
    ]
    marks = [(f"{name}, lossless", size) for name, size in lossless.items()]
    save_curves(lines, path, x="bytes per image", y="PSNR, dB", logarithmic="x", marks=marks)


def psnr_at_size(points: Sequence[Point], size: float) -> float:
    """PSNR of a curve at `size` bytes, linear in log bytes; NaN outside the curve."""
    sizes, values = zip(*sorted((p.bytes_per_image, p.psnr_db) for p in points), strict=True)
    if not sizes[0] <= size <= sizes[-1]:
        return math.nan
    return float(np.interp(math.log(size), np.log(sizes), values))


def nearest_points(curves: Curves, size: float) -> list[tuple[str, Point]]:
    """The point of each curve that is nearest to `size` bytes, by log size."""
    distance = lambda point: abs(math.log(point.bytes_per_image / size))  # noqa: E731
    return [(name, min(points, key=distance)) for name, points in curves.items()]


def save_decoded(points: Sequence[tuple[str, Point]], test: Split) -> Callable[[Path], None]:
    """A function that saves the first originals, and below the decoded images of each method."""
    rows = [to_float(test.images[:NUM_SHOWN]), *(point.images for _, point in points)]
    return partial(save_rows, torch.stack(rows))
