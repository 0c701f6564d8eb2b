"""`python -m latentlab.tracking ui`; with `clerk`, what a stage hires."""

import sys

from latentlab.tracking import clerk, ui
from latentlab.tracking.errors import is_mistake

if __name__ == "__main__":
    if sys.argv[1:] == ["clerk"]:
        clerk.main()
        raise SystemExit
    try:
        ui.main()
    except Exception as error:
        if not is_mistake(error):
            raise
        print(f"error: {error}", file=sys.stderr)
        raise SystemExit(2) from None
