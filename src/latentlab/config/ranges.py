"""Ranges of the numbers in a configuration, by the names of their keys.

A learning rate of −0.1 or a layer of width 0 trains for minutes, or ends in an error of torch. The
names of the keys say what is possible, so such values are refused before anything is built. What a
range depends on (other keys, the images), the class itself checks.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from latentlab.utils.errors import LatentlabError


@dataclass(frozen=True)
class Range:
    """The numbers from `low` to `high`. `open_low`, `open_high`: without the limit itself."""

    low: float = -math.inf
    high: float = math.inf
    open_low: bool = False
    open_high: bool = False

    def __contains__(self, value: float) -> bool:
        above = value > self.low if self.open_low else value >= self.low
        below = value < self.high if self.open_high else value <= self.high
        return math.isfinite(value) and above and below

    def __str__(self) -> str:
        if self.low == -math.inf:
            return "a number"
        if self.high == math.inf:
            return f"{'>' if self.open_low else '≥'} {self.low:g}"
        left, right = "(" if self.open_low else "[", ")" if self.open_high else "]"
        return f"in {left}{self.low:g}, {self.high:g}{right}"


POSITIVE, FROM_0, FROM_1, FROM_2 = Range(0, open_low=True), Range(0), Range(1), Range(2)
UNIT, BELOW_1 = Range(0, 1), Range(0, 1, open_high=True)
INSIDE_UNIT = Range(0, 1, open_low=True, open_high=True)

# The first pattern that matches the whole key decides. A list has its key's range in each element.
RANGES: dict[str, Range] = {
    "lr|.*_lr": POSITIVE,
    "betas|affine_strength|clean_fraction": BELOW_1,
    "clip|lambda_k|noise_scale|min_scale|svm_c|std|step_sizes|pixel_fraction": POSITIVE,
    "rho": INSIDE_UNIT,
    "gamma": Range(0, 1, open_low=True),
    ".*_prob|.*_fraction|.*_ratio|real_label|fake_label": UNIT,
    "expansion|alpha": FROM_1,
    "codebook_size|num_categories": FROM_2,
    "num_continuous|max_shift": FROM_0,
    ".*weights?|beta|.*_gamma|.*noise_std|noise|.*_level|commitment|regularization": FROM_0,
    "seed|.*_seed": FROM_0,
    ".*_dim|width|hidden|.*_hidden|channels|depth|.*_depth|packing|r1_interval": FROM_1,
    "num_.*|max_.*|labels_per_class|latents_per_patch|patch_size|k|k_start": FROM_1,
    ".*steps|steps_.*|.*batch_size|.*_size|.*_images|.*_length|.*components": FROM_1,
    "mean|start": Range(),
}
FOR_ALL = ("lr", "latent_dim")  # keys with one meaning, also in classes of other packages


def range_of(key: str) -> Range | None:
    """The range of a key of a class of latentlab; None for a key without a rule."""
    found = (limits for pattern, limits in RANGES.items() if re.fullmatch(pattern, key))
    return next(found, None)


def check_ranges(tree: Mapping[str, Any], files: str) -> None:
    """Raise LatentlabError for the first number out of range in parsed sections with classes."""
    for path, key, value, own in _numbers(tree, "", True):
        limits = range_of(key) if own or key in FOR_ALL else None
        if limits is not None and value not in limits:
            finite = "" if math.isfinite(value) else " and finite"
            raise LatentlabError(f"{files}: {path} is {value:g}; it must be {limits}{finite}")


def _numbers(
    tree: Mapping[str, Any], path: str, own: bool
) -> Iterator[tuple[str, str, float, bool]]:
    """Path, key and value of each number, and whether it belongs to a class of latentlab."""
    if "class_path" in tree:
        own = str(tree["class_path"]).startswith("latentlab.")
    for key, value in tree.items():
        here = f"{path}.{key}" if path else str(key)
        if isinstance(value, Mapping):
            yield from _numbers(value, here, own)
        for each in value if isinstance(value, list | tuple) else [value]:
            if isinstance(each, int | float) and not isinstance(each, bool):
                yield here, str(key), each, own
