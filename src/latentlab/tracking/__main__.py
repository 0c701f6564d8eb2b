"""`python -m latentlab.tracking ui`. With `worker`: the background process of a stage."""

import sys

from latentlab.tracking import background, ui
from latentlab.utils.errors import LatentlabError

if __name__ == "__main__":
    if sys.argv[1:] == ["worker"]:
        background.main()
        raise SystemExit
    try:
        ui.main()
    except LatentlabError as error:
        print(f"error: {error}", file=sys.stderr)
        raise SystemExit(2) from None
