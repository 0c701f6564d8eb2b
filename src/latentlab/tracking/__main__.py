"""`python -m latentlab.tracking ui`."""

import sys

from latentlab.tracking.errors import is_mistake
from latentlab.tracking.ui import main

if __name__ == "__main__":
    try:
        main()
    except Exception as error:
        if not is_mistake(error):
            raise
        print(f"error: {error}", file=sys.stderr)
        raise SystemExit(2) from None
