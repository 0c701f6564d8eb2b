"""The command line of `latentlab`: commands, options and the values that they accept."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from functools import partial
from pathlib import Path

from latentlab import __version__
from latentlab.cli import commands, compare, export, images, project, repro, results, values
from latentlab.cli.options import (
    FILES,
    FOLDERS,
    MODELS,
    add_device,
    add_formats,
    add_model,
    add_name,
    add_project,
    completed,
)

FAMILIES = ("AE", "VAE", "GAN", "Diffusion")


def parser(command: str | None = None) -> argparse.ArgumentParser:
    """Return the parser. `run` of its result is the function of the chosen command.

    `command`: only this command gets its options, which saves time; None: all commands get them.
    """
    parser = argparse.ArgumentParser(
        prog="latentlab",
        description="Start a project, choose what it trains, and use the trained models."
        " `latentlab repro` trains them.",
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"latentlab {__version__}")
    subparsers = parser.add_subparsers(required=True, metavar="COMMAND")

    def add(
        function: Callable[[argparse.Namespace], None],
        help_: str,
        add_options: Callable[[argparse.ArgumentParser], None],
    ) -> None:
        sub = subparsers.add_parser(
            function.__name__, help=help_, description=function.__doc__, allow_abbrev=False
        )
        sub.set_defaults(run=function)
        if command in (None, function.__name__):
            add_options(sub)

    add(commands.init, "write the files of a new project", _add_init)
    add(commands.select, "choose the models and tasks that `dvc repro` runs", _add_select)
    add(project.check, "find what cannot work in the settings, without training", _add_check)
    add(repro.repro, "run the stages that changed, side by side", _add_repro)
    add(results.results, "print the table of results", _add_results)
    add(compare.compare, "print the metrics of some models and their differences", _add_compare)
    add(images.sample, "generate images", _add_sample)
    add(
        images.reconstruct,
        "encode and decode images",
        partial(_add_images, output="reconstructions.png"),
    )
    add(images.encode, "write the codes of images", partial(_add_images, output="codes.npz"))
    add(images.anomalies, "rank images by reconstruction error", _add_anomalies)
    add(images.compress, "compress images into one file", _add_compress)
    add(images.decompress, "write the images of a compressed file", _add_decompress)
    add(export.export, "write weights or programs, and a model card", _add_export)
    add(project.serve, "answer requests for a model over HTTP", _add_serve)
    add(commands.shard, "pack a folder of images into tar files", _add_shard)
    add(project.completion, "print a completion script for a shell", _add_completion)
    return parser


def _add_init(sub: argparse.ArgumentParser) -> None:
    completed(
        sub.add_argument(
            "folder", type=values.folder, metavar="DIR", nargs="?", help="folder of the project"
        ),
        FOLDERS,
    )
    completed(
        sub.add_argument(
            "--images",
            type=Path,
            metavar="FOLDER",
            help="your images, or a zip or tar of them; not copied",
        ),
        FILES,
    )
    sub.add_argument("--goal", help="what for; chooses models, tasks and columns (see --list)")
    sub.add_argument(
        "--minutes", type=float, metavar="M", help="time for everything; shortens trainings"
    )
    sub.add_argument("--size", type=int, metavar="PIXELS", help="of the images (default: theirs)")
    sub.add_argument("--channels", type=int, choices=(1, 3), help="1 grey, 3 colour")
    sub.add_argument("--seeds", type=int, metavar="N", help="trainings of each model (1)")
    sub.add_argument("--list", action="store_true", help="print the goals and their models")


def _add_select(sub: argparse.ArgumentParser) -> None:
    add_project(sub)
    completed(
        sub.add_argument("names", nargs="+", metavar="NAME", help="models and tasks, or `all`"),
        MODELS,
    )


def _add_check(sub: argparse.ArgumentParser) -> None:
    add_project(sub)
    completed(
        sub.add_argument(
            "names", nargs="*", metavar="NAME", help="models and tasks (default: the listed ones)"
        ),
        MODELS,
    )


def _add_repro(sub: argparse.ArgumentParser) -> None:
    add_project(sub)
    sub.add_argument("targets", nargs="*", metavar="STAGE", help="stages, such as evaluate@vae")
    sub.add_argument(
        "-j",
        "--jobs",
        type=values.positive,
        help="stages at the same time (default: number of GPUs, without GPU of CPU cores)",
    )
    sub.add_argument("--open", action="store_true", help="show the page in the browser")
    sub.add_argument(
        "--executor",
        choices=("slurm", "local"),
        help="submit each stage as a job of SLURM; `local` tests this on one machine",
    )


def _add_results(sub: argparse.ArgumentParser) -> None:
    add_project(sub)
    sub.add_argument(
        "--sort", metavar="KEY", help="a metric, such as fid (the best first), or name"
    )
    sub.add_argument("--family", choices=FAMILIES, help="only the models of this family")
    sub.add_argument(
        "--baselines",
        action="store_true",
        help="show PCA with every code size, not only the three most frequent ones",
    )
    add_formats(sub, "json", "markdown", "csv")


def _add_compare(sub: argparse.ArgumentParser) -> None:
    add_project(sub)
    completed(
        sub.add_argument("names", nargs="+", metavar="MODEL", help="two models or more"), MODELS
    )
    add_formats(sub, "json", "markdown", "latex")


def _add_sample(sub: argparse.ArgumentParser) -> None:
    add_model(sub, "samples.png")
    sub.add_argument(
        "-n", "--count", type=values.positive, default=64, help="number of images (64)"
    )
    sub.add_argument(
        "--class",
        dest="classes",
        action="append",
        metavar="CLASS",
        help="name or index of a class, for class-conditional models; repeat it for several",
    )
    sub.add_argument(
        "--columns", type=values.positive, help="columns of the grid (default: a square)"
    )
    sub.add_argument("--seed", type=values.seed, default=0, help="seed, 0 to 2^63 - 1 (0)")


def _add_images(sub: argparse.ArgumentParser, output: str) -> None:
    add_model(sub, output)
    completed(
        sub.add_argument("images", nargs="+", type=Path, help="image files, or folders of them"),
        FILES,
    )


def _add_anomalies(sub: argparse.ArgumentParser) -> None:
    _add_images(sub, "anomalies.png")
    sub.add_argument(
        "-n", "--count", type=values.positive, default=16, help="images in the grid (16)"
    )


def _add_compress(sub: argparse.ArgumentParser) -> None:
    _add_images(sub, "images.latentz")
    sub.add_argument(
        "--step",
        type=values.step,
        help="rounding step of the codes (default: adds 10 %% to the error)",
    )


def _add_decompress(sub: argparse.ArgumentParser) -> None:
    add_project(sub)
    completed(sub.add_argument("file", type=Path, help="file of `latentlab compress`"), FILES)
    sub.add_argument("--model", help="path of a run folder (default: the project's, by name)")
    sub.add_argument("-o", "--output", type=Path, default=Path("images"), help="new folder")
    add_device(sub)


def _add_export(sub: argparse.ArgumentParser) -> None:
    add_project(sub)
    add_name(sub)
    sub.add_argument(
        "--format",
        choices=export.FORMATS,
        default=export.FORMATS[0],
        help=f"what to write ({export.FORMATS[0]})",
    )
    completed(
        sub.add_argument("-o", "--output", type=Path, help="new folder (default: export/MODEL)"),
        FOLDERS,
    )


def _add_serve(sub: argparse.ArgumentParser) -> None:
    add_project(sub)
    add_name(sub)
    sub.add_argument("--port", type=values.port, default=5001, help="port on 127.0.0.1 (5001)")


def _add_shard(sub: argparse.ArgumentParser) -> None:
    sub.add_argument("folder", type=Path, help="folder of images; sub-folders are classes")
    sub.add_argument("out", type=Path, help="new folder for the tar files and manifest.json")
    sub.add_argument(
        "--size", type=values.positive, help="resize to SIZE pixels (default: unchanged)"
    )
    sub.add_argument(
        "--per-shard", type=values.positive, default=10_000, help="images per tar (10000)"
    )
    sub.add_argument(
        "--on-unreadable",
        choices=("error", "skip"),
        default="error",
        help="stop at an unreadable file, or skip it (error)",
    )


def _add_completion(sub: argparse.ArgumentParser) -> None:
    sub.add_argument("shell", choices=("bash", "zsh", "tcsh"))
