"""The commands of `latentlab`. The docstring of each is its help."""

from __future__ import annotations

import argparse
import contextlib
import io
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

if TYPE_CHECKING:
    from torch import Tensor

    from latentlab.config import Project
    from latentlab.inference.trained import TrainedModel


def stop(message: str) -> NoReturn:
    """Print one line to stderr and exit with code 2."""
    print(f"error: {' '.join(message.splitlines())}", file=sys.stderr)
    raise SystemExit(2) from None


def printable(name: str) -> str:
    """Return a file name on one line: control characters and invalid UTF-8 as escapes."""
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in name)


def init(args: argparse.Namespace) -> None:
    """Write a new project: params.yaml, dvc.yaml, configs/, requirements.txt and data/images."""
    from latentlab import __version__
    from latentlab.config.template import write_project

    write_project(args.folder, version=__version__)
    print(
        f"new project in {args.folder}. To train and compare the models of params.yaml:\n"
        f"  cd {args.folder}\n"
        "  latentlab repro"
    )


def select(args: argparse.Namespace) -> None:
    """Choose what the pipeline runs: rewrite the sections `models` and `tasks` of params.yaml.

    A task brings the model that it needs.
    """
    from latentlab.config import find_root
    from latentlab.config.selection import select as select_names

    models, tasks = select_names(find_root(args.project), args.names)
    print(f"models: {', '.join(models) or 'none'}\ntasks: {', '.join(tasks) or 'none'}")


def repro(args: argparse.Namespace) -> None:
    """Run the stages of dvc.yaml that changed, several at a time, each on one CPU thread or GPU.

    The results are those of `dvc repro` on one thread, for any number of jobs. The report page is
    written anew after each evaluation.
    """
    from latentlab.config import load_project
    from latentlab.pipeline.graph import changed_stages, read_graph
    from latentlab.pipeline.progress import Progress
    from latentlab.pipeline.scheduler import Scheduler, default_jobs, gpu_numbers

    project = load_project(args.project)
    root = project.root
    everything = read_graph(root)
    outdated = everything.with_all_users(changed_stages(root))
    graph = everything.select(args.targets or everything.needs)
    pending = outdated & set(graph.needs)
    if not pending:
        print("all stages are up to date")
        return
    devices = [] if project.hardware.accelerator == "cpu" else gpu_numbers()
    jobs = args.jobs or default_jobs(devices)
    progress = Progress(len(pending))
    scheduler = Scheduler(
        graph,
        pending,
        root=root,
        jobs=jobs,
        devices=devices,
        progress=progress,
        on_end=lambda stage: _update_page(project, stage, outdated - {*scheduler.outcome.ended}),
    )
    outcome = scheduler.run()
    if outcome.stopped_by is not None:
        print("stopped; the same command continues", file=sys.stderr)
        raise SystemExit(128 + outcome.stopped_by)
    if outcome.failed:
        skipped = f" Not run, because they need it: {', '.join(outcome.skipped)}."
        stop(f"failed: {', '.join(outcome.failed)}.{skipped if outcome.skipped else ''}")


def _update_page(project: Project, stage: str, waiting: Iterable[str]) -> None:
    """Write the page if `stage` has added results. Those of `waiting` stages are left out."""
    if not stage.startswith(("evaluate@", "tasks@")):
        return
    from latentlab.report.comparison import read_comparison
    from latentlab.report.files import write_reports
    from latentlab.utils.errors import LatentlabError

    outdated = {name for each in waiting for name in each.split("@")[1:]}
    # a file that another stage is writing now, or a full disk: stage report writes the page again
    with contextlib.suppress(LatentlabError, OSError):
        write_reports(read_comparison(project, outdated=outdated), project.root)


def sample(args: argparse.Namespace) -> None:
    """Generate images and save them as one grid."""
    from latentlab.visualization.grids import save_grid

    images = _load(args).sample(args.count, seed=args.seed)
    columns = args.columns or max(1, round(args.count**0.5))
    save_grid(images, args.output, columns=columns)
    print(f"{args.count} samples of {args.model}: {args.output}")


def reconstruct(args: argparse.Namespace) -> None:
    """Save images above their reconstructions, and print the squared error of each image."""
    from latentlab.metrics.reconstruction import squared_error
    from latentlab.visualization.grids import save_pairs

    trained = _load(args)
    names, x = _read(trained, args.images)
    x_hat = trained.reconstruct(x)
    save_pairs(x, x_hat, args.output)
    sse = squared_error(x_hat, x)
    for name, error in zip(names, sse.tolist(), strict=True):
        print(f"{printable(name)}\tSSE {error:.3f}")
    print(f"reconstructions by {args.model}: {args.output}")


def encode(args: argparse.Namespace) -> None:
    """Write the codes of images, and their file names, into one .npz file."""
    import numpy as np

    from latentlab.utils.files import write_atomic

    trained = _load(args)
    names, x = _read(trained, args.images)
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
    names, x = _read(trained, args.images)
    sse = reconstruction_errors(trained, x)
    above = empirical_cdf(
        sse, training_errors(trained, find_root(args.project) / "data" / "prepared")
    )
    order = sse.argsort(descending=True, stable=True)
    for row in order.tolist():
        print(f"{printable(names[row])}\tSSE {sse[row]:.3f}\tabove {100 * above[row]:.1f} %")
    worst = x[order[: args.count]]
    save_pairs(worst, trained.reconstruct(worst), args.output)
    print(f"{len(worst)} of {len(x)} images with the largest error of {args.model}: {args.output}")


def compress(args: argparse.Namespace) -> None:
    """Compress images into one file: their codes, rounded and entropy-coded."""
    from latentlab.inference.compression import compress as compressed
    from latentlab.utils.files import write_atomic

    trained = _load(args)
    names, x = _read(trained, args.images)
    content = compressed(trained, x, [Path(name).stem for name in names], step=args.step)
    write_atomic(args.output, content)
    print(f"{len(x)} images in {len(content):,} bytes by {args.model}: {args.output}")


def decompress(args: argparse.Namespace) -> None:
    """Read a file of `latentlab compress` and write its images as PNG files into a new folder."""
    from latentlab.inference.compression import decompress as decompressed
    from latentlab.inference.compression.files import model_name, save_images
    from latentlab.utils.files import fresh_folder

    if args.output.exists():
        stop(f"{args.output} exists already: choose a new folder")
    if args.file.exists() and not args.file.is_file():
        stop(f"{args.file} is not a regular file: give a file of `latentlab compress`")
    content = args.file.read_bytes()
    args.model = args.model or model_name(content)
    with fresh_folder(args.output) as folder:
        count = save_images(decompressed(content, _load(args)), folder)
    print(f"{count} images of {args.file}: {args.output}")


def results(args: argparse.Namespace) -> None:
    """Print the table of results and the path of the comparison page."""
    from latentlab.config import load_project
    from latentlab.report.comparison import format_table, read_comparison

    project = load_project(args.project)
    print(format_table(read_comparison(project)))
    print(f"\npage: {project.root / 'reports' / 'index.html'}")


def shard(args: argparse.Namespace) -> None:
    """Pack a folder of images into tar files, for `data.name: shards`. Sub-folders are classes."""
    from latentlab.data.shards.write import pack_folder

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


def _load(args: argparse.Namespace) -> TrainedModel:
    from latentlab.utils.imports import import_lightning_lean

    import_lightning_lean()
    from latentlab import load

    return load(args.model, project=args.project, device=args.device)


def _read(trained: TrainedModel, paths: Iterable[Path]) -> tuple[list[str], Tensor]:
    """Read images of files and folders, resized and cropped as the training images."""
    from latentlab.data.sources.folder import read_images

    return read_images(list(paths), trained.image_shape)
