"""`latentlab`: use what was trained, pack images. It trains nothing: that is `dvc repro`.

arguments   what may be asked      commands   what is then done

Every import that costs time waits until a command needs it, so that --help answers at once.
"""

from __future__ import annotations

import io
import sys
from collections.abc import Sequence

from latentlab.cli.arguments import parser
from latentlab.cli.commands import stop


def main(argv: Sequence[str] | None = None) -> None:
    """Entry point. Exit code 2 and one line on stderr for anything the user can mend."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # a terminal that lacks a letter shows its number
            stream.reconfigure(errors="backslashreplace")
    args = parser().parse_args(argv)
    from latentlab.contracts import LatentlabError
    from latentlab.memory import of_memory

    try:
        args.run(args)
    except (LatentlabError, OSError) as error:  # OSError: an input or output that is not there
        stop(str(error))
    except (MemoryError, RuntimeError) as error:
        if not of_memory(error):
            raise  # a mistake of ours, to be seen in full
        stop("too little memory: ask for fewer images at once, or another --device")
    except KeyboardInterrupt:
        raise SystemExit(130) from None
