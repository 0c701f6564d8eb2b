"""CPU seconds of the commands that only print, the least of several calls.

    python bench/commands.py --project . --rounds 8

The project must have results. On a terminal, `results` also marks what ties with the best. `import
torch` stands beside them: a command that imported it would take at least as long.
"""

from __future__ import annotations

import argparse
import os
import pty
import subprocess
import sys
import threading
from pathlib import Path

from tables import table_lines

from latentlab.config import load_project
from latentlab.report.comparison import read_comparison

LATENTLAB = Path(sys.executable).parent / "latentlab"


def cpu_seconds(argv: list[str | Path], folder: Path, *, terminal: bool) -> float:
    """CPU seconds of one call. Raises SystemExit if it fails."""
    screen, output = pty.openpty() if terminal else os.pipe()
    process = subprocess.Popen(argv, cwd=folder, stdout=output, stderr=output)
    os.close(output)
    reader = threading.Thread(target=_drain, args=[screen])
    reader.start()
    _, status, usage = os.wait4(process.pid, 0)
    reader.join()
    os.close(screen)
    if code := os.waitstatus_to_exitcode(status):
        raise SystemExit(f"{' '.join(map(str, argv))} ended with {code}")
    process.returncode = 0
    return usage.ru_utime + usage.ru_stime


def _drain(screen: int) -> None:
    try:
        while os.read(screen, 65536):
            pass
    except OSError:  # the end of a terminal
        pass


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--project", type=Path, default=Path(), help="folder of params.yaml")
    parser.add_argument("--rounds", type=int, default=8)
    args = parser.parse_args()
    models = [model.row.name for model in read_comparison(load_project(args.project)).models]
    if len(models) < 2:
        parser.error(f"{args.project} has results of {len(models)} models; two are needed")
    calls: dict[str, tuple[list[str | Path], bool]] = {
        "latentlab --help": ([LATENTLAB, "--help"], False),
        "latentlab completion bash": ([LATENTLAB, "completion", "bash"], False),
        "latentlab results, piped": ([LATENTLAB, "results"], False),
        "latentlab results, on a terminal": ([LATENTLAB, "results"], True),
        "latentlab compare, two models": ([LATENTLAB, "compare", *models[:2]], False),
        'python -c "import torch"': ([sys.executable, "-c", "import torch"], False),
    }
    rows = {}
    for name, (argv, terminal) in calls.items():
        seconds = [cpu_seconds(argv, args.project, terminal=terminal) for _ in range(args.rounds)]
        rows[f"`{name}`"] = {"CPU seconds": f"{min(seconds):.2f}"}
    print("\n".join(table_lines(["CPU seconds"], rows, first="command")))


if __name__ == "__main__":
    main()
