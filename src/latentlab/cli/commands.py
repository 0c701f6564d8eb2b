"""What the commands of `latentlab` do; the first line of each is its help."""

from __future__ import annotations

import argparse
import io
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

if TYPE_CHECKING:
    from torch import Tensor

    from latentlab.trained import Trained


def stop(message: str) -> NoReturn:
    """One line on stderr, and exit code 2."""
    print(f"error: {' '.join(message.splitlines())}", file=sys.stderr)
    raise SystemExit(2) from None


def printable(name: str) -> str:
    """A file name on one line: control characters and broken UTF-8 as escapes."""
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in name)


def sample(args: argparse.Namespace) -> None:
    """Draw new images into one grid."""
    from latentlab.plots import save_grid

    images = _load(args).sample(args.count, seed=args.seed)
    columns = args.columns or max(1, round(args.count**0.5))
    save_grid(images, args.output, columns=columns)
    print(f"{args.count} samples of {args.model}: {args.output}")


def reconstruct(args: argparse.Namespace) -> None:
    """Originals above their reconstructions, in one picture."""
    from latentlab.plots import save_pairs

    trained = _load(args)
    names, x = _read(trained, args.images)
    x_hat = trained.reconstruct(x)
    save_pairs(x, x_hat, args.output)
    errors = (x_hat - x).square().flatten(1).sum(1)
    for name, error in zip(names, errors.tolist(), strict=True):
        print(f"{printable(name)}\tSSE {error:.3f}")
    print(f"reconstructions by {args.model}: {args.output}")


def encode(args: argparse.Namespace) -> None:
    """Codes and file names into one .npz."""
    import numpy as np

    from latentlab.files import write_atomic

    trained = _load(args)
    names, x = _read(trained, args.images)
    codes = trained.encode(x).numpy()
    content = io.BytesIO()
    np.savez(content, codes=codes, names=np.array(names))
    write_atomic(args.output, content.getvalue())
    print(f"codes {codes.shape} of {args.model}: {args.output}")


def anomalies(args: argparse.Namespace) -> None:
    """Images by their reconstruction error, the strangest first and drawn above what became of it.

    The percentage is the share of training images that the model redraws better.
    """
    from latentlab.config import find_root
    from latentlab.outliers import errors, quantiles, training_errors
    from latentlab.plots import save_pairs

    trained = _load(args)
    names, x = _read(trained, args.images)
    sse = errors(trained, x)
    above = quantiles(sse, training_errors(trained, find_root(args.project) / "data" / "prepared"))
    order = sse.argsort(descending=True, stable=True)
    for row in order.tolist():
        print(f"{printable(names[row])}\tSSE {sse[row]:.3f}\tabove {100 * above[row]:.1f} %")
    worst = x[order[: args.count]]
    save_pairs(worst, trained.reconstruct(worst), args.output)
    print(f"the {len(worst)} strangest of {len(x)} images to {args.model}: {args.output}")


def compress(args: argparse.Namespace) -> None:
    """Images into one file: a model's codes, rounded and entropy-coded. `decompress` reads it."""
    from latentlab.compression import compress as compressed
    from latentlab.files import write_atomic

    trained = _load(args)
    names, x = _read(trained, args.images)
    content = compressed(trained, x, [Path(name).stem for name in names], step=args.step)
    write_atomic(args.output, content)
    print(f"{len(x)} images in {len(content):,} bytes by {args.model}: {args.output}")


def decompress(args: argparse.Namespace) -> None:
    """The images of a file that `compress` wrote, as PNG files in a new folder."""
    from latentlab.compression import decompress as decompressed
    from latentlab.compression.files import model_of, save_images
    from latentlab.files import fresh_folder

    if args.output.exists():
        stop(f"{args.output} is there already: name a new folder")
    if args.file.exists() and not args.file.is_file():
        stop(f"{args.file} is not a regular file: name one that `latentlab compress` wrote")
    content = args.file.read_bytes()
    args.model = args.model or model_of(content)
    with fresh_folder(args.output) as folder:
        count = save_images(decompressed(content, _load(args)), folder)
    print(f"{count} images of {args.file}: {args.output}")


def results(args: argparse.Namespace) -> None:
    """The table of all results, and where the page is."""
    from latentlab.config import load_project
    from latentlab.report.results import format_table, read_results

    project = load_project(args.project)
    print(format_table(read_results(project)))
    print(f"\npage: {project.root / 'reports' / 'index.html'}")


def shard(args: argparse.Namespace) -> None:
    """Pack a folder of images (sub-folders are classes) into tar shards for data.name: shards."""
    from latentlab.data.pack import pack_folder

    manifest = pack_folder(
        args.folder,
        args.out,
        size=args.size,
        per_shard=args.per_shard,
        on_unreadable=args.on_unreadable,
    )
    size = sum(each.bytes for each in manifest.shards)
    classes = f"{len(manifest.classes)} classes" if manifest.classes else "no classes"
    skipped = f", {len(manifest.skipped)} unreadable skipped" if manifest.skipped else ""
    print(
        f"{manifest.num_images} images, {classes}{skipped}: {len(manifest.shards)} shards, "
        f"{size / 1e6:.1f} MB in {args.out}"
    )


def _load(args: argparse.Namespace) -> Trained:
    from latentlab.startup import lean

    lean()
    from latentlab import load

    return load(args.model, project=args.project, device=args.device)


def _read(trained: Trained, paths: Iterable[Path]) -> tuple[list[str], Tensor]:
    """Images of files and folders, resized and cropped as the training images were."""
    from latentlab.data.sources.folder import read_images

    return read_images(list(paths), trained.image_shape)
