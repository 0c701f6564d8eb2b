"""`python -m latentlab.stages STAGE [NAME]`: one stage, in a process of its own.

Exit codes: 2 for an error that is said in one line, 3 if all is done but MLflow lacks something of
it (the same command delivers that later), 130 after Ctrl-C, 143 after SIGTERM.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from importlib import import_module

from latentlab import tracking
from latentlab.launcher import is_main_process
from latentlab.startup import lean

STAGES = ("prepare", "judge", "reference", "train", "evaluate", "tasks", "report")
TRACKED = ("train", "evaluate", "tasks")  # the stages of one model or task: NAME says which
SHARED = ("judge", "train")  # by several processes, where a launcher started them


def main() -> None:
    if len(sys.argv) < 2 or sys.argv[1] not in STAGES:
        print(f"{__doc__}\nSTAGE is one of: {', '.join(STAGES)}", file=sys.stderr)
        raise SystemExit(2)
    stage, *argv = sys.argv[1:]
    if len(argv) != (stage in TRACKED):
        wanted = "the name of a model or task" if stage in TRACKED else "nothing"
        print(f"error: {stage} takes {wanted}, got: {' '.join(argv) or 'none'}", file=sys.stderr)
        raise SystemExit(2)
    if not is_main_process() and stage not in SHARED:
        return
    if is_main_process() and stage in TRACKED:
        tracking.hire()
    lean()
    run(lambda: import_module(f"latentlab.stages.{stage}").main(argv))


def run(stage: Callable[[], None]) -> None:
    """Run a stage: a LatentlabError becomes one line on stderr and exit code 2, no traceback."""
    from latentlab.contracts import LatentlabError
    from latentlab.memory import keep_freed_memory, of_memory

    keep_freed_memory()
    try:
        stage()
    except LatentlabError as error:
        print(f"error: {error}", file=sys.stderr)
        raise SystemExit(2) from None
    except (MemoryError, RuntimeError) as error:
        if not of_memory(error):
            raise  # a mistake of ours, to be seen in full
        print(f"error: out of memory ({error}): free some, or use fewer images", file=sys.stderr)
        raise SystemExit(2) from None
    except KeyboardInterrupt:
        raise SystemExit(130) from None


if __name__ == "__main__":
    main()
