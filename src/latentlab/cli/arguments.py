"""The command line of `latentlab`: commands, options and the values that they accept."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

from latentlab.cli import commands


def parser() -> argparse.ArgumentParser:
    """Return the parser. `run` of its result is the function of the chosen command."""
    parser = argparse.ArgumentParser(
        prog="latentlab",
        description="Start a project, choose what it trains, and use the trained models."
        " `latentlab repro` trains them.",
        allow_abbrev=False,
    )
    subparsers = parser.add_subparsers(required=True, metavar="COMMAND")

    def add(function: Callable[[argparse.Namespace], None], help_: str) -> argparse.ArgumentParser:
        sub = subparsers.add_parser(
            function.__name__, help=help_, description=function.__doc__, allow_abbrev=False
        )
        sub.set_defaults(run=function)
        return sub

    _add_init(add(commands.init, "write the files of a new project"))
    _add_select(add(commands.select, "choose the models and tasks that `dvc repro` runs"))
    _add_repro(add(commands.repro, "run the stages that changed, side by side"))
    _add_sample(add(commands.sample, "generate images"))
    _add_images(add(commands.reconstruct, "encode and decode images"), "reconstructions.png")
    _add_images(add(commands.encode, "write the codes of images"), "codes.npz")
    _add_anomalies(add(commands.anomalies, "rank images by reconstruction error"))
    _add_compress(add(commands.compress, "compress images into one file"))
    _add_decompress(add(commands.decompress, "read the images of such a file"))
    _add_project(add(commands.results, "print the table of results"))
    _add_shard(add(commands.shard, "pack a folder of images into tar files"))
    return parser


def _add_init(sub: argparse.ArgumentParser) -> None:
    sub.add_argument("folder", type=Path, metavar="DIR", help="folder of the project")


def _add_select(sub: argparse.ArgumentParser) -> None:
    _add_project(sub)
    sub.add_argument("names", nargs="+", metavar="NAME", help="models and tasks, or `all`")


def _add_repro(sub: argparse.ArgumentParser) -> None:
    _add_project(sub)
    sub.add_argument("targets", nargs="*", metavar="STAGE", help="stages, such as evaluate@vae")
    sub.add_argument(
        "-j", "--jobs", type=_positive, help="stages at a time (default: GPUs, else CPU cores)"
    )


def _add_sample(sub: argparse.ArgumentParser) -> None:
    _add_model(sub, "samples.png")
    sub.add_argument("-n", "--count", type=_positive, default=64, help="number of images (64)")
    sub.add_argument("--columns", type=_positive, help="columns of the grid (default: a square)")
    sub.add_argument("--seed", type=_seed, default=0, help="seed, 0 to 2^63 - 1 (0)")


def _add_images(sub: argparse.ArgumentParser, output: str) -> None:
    _add_model(sub, output)
    sub.add_argument("images", nargs="+", type=Path, help="image files, or folders of them")


def _add_anomalies(sub: argparse.ArgumentParser) -> None:
    _add_images(sub, "anomalies.png")
    sub.add_argument("-n", "--count", type=_positive, default=16, help="images in the grid (16)")


def _add_compress(sub: argparse.ArgumentParser) -> None:
    _add_images(sub, "images.latentz")
    sub.add_argument(
        "--step", type=_step, help="rounding step of the codes (default: adds 10 %% to the error)"
    )


def _add_decompress(sub: argparse.ArgumentParser) -> None:
    _add_project(sub)
    sub.add_argument("file", type=Path, help="file of `latentlab compress`")
    sub.add_argument("--model", help="path of a run folder (default: the project's, by name)")
    sub.add_argument("-o", "--output", type=Path, default=Path("images"), help="new folder")
    _add_device(sub)


def _add_shard(sub: argparse.ArgumentParser) -> None:
    sub.add_argument("folder", type=Path, help="folder of images; sub-folders are classes")
    sub.add_argument("out", type=Path, help="new folder for the tar files and manifest.json")
    sub.add_argument("--size", type=_positive, help="resize to SIZE pixels (default: unchanged)")
    sub.add_argument("--per-shard", type=_positive, default=10_000, help="images per tar (10000)")
    sub.add_argument(
        "--on-unreadable",
        choices=("error", "skip"),
        default="error",
        help="stop at an unreadable file, or skip it (error)",
    )


def _add_model(sub: argparse.ArgumentParser, output: str) -> None:
    _add_project(sub)
    sub.add_argument("model", help="name of a config, or path of a run folder")
    sub.add_argument("-o", "--output", type=Path, default=Path(output), help=f"file ({output})")
    _add_device(sub)


def _add_project(sub: argparse.ArgumentParser) -> None:
    sub.add_argument("--project", type=Path, help="folder of params.yaml (default: the nearest)")


def _add_device(sub: argparse.ArgumentParser) -> None:
    sub.add_argument("--device", default="cpu", help="cpu, cuda, cuda:1, mps (cpu)")


def _step(text: str) -> float:
    number = float(text)
    if not 0 < number < float("inf"):
        raise argparse.ArgumentTypeError(f"must be > 0, got {text}")
    return number


def _seed(text: str) -> int:
    number = int(text)
    if not 0 <= number < 2**63:
        raise argparse.ArgumentTypeError(f"must be in 0 … 2^63 - 1, got {number}")
    return number


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"must be ≥ 1, got {number}")
    return number
