"""The stages of dvc.yaml, each a process of its own: thin, read top to bottom."""

from __future__ import annotations

import sys
from collections.abc import Callable

from latentlab.contracts import LatentlabError
from latentlab.launcher import is_main_process
from latentlab.memory import keep_freed_memory


def entry(main: Callable[[], None], *, alone: bool = False) -> None:
    """Run a stage: a LatentlabError becomes one line on stderr and exit code 2, no traceback.

    A stage that works `alone` is left to the first of the processes that a launcher started.
    """
    if alone and not is_main_process():
        return
    keep_freed_memory()
    try:
        main()
    except LatentlabError as error:
        print(f"error: {error}", file=sys.stderr)
        raise SystemExit(2) from None
    except KeyboardInterrupt:
        raise SystemExit(130) from None
