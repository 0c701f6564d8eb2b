"""The `latentlab` command: start a project, choose what it trains, use the trained models.

arguments   commands and options                   values    the values that options accept
commands    init, select, shard                    project   check, serve, completion
repro       repro, and the page meanwhile          start     the lines after init
images      sample, reconstruct, encode, …         results   the table of results
compare     two models or more, side by side       export    weights, programs, a model card
output      errors in one line                 styles    bold and colours on a terminal

Slow imports are inside of the functions that need them, so that `--help` is fast.
"""

from __future__ import annotations

import errno
import io
import os
import sys
from collections.abc import Sequence

from latentlab.cli.arguments import parser
from latentlab.cli.output import stop, unknown_command

OUTPUT_ERRORS = {errno.EPIPE, errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EBADF}
CLOSED_PIPE = 141  # 128 + SIGPIPE, as a shell reports it


def main(argv: Sequence[str] | None = None) -> None:
    """Run a command. Exit with code 2 and one line on stderr for an error of the user.

    An OSError of one of OUTPUT_ERRORS that names no file is of the standard output.
    """
    _prepare_streams()
    try:
        try:
            _run(sys.argv[1:] if argv is None else list(argv))
        finally:
            sys.stdout.flush()
    except BrokenPipeError:  # the reader has closed the pipe: `latentlab results | head -1`
        _discard_output()
        raise SystemExit(CLOSED_PIPE) from None
    except OSError as error:  # `latentlab results --csv > results.csv` on a full disk
        _discard_output()
        stop(
            f"the output cannot be written ({error.strerror or error}): free disk space, or send it"
            " to another file"
        )


def _prepare_streams() -> None:
    """For a terminal without Unicode, and for closed streams: `latentlab results >&-`."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, open(os.devnull, "w"))  # noqa: SIM115  open until the end
        elif isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def _discard_output() -> None:
    """Let the last flush of Python, which would fail again, write to nothing."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _run(argv: list[str]) -> None:
    full = parser(*argv[:1])
    unknown_command(full, argv)
    args = full.parse_args(argv)
    from latentlab.utils.errors import LatentlabError
    from latentlab.utils.memory import is_out_of_memory

    try:
        args.run(args)
    except LatentlabError as error:
        stop(str(error))
    except OSError as error:
        if error.filename is None and error.errno in OUTPUT_ERRORS:
            raise
        one_file = error.filename is not None and error.filename2 is None
        stop(f"{error.filename}: {error.strerror}" if one_file else str(error))
    except (MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise  # a bug of latentlab: show the traceback
        other = "another --device" if hasattr(args, "device") else "a machine with more memory"
        stop(f"out of memory: use fewer or smaller images, or {other}")
    except KeyboardInterrupt:
        raise SystemExit(130) from None
