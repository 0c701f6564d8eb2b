"""How long a stage takes: as in its last run here, else as `usual_seconds.json` has it.

`python bench/costs.py --write` writes that file after a `make repro` on an idle machine. Only the
ratios count: in the first run of a project they order the stages, so that no long training is left
for the end.
"""

from __future__ import annotations

import contextlib
import json
from functools import cache
from pathlib import Path
from statistics import median

from latentlab.utils.files import write_atomic

PLACE = ".checkpoints/repro/seconds.json"  # in a project; git and DVC ignore it
USUAL = Path(__file__).with_name("usual_seconds.json")


class Durations:
    """Seconds of each stage when it ran last, from a JSON file; a usual value for new stages."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.known: dict[str, float] = {}
        with contextlib.suppress(OSError, ValueError, TypeError, AttributeError):
            content = json.loads(path.read_text())
            self.known = {str(stage): float(seconds) for stage, seconds in content.items()}

    def __getitem__(self, stage: str) -> float:
        if stage in self.known:
            return self.known[stage]
        kind, _, item = stage.partition("@")
        if kind.endswith("_seed"):  # as the first training of the model
            return self[f"{kind.removesuffix('_seed')}@{item.rpartition('-')[0]}"]
        return usual_seconds(stage)

    def note(self, stage: str, seconds: float) -> None:
        """Store the seconds of a stage. They are an estimate only: a full disk is no error."""
        self.known[stage] = round(seconds, 2)
        with contextlib.suppress(OSError):
            write_atomic(self.path, json.dumps(self.known).encode())


def usual_seconds(stage: str) -> float:
    """Seconds of a stage in USUAL; for a stage that is not there, the median of its kind."""
    usual, kind = _usual(), stage.partition("@")[0]
    alike = [value for name, value in usual.items() if name.partition("@")[0] == kind]
    return usual.get(stage, median(alike or usual.values()))


@cache
def _usual() -> dict[str, float]:
    content: dict[str, float] = json.loads(USUAL.read_text())
    return content
