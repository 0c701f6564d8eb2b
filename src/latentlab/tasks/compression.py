"""Compression: few numbers, coarsely rounded, entropy-coded. Rate against distortion.

A code z is rounded to multiples of steps Δ_d, and what is left is written by an entropy coder, at

    rate = −1/8 Σ_d log₂ p_d(round(z_d / Δ_d))  bytes          distortion = Σ_pixels (x̂ − x)²

Rows are real files, decoded again. Beside the trained model stands an autoencoder that was told:
it trains on distortion + λ · rate, with uniform noise in [−½, ½] in place of rounding, and a
logistic density of its code (Ballé, Laparra & Simoncelli 2017, "End-to-end optimized image
compression"). PCA goes through the same coder, as many components as vary by more than half a
step; JPEG gets all images on one sheet, so that its header counts once.
"""

from __future__ import annotations

import io
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from latentlab.charts import Curve, save_curves
from latentlab.compression import pack, sensitivity, unpack
from latentlab.contracts import LatentlabError, Split, Task, to_float
from latentlab.findings import Finding, Picture
from latentlab.losses.likelihoods import squared_error
from latentlab.metrics.pca import PCA
from latentlab.nets.mlp import mlp
from latentlab.plots import save_rows
from latentlab.tasks import Context
from latentlab.tasks.fitting import fit

SHOWN = 10
BASELINES = ("PCA", "JPEG")
QUALITIES = (1, 5, 10, 20, 30, 50, 75, 90)  # of JPEG

Point = tuple[float, float, Tensor]  # bytes an image, PSNR in dB, the first images decoded


class RateAutoencoder(nn.Module):
    """Flat images (B, P) → z (B, D), to be rounded to whole numbers → x̂ (B, P).

    p(z_d) is logistic with a learned place and scale; the rate of a rounded code is that of its
    interval, F(z + ½) − F(z − ½).
    """

    def __init__(self, pixels: int, *, hidden: int, latent_dim: int, price: float) -> None:
        super().__init__()
        self.price = price  # λ, squared error per bit
        self.encoder = mlp([pixels, hidden, hidden, latent_dim])
        self.decoder = mlp([latent_dim, hidden, hidden, pixels])
        self.place = nn.Parameter(torch.zeros(latent_dim))
        self.log_scale = nn.Parameter(torch.ones(latent_dim))

    def encode(self, x: Tensor) -> Tensor:
        return self.encoder(x.flatten(1))

    def decode(self, z: Tensor) -> Tensor:
        return self.decoder(z).sigmoid()

    def bits(self, z: Tensor) -> Tensor:
        """−Σ_d log₂ (F(z_d + ½) − F(z_d − ½)), (B,)."""
        z, scale = z - self.place, self.log_scale.exp()
        interval = ((z + 0.5) / scale).sigmoid() - ((z - 0.5) / scale).sigmoid()
        return -interval.clamp_min(1e-9).log2().sum(1)

    def loss(self, x: Tensor) -> Tensor:
        z = self.encode(x)
        z = z + torch.rand_like(z) - 0.5
        return (squared_error(self.decode(z), x) + self.price * self.bits(z)).mean()


@dataclass(frozen=True)
class Compression(Task):
    """`steps` are the Δ of the trained model and of PCA, `prices` the λ of one autoencoder each.

    Those are P-`hidden`-`hidden`-D, D = `latent_dim` or P / 4 if that is less, and train
    `train_steps` batches of 128 at Adam's rate `lr`, falling to 0. `images` test images are packed.
    """

    images: int = 2000
    steps: tuple[float, ...] = (0.3, 0.6, 1.0, 1.5, 2.5)
    prices: tuple[float, ...] = (0.02, 0.05, 0.15)
    hidden: int = 256
    latent_dim: int = 48
    train_steps: int = 3000
    lr: float = 2e-3

    def __post_init__(self) -> None:
        if min(self.steps, default=0) <= 0 or min(self.prices, default=0) < 0 or not self.prices:
            raise LatentlabError(
                f"steps {self.steps} must be positive and prices {self.prices} not negative, at"
                " least one of each"
            )

    def run(self, context: Context) -> Finding:
        if not context.trained.has_encoder:
            raise LatentlabError(
                f"{context.trained.name} has no encoder, so it has no codes to pack: give this task"
                " an autoencoder as `model` in params.yaml"
            )
        test = context.yard.test.first(self.images)
        curves = {
            context.trained.name: self.by_model(context, test),
            "trained for rate": self.by_rate(context, test),
            "PCA": self.by_pca(context, test),
            "JPEG": [by_jpeg(test, quality) for quality in QUALITIES],
        }
        return finding(curves, test)

    def by_model(self, context: Context, test: Split) -> list[Point]:
        trained = context.trained
        z = trained.encode(to_float(test.images))
        slope = sensitivity(trained.decode, z)
        return [point(z, step / slope, trained.decode, test) for step in self.steps]

    def by_pca(self, context: Context, test: Split) -> list[Point]:
        pca, shape = PCA.fit(context.yard.train), test.images.shape[1:]
        points = []
        for step in self.steps:
            k = max(1, int((pca.variances > (step / 2) ** 2).sum()))
            z = pca.encode(to_float(test.images), k=k)
            decode = lambda z: pca.decode(z).clamp(0, 1).unflatten(1, shape)  # noqa: E731
            points.append(point(z, torch.full((k,), step), decode, test))
        return points

    def by_rate(self, context: Context, test: Split) -> list[Point]:
        x = to_float(context.yard.train.images).flatten(1)
        return [self.trained_for(price, x, test, context.seed) for price in self.prices]

    def trained_for(self, price: float, x: Tensor, test: Split, seed: int) -> Point:
        shape = test.images.shape[1:]
        width = min(self.latent_dim, x.shape[1] // 4)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            net = RateAutoencoder(x.shape[1], hidden=self.hidden, latent_dim=width, price=price)
            fit(net, net.loss, (x,), steps=self.train_steps, lr=self.lr, seed=seed)
        with torch.inference_mode():
            z = net.encode(to_float(test.images))
            decode = lambda z: net.decode(z).unflatten(1, shape)  # noqa: E731
            return point(z.clone(), torch.ones(width), decode, test)


def point(z: Tensor, steps: Tensor, decode: Callable[[Tensor], Tensor], test: Split) -> Point:
    """Pack codes (N, D) into a file's bytes, unpack them, decode, compare."""
    content = pack(z, steps, [""] * len(z), model="", digest=bytes(32))
    with torch.inference_mode():
        x_hat = torch.cat([decode(part) for part in unpack(content).split(500)])
    return len(content) / len(z), psnr_db(x_hat, test), x_hat[:SHOWN].clone()


def by_jpeg(test: Split, quality: int) -> Point:
    """All images side by side in one JPEG, each on its own 8 × 8 blocks; bytes are of the whole."""
    from PIL import Image

    n, channels, height, width = test.images.shape
    columns = math.ceil(n**0.5)
    down, across = -(-height // 8) * 8, -(-width // 8) * 8
    cells = torch.zeros(columns * columns, channels, down, across, dtype=torch.uint8)
    cells[:n, :, :height, :width] = test.images
    sheet = (
        cells.unflatten(0, (columns, columns)).permute(0, 3, 1, 4, 2).flatten(2, 3).flatten(0, 1)
    )
    buffer = io.BytesIO()
    Image.fromarray(sheet.numpy().squeeze(2) if channels == 1 else sheet.numpy()).save(
        buffer, "JPEG", quality=quality, optimize=True
    )
    decoded = torch.from_numpy(np.array(Image.open(buffer))).view(sheet.shape)
    cells = decoded.view(columns, down, columns, across, channels).permute(0, 2, 4, 1, 3)
    x_hat = to_float(cells.flatten(0, 1)[:n, :, :height, :width])
    return buffer.tell() / n, psnr_db(x_hat, test), x_hat[:SHOWN]


def psnr_db(x_hat: Tensor, test: Split) -> float:
    """Mean over images of −10 log₁₀ of the mean squared error, in dB."""
    x = to_float(test.images)
    error = (x_hat - x).square().flatten(1).mean(1).clamp_min(1e-10)
    return float(-10 * error.log10().mean())


def finding(curves: dict[str, list[Point]], test: Split) -> Finding:
    """Our files, what PCA and JPEG make of as many bytes, the curves, and images decoded."""
    ours = [name for name in curves if name not in BASELINES]
    size, psnr, _ = curves["trained for rate"][len(curves["trained for rate"]) // 2]
    near = nearest(curves, size)
    rows = ", ".join(f"{name} ({point[0]:.0f})" for name, point in near)
    return Finding(
        title="Compression",
        text=f"{len(test):,} test images of {test.images[0].numel()} pixels in one file, "
        "histograms of the codes included, decoded again. The columns beside say what PCA and JPEG "
        "make of as many bytes: nothing where they cannot be so small.",
        numbers={
            "bytes_per_image": size,
            "psnr_db": psnr,
            "pca_psnr_db": at_bytes(curves["PCA"], size),
        },
        table={
            f"{name}, {point[0]:.1f} bytes": compared(point, curves)
            for name in ours
            for point in curves[name]
        },
        pictures=[
            Picture("rate_distortion", "PSNR by bytes an image", partial(draw, curves)),
            Picture("decoded", f"The images, and decoded from bytes: {rows}", sheet(near, test)),
        ],
    )


def compared(point: Point, curves: dict[str, list[Point]]) -> dict[str, float]:
    """One row of the table: a file's PSNR, and that of the baselines where they have one."""
    size, psnr, _ = point
    row = {f"{name}, as many bytes": at_bytes(curves[name], size) for name in BASELINES}
    return {"PSNR dB": psnr} | {key: value for key, value in row.items() if value == value}


def draw(curves: dict[str, list[Point]], path: Path) -> None:
    lines = [
        Curve(name, [p[0] for p in points], [p[1] for p in points], marker="o")
        for name, points in curves.items()
    ]
    save_curves(lines, path, x="bytes an image", y="PSNR, dB", logarithmic="x")


def at_bytes(points: Sequence[Point], size: float) -> float:
    """PSNR of a curve at `size` bytes, linear in log bytes; NaN outside of it."""
    sizes, psnrs = zip(*sorted((p[0], p[1]) for p in points), strict=True)
    if not sizes[0] <= size <= sizes[-1]:
        return math.nan
    return float(np.interp(math.log(size), np.log(sizes), psnrs))


def nearest(curves: dict[str, list[Point]], size: float) -> list[tuple[str, Point]]:
    """Of each curve the point that is nearest to `size` bytes."""
    distance = lambda point: abs(math.log(point[0] / size))  # noqa: E731
    return [(name, min(points, key=distance)) for name, points in curves.items()]


def sheet(points: Sequence[tuple[str, Point]], test: Split) -> Callable[[Path], None]:
    """Draws the originals, below them the first images of each method."""
    rows = [to_float(test.images[:SHOWN]), *(point[2] for _, point in points)]
    return partial(save_rows, torch.stack(rows))
