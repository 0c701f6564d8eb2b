"""`python -m latentlab.stages STAGE [NAME]`: run one stage of dvc.yaml.

Exit codes: 2 for an error, which is one line on stderr; 3 if the results are complete but the
MLflow run is not (the same command sends the rest later); 130 after Ctrl-C; 143 after SIGTERM.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from importlib import import_module
from pathlib import Path

from latentlab.utils.fork_client import run_in_fork
from latentlab.utils.launch import is_main_process
from latentlab.utils.own_code import run_own_code

STAGES = ("prepare", "classifier", "reference", "train", "evaluate", "tasks", "report")
NAMED = ("train", "evaluate", "tasks")  # stages of one model or task; they log to MLflow
SHARED = ("classifier", "train")  # stages that several processes of a launcher run together


def main() -> None:
    if len(sys.argv) < 2 or sys.argv[1] not in STAGES:
        print(f"{__doc__}\nSTAGE is one of: {', '.join(STAGES)}", file=sys.stderr)
        raise SystemExit(2)
    stage, *argv = sys.argv[1:]
    if len(argv) != (stage in NAMED):
        wanted = "the name of a model or task" if stage in NAMED else "nothing"
        print(f"error: {stage} takes {wanted}, got: {' '.join(argv) or 'none'}", file=sys.stderr)
        raise SystemExit(2)
    if not is_main_process() and stage not in SHARED:
        return
    from latentlab import tracking
    from latentlab.utils.imports import import_lightning_lean

    if is_main_process() and stage in NAMED:
        tracking.start_worker()
    import_lightning_lean()
    run(lambda: _run_stage(stage, argv))


def _run_stage(stage: str, argv: list[str]) -> None:
    from latentlab import __version__
    from latentlab.config.template import require_version

    require_version(Path.cwd(), __version__)
    import_module(f"latentlab.stages.{stage}").main(argv)


def run(stage: Callable[[], None]) -> None:
    """Run a stage. A LatentlabError becomes one line on stderr and exit code 2."""
    from latentlab.utils.errors import LatentlabError
    from latentlab.utils.memory import is_out_of_memory, keep_freed_memory

    keep_freed_memory()
    try:
        stage()
    except LatentlabError as error:
        print(f"error: {error}", file=sys.stderr)
        raise SystemExit(2) from None
    except (MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise  # a bug of latentlab: show the traceback
        print(f"error: out of memory ({error}): use fewer or smaller images", file=sys.stderr)
        raise SystemExit(2) from None
    except KeyboardInterrupt:
        raise SystemExit(130) from None


if __name__ == "__main__":
    run_own_code("latentlab.stages")
    run_in_fork("stages")
    main()
