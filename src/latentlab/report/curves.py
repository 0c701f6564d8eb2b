"""Training curves as inline SVG. The colors come from the page."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from html import escape

Point = tuple[float, float]  # (step, value)
History = Mapping[str, Sequence[Point]]  # "split/quantity" → points
Scale = Callable[[float], float]  # value → pixels

WIDTH, HEIGHT = 320, 190
LEFT, RIGHT, TOP, BOTTOM = 46, 40, 26, 36
MAX_POINTS, MAX_TIPS = 400, 40
MAX_MARKED_POINTS = 12  # a curve with at most so many points has a dot at each
MIN_LABEL_DISTANCE = 11  # px


@dataclass(frozen=True)
class Panel:
    """The chart of one quantity. `x_of`, `y_of`: step and value → pixels. `unit`: of the steps."""

    quantity: str
    unit: str
    x_of: Scale
    y_of: Scale


def curves_svg(history: History, *, unit: str = "training images") -> str:
    """Plot training curves as inline SVG, one panel for each quantity.

    `history`: "split/quantity" → [(step, value), …]. The splits of a quantity are in one panel. The
    value axis is logarithmic if all values are positive and cover more than two decades. Values
    that are not finite are not plotted; the title has their number. CSS classes for the page:
    `line`, `train`, `val`, `axis`, `tick`, `name`.
    """
    quantities: dict[str, dict[str, list[Point]]] = {}
    for key, series in history.items():
        split, _, quantity = key.rpartition("/")
        quantities.setdefault(quantity, {})[split] = sorted(series)
    panels = "".join(_panel(quantity, lines, unit) for quantity, lines in quantities.items())
    return f'<div class="curves">{panels}</div>'


def _panel(quantity: str, lines: Mapping[str, Sequence[Point]], unit: str) -> str:
    finite = {
        split: [(x, y) for x, y in series if math.isfinite(x) and math.isfinite(y)]
        for split, series in lines.items()
    }
    missing = sum(len(lines[split]) - len(finite[split]) for split in lines)
    title = escape(quantity.replace("_", " ")) + (f" ({missing} not finite)" if missing else "")
    opening = (
        f'<svg class="curve" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" '
        f'aria-label="{title} against {escape(unit)}">'
        f'<text class="name" x="{LEFT}" y="14">{title}</text>'
    )
    xs = [x for series in finite.values() for x, _ in series]
    ys = [y for series in finite.values() for _, y in series]
    if not ys:
        return opening + f'<text class="tick" x="{LEFT}" y="60">no finite values</text></svg>'
    log = min(ys) > 0 and max(ys) / min(ys) > 100
    x_ticks, x_of = _axis(0 if min(xs) >= 0 else min(xs), max(xs), LEFT, WIDTH - RIGHT)
    y_ticks, y_of = _axis(min(ys), max(ys), HEIGHT - BOTTOM, TOP, log=log, margin=0.04)
    panel = Panel(quantity, unit, x_of, y_of)
    axes = _y_axis(y_ticks, y_of) + _x_axis(x_ticks, x_of, f"{unit}{' · log scale' if log else ''}")
    label_heights: list[float] = []
    curves = "".join(_curve(panel, split, s, label_heights) for split, s in finite.items() if s)
    return f"{opening}{axes}{curves}</svg>"


def _y_axis(ticks: Sequence[float], y_of: Scale) -> str:
    """A horizontal line and a label for each tick."""
    parts = []
    for tick in ticks:
        y = y_of(tick)
        parts.append(f'<path class="grid" d="M{LEFT} {y:.1f}H{WIDTH - RIGHT}"/>')
        parts.append(
            f'<text class="tick" text-anchor="end" x="{LEFT - 6}" y="{y + 3:.1f}">'
            f"{compact(tick)}</text>"
        )
    return "".join(parts)


def _x_axis(ticks: Sequence[float], x_of: Scale, title: str) -> str:
    bottom = HEIGHT - BOTTOM
    parts = [f'<path class="axis" d="M{LEFT} {bottom}H{WIDTH - RIGHT}"/>']
    for tick in ticks:
        parts.append(
            f'<text class="tick" text-anchor="middle" x="{x_of(tick):.1f}" y="{bottom + 14}">'
            f"{compact(tick)}</text>"
        )
    parts.append(
        f'<text class="tick unit" text-anchor="middle" x="{(LEFT + WIDTH - RIGHT) / 2:.0f}" '
        f'y="{HEIGHT - 6}">{escape(title)}</text>'
    )
    return "".join(parts)


def _curve(panel: Panel, split: str, series: Sequence[Point], label_heights: list[float]) -> str:
    """The line of one split, tooltips at some points, and the name of the split at its end.

    `label_heights`: heights of the names in the panel; the height of this name is appended.
    """
    css, name = escape(split or "only"), escape(split)
    plotted = _thin(series, MAX_POINTS)
    path = "L".join(f"{panel.x_of(x):.1f} {panel.y_of(y):.1f}" for x, y in plotted)
    parts = [f'<path class="line {css}" fill="none" stroke="currentColor" d="M{path}"/>']
    for x, y in _thin(series, MAX_TIPS):
        at = f'cx="{panel.x_of(x):.1f}" cy="{panel.y_of(y):.1f}"'
        if len(series) <= MAX_MARKED_POINTS:
            parts.append(f'<circle class="dot {css}" {at} r="2.2" fill="currentColor"/>')
        quantity, unit = escape(panel.quantity), escape(panel.unit)
        tip = f"{name} {quantity} {y:.6g} at {x:,.0f} {unit}".strip()
        parts.append(f'<circle class="hit" {at} r="7" fill="transparent"><title>{tip}</title>')
        parts.append("</circle>")
    x, y = series[-1]
    height = _free_height(panel.y_of(y), label_heights)
    label_heights.append(height)
    position = f'x="{panel.x_of(x) + 6:.1f}" y="{height + 3.5:.1f}"'
    parts.append(f'<text class="end {css}" fill="currentColor" {position}>{name}</text>')
    return "".join(parts)


def _free_height(height: float, used: Sequence[float]) -> float:
    """The nearest height, upwards, that is not too close to a used one."""
    while any(abs(height - other) < MIN_LABEL_DISTANCE for other in used):
        height -= 1
    return height


def _thin(series: Sequence[Point], max_points: int) -> Sequence[Point]:
    """At most `max_points` points, evenly spaced, with the first and the last."""
    if len(series) <= max_points:
        return series
    last = len(series) - 1
    return [series[round(i * last / (max_points - 1))] for i in range(max_points)]


def _axis(
    low: float, high: float, start: float, stop: float, *, log: bool = False, margin: float = 0.0
) -> tuple[list[float], Scale]:
    """Ticks in [low, high], and the function from values to pixels: low → start, high → stop.

    `margin`: free space at both ends, as a fraction of high − low.
    """
    if log:
        first, last = math.log10(low), math.log10(high)
        interval = max(1, math.ceil((last - first) / 4))
        ticks = [10.0**e for e in range(math.ceil(first - 1e-9), math.floor(last + 1e-9) + 1)]
        ticks = ticks[::interval]
    else:
        if high <= low:
            half = abs(low) * 0.1 or 0.5
            low, high = low - half, high + half
        first, last = low, high
        ticks = _round_numbers(low, high)
    length = last - first
    first, last = first - margin * length, last + margin * length

    def to_pixels(value: float) -> float:
        position = math.log10(value) if log else value
        return start + (position - first) / (last - first) * (stop - start)

    return ticks, to_pixels


def _round_numbers(low: float, high: float) -> list[float]:
    """Three to six multiples of 1, 2 or 5 times a power of ten, in [low, high]."""
    rough = (high - low) / 4
    power = 10.0 ** math.floor(math.log10(rough))
    step = power * min((1, 2, 5, 10), key=lambda m: abs(m - rough / power))
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [i * step for i in range(first, last + 1)]


def compact(value: float) -> str:
    """A short number: 0.25, 1500, 20k, 3.1M. The minus sign is −."""
    for size, letter in ((1e9, "G"), (1e6, "M"), (1e4, "k")):
        if abs(value) >= size:
            unit = 1e3 if letter == "k" else size
            return f"{value / unit:.3g}{letter}".replace("-", "−")
    return f"{value:.4g}".replace("-", "−")
