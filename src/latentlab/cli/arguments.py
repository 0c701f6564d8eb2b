"""The command line of `latentlab`: commands, options, and which numbers they take."""

from __future__ import annotations

import argparse
from pathlib import Path

from latentlab.cli.commands import (
    anomalies,
    compress,
    decompress,
    encode,
    reconstruct,
    results,
    sample,
    shard,
)


def parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="latentlab", description="Use what `dvc repro` trained.", allow_abbrev=False
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    def command(function, help_: str, output: str | None) -> argparse.ArgumentParser:  # type: ignore[no-untyped-def]
        sub = commands.add_parser(function.__name__, help=help_, description=function.__doc__)
        sub.set_defaults(run=function)
        sub.add_argument("--project", type=Path, help="folder of params.yaml (default: nearest)")
        if output:
            sub.add_argument("model", help="a name from configs/, or the path of a run folder")
            sub.add_argument("-o", "--output", type=Path, default=Path(output), help=output)
            sub.add_argument("--device", default="cpu", help="cpu, cuda, cuda:1, mps")
        return sub

    new = command(sample, "draw new images", "samples.png")
    new.add_argument("-n", "--count", type=_positive, default=64, help="how many (64)")
    new.add_argument("--columns", type=_positive, help="of the grid (default: about square)")
    new.add_argument("--seed", type=_seed, default=0, help="of the draws, 0 … 2^63 − 1 (0)")
    for function, help_, output in (
        (reconstruct, "encode and decode images", "reconstructions.png"),
        (encode, "images to codes", "codes.npz"),
        (anomalies, "which images are strange to a model", "anomalies.png"),
        (compress, "images to one small file", "images.latentz"),
    ):
        sub = command(function, help_, output)
        sub.add_argument("images", nargs="+", type=Path, help="image files or folders of them")
        if function is anomalies:
            sub.add_argument("-n", "--count", type=_positive, default=16, help="drawn (16)")
        if function is compress:
            sub.add_argument("--step", type=_step, help="of rounding (default: it costs a tenth)")
    _add_decompress(command(decompress, "images of a file of compress", None))
    command(results, "print the table of results", None)
    _add_shard(
        commands.add_parser("shard", help="pack images into tars", description=shard.__doc__)
    )
    return parser


def _add_shard(sub: argparse.ArgumentParser) -> None:
    sub.set_defaults(run=shard)
    sub.add_argument("folder", type=Path, help="of the images")
    sub.add_argument("out", type=Path, help="new folder for the shards and manifest.json")
    sub.add_argument("--size", type=_positive, help="scale to SIZE pixels (default: files as is)")
    sub.add_argument("--per-shard", type=_positive, default=10_000, help="images a tar (10000)")
    sub.add_argument("--on-unreadable", choices=("stop", "skip"), default="stop")


def _add_decompress(sub: argparse.ArgumentParser) -> None:
    sub.add_argument("file", type=Path, help="that `latentlab compress` wrote")
    sub.add_argument("--model", help="path of a run folder (default: the project's, by name)")
    sub.add_argument("-o", "--output", type=Path, default=Path("images"), help="new folder")
    sub.add_argument("--device", default="cpu", help="cpu, cuda, cuda:1, mps")


def _step(text: str) -> float:
    number = float(text)
    if not 0 < number < float("inf"):
        raise argparse.ArgumentTypeError(f"must be positive, got {text}")
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
