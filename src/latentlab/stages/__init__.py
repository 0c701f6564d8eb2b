"""The stages of dvc.yaml, each a process of its own: thin, read top to bottom."""

from __future__ import annotations

import sys
from collections.abc import Callable

from latentlab.contracts import LatentlabError
from latentlab.memory import keep_freed_memory


def entry(main: Callable[[], None]) -> None:
    """Run a stage: a LatentlabError becomes one line on stderr and exit code 2, no traceback."""
    keep_freed_memory()
    try:
        main()
    except LatentlabError as error:
        print(f"error: {error}", file=sys.stderr)
        raise SystemExit(2) from None
    except KeyboardInterrupt:
        raise SystemExit(130) from None
