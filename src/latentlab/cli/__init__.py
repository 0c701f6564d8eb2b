"""The `latentlab` command: start a project, choose what it trains, use the trained models.

arguments   commands and options      commands   the function of each command

Slow imports are inside of the functions that need them, so that `--help` is fast.
"""

from __future__ import annotations

import io
import sys
from collections.abc import Sequence

from latentlab.cli.arguments import parser
from latentlab.cli.commands import stop


def main(argv: Sequence[str] | None = None) -> None:
    """Run a command. Exit with code 2 and one line on stderr for an error of the user."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # for a terminal without Unicode
            stream.reconfigure(errors="backslashreplace")
    args = parser().parse_args(argv)
    from latentlab.utils.errors import LatentlabError
    from latentlab.utils.memory import is_out_of_memory

    try:
        args.run(args)
    except (LatentlabError, OSError) as error:  # OSError: of an input or output file
        stop(str(error))
    except (MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise  # a bug of latentlab: show the traceback
        stop("out of memory: use fewer images, or another --device")
    except KeyboardInterrupt:
        raise SystemExit(130) from None
