"""The 97.5 % point of Student's t, for 95 % intervals over trainings.

With scipy.special, the import would take longer than the command that prints the intervals.
"""

from __future__ import annotations

import math
from functools import lru_cache

STEPS = 400  # of Simpson's rule, even
TAIL = 0.475  # probability between 0 and the 97.5 % point


@lru_cache
def t_quantile(freedom: float) -> float:
    """Return the 97.5 % point of the t distribution with `freedom` ≥ 1 degrees of freedom.

    With t = √freedom · tan(a), the density of the angle a is proportional to cos(a)^(freedom − 1).
    It does not increase, so Newton's method approaches the root from below.
    """
    log_scale = math.lgamma((freedom + 1) / 2) - math.lgamma(freedom / 2)
    scale = math.exp(log_scale) / math.sqrt(math.pi)
    angle, step = 0.0, 1.0
    while step > 1e-12 * angle:
        missing = TAIL - scale * _integral(freedom - 1, angle)
        step = missing / (scale * math.cos(angle) ** (freedom - 1))
        angle += step
    return math.sqrt(freedom) * math.tan(angle)


def _integral(power: float, end: float) -> float:
    """∫ cos(a)^power da from 0 to `end`, by Simpson's rule."""
    width = end / STEPS
    values = [math.cos(index * width) ** power for index in range(STEPS + 1)]
    odd, even = sum(values[1:-1:2]), sum(values[2:-1:2])
    return width / 3 * (values[0] + 4 * odd + 2 * even + values[-1])
