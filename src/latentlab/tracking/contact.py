"""Whether the store answers: asked with patience, and never to the harm of who asks."""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Callable
from typing import Any

from latentlab.tracking.store import failures, short


class Contact:
    """Attempts what needs the store. One warning a loss of contact; no failure stops the caller.

    After a failure that took t seconds, nothing is tried for 10 t: a server that swallows requests
    slows a training by a tenth at most.
    """

    def __init__(self) -> None:
        self._lost = False
        self._quiet_until = -math.inf  # time.monotonic()

    def attempt(self, what: str, action: Callable[[], Any], otherwise: str) -> bool:
        """Run `action`; True if the store took it. `otherwise`: what else becomes of `what`."""
        start = time.monotonic()
        if start < self._quiet_until:
            return False
        try:
            action()
        except failures() as error:
            now = time.monotonic()
            self._quiet_until = now + 10 * (now - start)
            if not self._lost:
                print(
                    f"warning: MLflow did not take {what}: {otherwise} ({short(error)})",
                    file=sys.stderr,
                )
            self._lost = True
            return False
        self._lost = False
        return True

    def insist(self) -> None:
        """Ask at the next attempt, however short ago the store failed."""
        self._quiet_until = -math.inf
