"""Which points of curves the store holds: a training that repeats steps repeats no point."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from latentlab.tracking.undelivered import Point

_CURVES = ("train/", "val/")


class Held:
    """The steps that the store holds of each curve, asked once a curve by `ask(key)`.

    A curve is a metric `train/…` or `val/…`: one point a step, the first one stays. Every other
    metric is a result, which the latest value replaces.
    """

    def __init__(self, ask: Callable[[str], Iterable[int]]) -> None:
        self._ask = ask
        self._steps: dict[str, set[int]] = {}

    def lacking(self, points: Iterable[Point]) -> list[Point]:
        """The points that the store lacks, each step of a curve once. Raises what `ask` raises."""
        chosen: dict[object, Point] = {}
        for point in points:
            key, _, _, step = point
            if not key.startswith(_CURVES):
                chosen[len(chosen)] = point
            elif step not in self._of(key):
                chosen.setdefault((key, step), point)
        return list(chosen.values())

    def add(self, points: Iterable[Point]) -> None:
        """Note what was delivered."""
        for key, _, _, step in points:
            if key.startswith(_CURVES):
                self._of(key).add(step)

    def _of(self, key: str) -> set[int]:
        if key not in self._steps:
            self._steps[key] = set(self._ask(key))
        return self._steps[key]
