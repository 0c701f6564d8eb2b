"""The `latentlab` command: start a project, choose what it trains, use the trained models.

arguments   commands and options                   values    the values that options accept
commands    init, select, shard                    project   check, serve, completion
repro       repro, and the page meanwhile          start     the lines after init
images      sample, reconstruct, encode, …         results   the table of results
compare     two models or more, side by side       export    weights, programs, a model card
output      errors in one line

Slow imports are inside of the functions that need them, so that `--help` is fast.
"""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Sequence

from latentlab.cli.arguments import parser
from latentlab.cli.output import stop, unknown_command

CLOSED_PIPE = 141  # 128 + SIGPIPE, as a shell reports it


def main(argv: Sequence[str] | None = None) -> None:
    """Run a command. Exit with code 2 and one line on stderr for an error of the user."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # for a terminal without Unicode
            stream.reconfigure(errors="backslashreplace")
    try:
        try:
            _run(sys.argv[1:] if argv is None else list(argv))
        finally:
            sys.stdout.flush()
    except BrokenPipeError:  # the reader has closed the pipe: `latentlab results | head -1`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise SystemExit(CLOSED_PIPE) from None


def _run(argv: list[str]) -> None:
    full = parser()
    unknown_command(full, argv)
    args = full.parse_args(argv)
    from latentlab.utils.errors import LatentlabError
    from latentlab.utils.memory import is_out_of_memory

    try:
        args.run(args)
    except BrokenPipeError:
        raise
    except (LatentlabError, OSError) as error:  # OSError: of an input or output file
        stop(str(error))
    except (MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise  # a bug of latentlab: show the traceback
        stop("out of memory: use fewer images, or another --device")
    except KeyboardInterrupt:
        raise SystemExit(130) from None
