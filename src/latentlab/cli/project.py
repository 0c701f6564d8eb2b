"""The commands about a project as a whole, and for the shell: check, serve, completion."""

from __future__ import annotations

import argparse
import sys

from latentlab.cli.output import stop


def check(args: argparse.Namespace) -> None:
    """Find what cannot work in the settings, without training: exit code 0, or 2 with a list.

    It reads params.yaml and the configs of all listed models and tasks, looks at the data, and
    builds each model for images of their shape.
    """
    from latentlab.config import find_root
    from latentlab.config.check import check_project
    from latentlab.utils.imports import import_lightning_lean

    import_lightning_lean()
    report = check_project(find_root(args.project), args.names)
    for problem in report.problems:
        print(f"{problem.file}: {problem.message}", file=sys.stderr)
    for note in report.notes:
        print(f"note: {note}")
    if report.problems:
        one = len(report.problems) == 1
        stop(f"{len(report.problems)} problem{'' if one else 's'}, {report.checked} checked")
    print(f"no problem in {report.checked}")


def serve(args: argparse.Namespace) -> None:
    """Answer requests for a model at http://127.0.0.1:PORT/invocations, until Ctrl-C.

    The model is that of its MLflow run. docs/serving.md has examples of requests.
    """
    from latentlab.config import find_root
    from latentlab.tracking.serve import serve_model

    serve_model(find_root(args.project), args.model, port=args.port)


def completion(args: argparse.Namespace) -> None:
    """Print a script that completes commands, options and names of models with the Tab key.

    bash: latentlab completion bash > ~/.local/share/bash-completion/completions/latentlab
    """
    from latentlab.cli.completion import script

    print(script(args.shell))
