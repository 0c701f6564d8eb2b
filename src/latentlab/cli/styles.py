"""Bold, dim and coloured text, by the rules of rich, but without the time of its import."""

from __future__ import annotations

import os
import sys

COLOURS = {"green": "32", "yellow": "33", "blue": "34", "magenta": "35", "cyan": "36"}
CODES = {"bold": "1", "dim": "2", **COLOURS}


def has_styles() -> bool:
    """True if the output is a terminal that shows styles.

    TTY_COMPATIBLE (0 or 1) and FORCE_COLOR (empty for no) replace the test for a terminal.
    """
    if os.environ.get("TERM", "").strip().lower() in ("dumb", "unknown"):
        return False
    compatible, forced = os.environ.get("TTY_COMPATIBLE"), os.environ.get("FORCE_COLOR")
    if compatible in ("0", "1"):
        found = compatible == "1"
    elif forced is not None:
        found = forced != ""
    else:
        found = sys.stdout.isatty()
    if found and os.name == "nt":
        os.system("")  # the console of Windows then reads escape sequences
    return found


def styled(text: str, style: str) -> str:
    """Return `text` in a style such as "bold green". NO_COLOR leaves out the colours."""
    plain = bool(os.environ.get("NO_COLOR"))
    codes = [CODES[name] for name in style.split() if not (plain and name in COLOURS)]
    return f"\x1b[{';'.join(codes)}m{text}\x1b[0m" if codes else text
