"""Training curves as inline SVG, coloured by the page they stand on."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

History = Mapping[str, Sequence[tuple[float, float]]]

WIDTH, HEIGHT = 320, 190
LEFT, RIGHT, TOP, BOTTOM = 46, 40, 26, 36
MAX_POINTS, MAX_TIPS = 400, 40


def curves_svg(history: History, *, unit: str = "images seen") -> str:
    """Draw training curves as inline SVG, one small box per quantity.

    `history` maps "split/quantity" to [(step, value), …]; the splits of one quantity share a box.
    `unit` names the steps. The value axis is logarithmic when all values are positive and span more
    than two decades. Values that are not finite leave no mark but are counted in the title. Colours
    come from the page: classes `line`, `train`, `val`, `axis`, `tick`, `name`.
    """
    boxes: dict[str, dict[str, list[tuple[float, float]]]] = {}
    for key, series in history.items():
        split, _, quantity = key.rpartition("/")
        boxes.setdefault(quantity, {})[split] = sorted(series)
    drawn = "".join(_box(quantity, lines, unit) for quantity, lines in boxes.items())
    return f'<div class="curves">{drawn}</div>'


def _box(quantity: str, lines: dict[str, list[tuple[float, float]]], unit: str) -> str:
    finite = {
        split: [(x, y) for x, y in series if math.isfinite(x) and math.isfinite(y)]
        for split, series in lines.items()
    }
    lost = sum(len(lines[split]) - len(finite[split]) for split in lines)
    title = escape(quantity.replace("_", " ")) + (f" ({lost} not finite)" if lost else "")
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
    y_ticks, y_of = _axis(min(ys), max(ys), HEIGHT - BOTTOM, TOP, log=log, slack=0.04)
    parts = [opening]
    for tick in y_ticks:
        y = y_of(tick)
        parts.append(f'<path class="grid" d="M{LEFT} {y:.1f}H{WIDTH - RIGHT}"/>')
        parts.append(
            f'<text class="tick" text-anchor="end" x="{LEFT - 6}" y="{y + 3:.1f}">'
            f"{compact(tick)}</text>"
        )
    floor = HEIGHT - BOTTOM
    parts.append(f'<path class="axis" d="M{LEFT} {floor}H{WIDTH - RIGHT}"/>')
    for tick in x_ticks:
        parts.append(
            f'<text class="tick" text-anchor="middle" x="{x_of(tick):.1f}" y="{floor + 14}">'
            f"{compact(tick)}</text>"
        )
    parts.append(
        f'<text class="tick unit" text-anchor="middle" x="{(LEFT + WIDTH - RIGHT) / 2:.0f}" '
        f'y="{HEIGHT - 6}">{escape(unit)}{" · log scale" if log else ""}</text>'
    )
    ends: list[float] = []
    for split, series in finite.items():
        parts.append(_line(split, series, quantity, unit, x_of, y_of, ends))
    return "".join(parts) + "</svg>"


def _line(
    split: str,
    series: list[tuple[float, float]],
    quantity: str,
    unit: str,
    x_of: Any,
    y_of: Any,
    ends: list[float],
) -> str:
    """One split's polyline, its name at its end and a tooltip on (some of) its points."""
    if not series:
        return ""
    css, name = escape(split or "only"), escape(split)
    shown = _thin(series, MAX_POINTS)
    path = "L".join(f"{x_of(x):.1f} {y_of(y):.1f}" for x, y in shown)
    parts = [f'<path class="line {css}" fill="none" stroke="currentColor" d="M{path}"/>']
    dot = 2.2 if len(shown) <= 12 else 0
    for x, y in _thin(series, MAX_TIPS):
        tip = f"{name} {escape(quantity)} {y:.6g} at {x:,.0f} {escape(unit)}".strip()
        at = f'cx="{x_of(x):.1f}" cy="{y_of(y):.1f}"'
        if dot or len(series) == 1:
            parts.append(f'<circle class="dot {css}" {at} r="2.2" fill="currentColor"/>')
        parts.append(f'<circle class="hit" {at} r="7" fill="transparent"><title>{tip}</title>')
        parts.append("</circle>")
    x, y = series[-1]
    height = y_of(y)
    while any(abs(height - other) < 11 for other in ends):
        height -= 1  # two curves that end together: their names step apart, upwards
    ends.append(height)
    label = f'x="{x_of(x) + 6:.1f}" y="{height + 3.5:.1f}"'
    return "".join(parts) + f'<text class="end {css}" fill="currentColor" {label}>{name}</text>'


def _thin(series: list[tuple[float, float]], most: int) -> list[tuple[float, float]]:
    """At most `most` of the points, evenly spread, the first and the last among them."""
    if len(series) <= most:
        return series
    return [series[round(i * (len(series) - 1) / (most - 1))] for i in range(most)]


def _axis(
    low: float, high: float, start: float, stop: float, *, log: bool = False, slack: float = 0.0
) -> tuple[list[float], Any]:
    """Ticks inside [low, high] and the map from values to pixels (start at low, stop at high)."""
    if log:
        first, last = math.log10(low), math.log10(high)
        every = max(1, math.ceil((last - first) / 4))
        ticks = [10.0**e for e in range(math.ceil(first - 1e-9), math.floor(last + 1e-9) + 1)]
        ticks = ticks[::every]
    else:
        if high <= low:
            half = abs(low) * 0.1 or 0.5
            low, high = low - half, high + half
        first, last = low, high
        ticks = _round_numbers(low, high)
    span = last - first
    first, last = first - slack * span, last + slack * span

    def place(value: float) -> float:
        position = math.log10(value) if log else value
        return start + (position - first) / (last - first) * (stop - start)

    return ticks, place


def _round_numbers(low: float, high: float) -> list[float]:
    """Three to six multiples of 1, 2 or 5 times a power of ten within [low, high]."""
    rough = (high - low) / 4
    power = 10.0 ** math.floor(math.log10(rough))
    step = power * min((1, 2, 5, 10), key=lambda m: abs(m - rough / power))
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [i * step for i in range(first, last + 1)]


def compact(value: float) -> str:
    """A short number for an axis or a cell: 0.25, 1500, 20k, 3.1M; the minus sign is a true one."""
    for size, letter in ((1e9, "G"), (1e6, "M"), (1e4, "k")):
        if abs(value) >= size:
            unit = 1e3 if letter == "k" else size
            return f"{value / unit:.3g}{letter}".replace("-", "−")
    return f"{value:.4g}".replace("-", "−")
