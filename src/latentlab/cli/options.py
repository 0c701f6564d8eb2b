"""Options that several commands have, and how a shell completes their values."""

from __future__ import annotations

import argparse
from pathlib import Path

from latentlab.cli import values

# for the completion of shells: what shtab calls FILE and DIRECTORY, and a function of completion.py
FILES = {"bash": "_shtab_compgen_files", "zsh": "_files", "tcsh": "f"}
FOLDERS = {"bash": "_shtab_compgen_dirs", "zsh": "_files -/", "tcsh": "d"}
MODELS = {"bash": "_latentlab_models", "zsh": "_latentlab_models"}


def add_model(sub: argparse.ArgumentParser, output: str) -> None:
    add_project(sub)
    add_name(sub)
    suffix = Path(output).suffix
    sub.add_argument(
        "-o",
        "--output",
        type=values.output(suffix),
        default=Path(output),
        help=f"{suffix} file ({output})",
    )
    add_device(sub)


def add_name(sub: argparse.ArgumentParser) -> None:
    help_ = (
        "name of a config, such as vae; vae@1 for its training with seed 1; or path of a run folder"
    )
    completed(sub.add_argument("model", help=help_), MODELS)


def add_formats(sub: argparse.ArgumentParser, *names: str) -> None:
    group = sub.add_mutually_exclusive_group()
    for name in names:
        group.add_argument(
            f"--{name}", dest="form", action="store_const", const=name, help=f"print {name}"
        )
    sub.set_defaults(form="text")


def add_project(sub: argparse.ArgumentParser) -> None:
    completed(
        sub.add_argument(
            "--project",
            type=Path,
            help="folder of params.yaml (default: this folder, or the nearest above)",
        ),
        FOLDERS,
    )


def add_device(sub: argparse.ArgumentParser) -> None:
    sub.add_argument(
        "--device", default="cpu", help="cpu, cuda, cuda:1, mps, or auto for all GPUs (cpu)"
    )


def completed(action: argparse.Action, how: dict[str, str]) -> None:
    """Tell shtab how a shell completes the values of an option."""
    action.complete = how  # type: ignore[attr-defined]
