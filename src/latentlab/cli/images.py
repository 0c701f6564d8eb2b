"""The commands that use a trained model on images. The docstring of each is its help."""

from __future__ import annotations

import argparse
import io
from pathlib import Path
from typing import TYPE_CHECKING

from latentlab.cli.output import printable, require_writable, stop
from latentlab.utils.names import counted

if TYPE_CHECKING:
    from torch import Tensor

    from latentlab.inference.trained import TrainedModel


def sample(args: argparse.Namespace) -> None:
    """Generate images and save them as one grid.

    A class-conditional model generates images of a class: --class 3, --class 3 --class 7 (in turn,
    one column each), or --class all.
    """
    from latentlab.visualization.grids import save_grid

    trained = _load(args)
    classes = args.classes
    if trained.is_conditional and "all" in (classes or ()) and "all" not in (trained.classes or ()):
        if len(classes) > 1:
            stop("--class all stands for every class: give it without other classes")
        classes = list(range(trained.module.num_classes))
    images = trained.sample(args.count, seed=args.seed, classes=classes)
    several = len(classes) if classes and len(classes) > 1 else None
    columns = args.columns or several or max(1, round(args.count**0.5))
    save_grid(images, args.output, columns=columns)
    print(f"{counted(args.count, 'sample')} of {args.model}: {args.output}")


def reconstruct(args: argparse.Namespace) -> None:
    """Save images above their reconstructions, and print the squared error of each image."""
    from latentlab.metrics.reconstruction import squared_error
    from latentlab.visualization.grids import save_pairs

    trained = _load(args)
    names, x = _read(trained, args)
    x_hat = trained.reconstruct(x)
    save_pairs(x, x_hat, args.output)
    sse = squared_error(x_hat, x)
    for name, error in zip(names, sse.tolist(), strict=True):
        print(f"{printable(name)}\tSSE {error:.3f}")
    print(f"reconstructions by {args.model}: {args.output}")


def encode(args: argparse.Namespace) -> None:
    """Write the latent codes of images, and their file names, into one .npz file."""
    import numpy as np

    from latentlab.utils.files import write_atomic

    trained = _load(args)
    names, x = _read(trained, args)
    codes = trained.encode(x).numpy()
    content = io.BytesIO()
    np.savez(content, codes=codes, names=np.array(names))
    write_atomic(args.output, content.getvalue())
    print(f"codes {codes.shape} of {args.model}: {args.output}")


def anomalies(args: argparse.Namespace) -> None:
    """Print images by their reconstruction error, the largest first, and save the first of them.

    The percentage is the fraction of training images with a smaller error. The grid has images
    above their reconstructions.
    """
    from latentlab.config import find_root
    from latentlab.inference.anomaly import empirical_cdf, reconstruction_errors, training_errors
    from latentlab.visualization.grids import save_pairs

    trained = _load(args)
    names, x = _read(trained, args)
    sse = reconstruction_errors(trained, x)
    above = empirical_cdf(
        sse, training_errors(trained, find_root(args.project) / "data" / "prepared")
    )
    order = sse.argsort(descending=True, stable=True)
    for row in order.tolist():
        print(f"{printable(names[row])}\tSSE {sse[row]:.3f}\tabove {100 * above[row]:.1f} %")
    worst = x[order[: args.count]]
    save_pairs(worst, trained.reconstruct(worst), args.output)
    images = counted(len(x), "image")
    print(f"{len(worst)} of {images} with the largest error of {args.model}: {args.output}")


def compress(args: argparse.Namespace) -> None:
    """Compress images into one file: their codes, rounded and entropy-coded."""
    from latentlab.inference.compression import compress as compressed
    from latentlab.utils.files import write_atomic

    trained = _load(args)
    names, x = _read(trained, args)
    content = compressed(trained, x, [Path(name).stem for name in names], step=args.step)
    write_atomic(args.output, content)
    print(f"{counted(len(x), 'image')} in {len(content):,} bytes by {args.model}: {args.output}")


def decompress(args: argparse.Namespace) -> None:
    """Read a file of `latentlab compress` and write its images as PNG files into a new folder."""
    from latentlab.inference.compression import decompress as decompressed
    from latentlab.inference.compression.files import model_name, save_images
    from latentlab.utils.files import fresh_folder

    require_writable(args.output, is_folder=True, is_new=True)
    if args.file.exists() and not args.file.is_file():
        stop(f"{args.file} is not a regular file: give a file of `latentlab compress`")
    content = args.file.read_bytes()
    args.model = args.model or model_name(content)
    with fresh_folder(args.output) as folder:
        count = save_images(decompressed(content, _load(args)), folder)
    print(f"{counted(count, 'image')} of {args.file}: {args.output}")


def _load(args: argparse.Namespace) -> TrainedModel:
    if args.output.suffix:  # not the folder of `decompress`
        require_writable(args.output)
    from latentlab.utils.imports import import_lightning_lean

    import_lightning_lean()
    from latentlab import load

    return load(args.model, project=args.project, device=args.device)


def _read(trained: TrainedModel, args: argparse.Namespace) -> tuple[list[str], Tensor]:
    """Read images of files and folders, resized and cropped as the training images.

    Ends the program if the output would replace one of them.
    """
    from latentlab.data.reading import read_images

    output = args.output.resolve()
    if output.is_file() and any(output.is_relative_to(path.resolve()) for path in args.images):
        stop(f"{args.output} is one of the images, and would be replaced: choose another --output")
    return read_images(list(args.images), trained.image_shape, trained.pixel_settings)
