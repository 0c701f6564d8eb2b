"""The commands about a project as a whole, and for the shell: check, serve, completion."""

from __future__ import annotations

import argparse
import contextlib
import sys

from latentlab.cli.output import stop
from latentlab.utils.errors import LatentlabError
from latentlab.utils.names import counted


def check(args: argparse.Namespace) -> None:
    """Find errors in the settings, without training. Print a list of them and exit with code 2.

    Without an error, the exit code is 0. The command reads params.yaml and the configs of all
    listed models and tasks, opens your own images (of more than 2,000 files, a sample), and builds
    each model for images of their shape.
    """
    from latentlab.config import find_root, load_project
    from latentlab.config.check import check_project
    from latentlab.data.files.find import listed_once
    from latentlab.planning.image_files import check_image_files
    from latentlab.utils.imports import import_lightning_lean

    import_lightning_lean()
    root = find_root(args.project)
    with listed_once():
        report = check_project(root, args.names)
        with contextlib.suppress(LatentlabError):  # of params.yaml: it is in the report
            check_image_files(load_project(root), report)
    for problem in report.problems:
        print(f"{problem.file}: {problem.message}", file=sys.stderr)
    for note in report.notes:
        print(f"note: {note}")
    if report.problems:
        stop(f"{counted(len(report.problems), 'problem')}, {report.checked} checked")
    print(f"no problem in {report.checked}")


def serve(args: argparse.Namespace) -> None:
    """Answer requests for a model at http://127.0.0.1:PORT/invocations, until Ctrl-C.

    The model comes from its MLflow run. docs/serving.md has examples of requests.
    """
    from latentlab.config import find_root
    from latentlab.config.selection import CLASSIFIER
    from latentlab.tracking.serve import serve_model

    if args.model == CLASSIFIER:
        stop("the classifier is not logged as a model of MLflow: give a model of configs/")
    serve_model(find_root(args.project), args.model, port=args.port)


def completion(args: argparse.Namespace) -> None:
    """Print a script that completes commands, options and names of models with the Tab key.

    bash: latentlab completion bash > ~/.local/share/bash-completion/completions/latentlab
    """
    from latentlab.cli.completion import script

    print(script(args.shell))
