"""Run the code of the project that DVC watches, not that of another copy of latentlab.

A clone of the repository is a project with its own src/latentlab, which dvc.yaml watches. DVC runs
queued experiments in a copy of the clone, with the code of the time when they were queued. Python
imports the installed latentlab there, which can be newer: the results would be kept under code that
did not make them.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

RUNNING = Path(__file__).resolve().parents[2]  # the folder that contains this package
TRIED = "LATENTLAB_OWN_CODE"  # the folder for which the process was started again


def run_own_code(module: str) -> None:
    """Start `python -m module` again with src/ of the working directory, if it has another package.

    Return if there is none, or if it is the package that runs. Exit with code 2 if Python does not
    use it.
    """
    own = Path.cwd() / "src"
    if not (own / "latentlab" / "__init__.py").is_file() or own.resolve() == RUNNING:
        return
    if os.environ.get(TRIED) == str(own):
        print(
            f"error: the code of {RUNNING} runs, but DVC watches that of {own}. Install latentlab"
            " from this folder, or put its src/ first into PYTHONPATH.",
            file=sys.stderr,
        )
        raise SystemExit(2)
    path = os.pathsep.join(filter(None, [str(own), os.environ.get("PYTHONPATH")]))
    environment = {**os.environ, "PYTHONPATH": path, TRIED: str(own)}
    os.execve(sys.executable, [sys.executable, "-m", module, *sys.argv[1:]], environment)
