"""`python -m latentlab.tracking ui`. With `worker`: the background process of a stage."""

import sys

from latentlab.utils.errors import LatentlabError


def main() -> None:
    from latentlab.tracking import background, ui

    if sys.argv[1:] == ["worker"]:
        background.main()
        return
    try:
        ui.main()
    except LatentlabError as error:
        print(f"error: {error}", file=sys.stderr)
        raise SystemExit(2) from None


if __name__ == "__main__":
    main()
