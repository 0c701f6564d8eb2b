"""Contraction: how much an encoder shrinks a small change of the image.

    relative contraction = contraction ratio of random changes / that of pairs of test images

Below 1, the code responds less to a random change than to a change from one image to another. The
ratios are those of metrics/contraction.py.

Rifai et al. 2011, "Contractive auto-encoders: explicit invariance during feature extraction".
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

from latentlab.contracts import DiscreteCodes, Encoder
from latentlab.evaluation.evaluator import Evaluator
from latentlab.evaluation.results import Figure, Result
from latentlab.inference.trained import TrainedModel
from latentlab.metrics.contraction import RADII, contraction_ratios
from latentlab.visualization.charts import Curve, save_curves

NUM_IMAGES = 300
SMALL = RADII[0]


def applies(model: Any) -> bool:
    """True for every encoder except those of discrete codes: indices have no distance."""
    return isinstance(model, Encoder) and not isinstance(model, DiscreteCodes)


def diagnose(trained: TrainedModel, evaluator: Evaluator) -> Result:
    """Measure the contraction ratio of random changes for several lengths, and that of pairs."""
    x = next(evaluator.test.first(NUM_IMAGES).batches())
    encode, seed = trained.module.encode, evaluator.settings.seed
    ratios, pairs = contraction_ratios(encode, x.to(trained.device), seed=seed)
    relative = {radius: ratio / max(pairs, 1e-12) for radius, ratio in ratios.items()}
    metrics = {
        "contraction_ratio": ratios[SMALL],
        "contraction_ratio_of_pairs": pairs,
        "relative_contraction": relative[SMALL],
    }
    caption = "Contraction ratio of random changes, divided by that of pairs of test images"
    return Result(
        title="Contraction",
        summary=_summary(metrics, len(x)),
        metrics=metrics,
        figures=[Figure("contraction", caption, partial(_save_curve, relative))],
    )


def _summary(metrics: Mapping[str, float], count: int) -> str:
    return (
        f"A random change of a test image by a length of {SMALL} changes the code by "
        f"{metrics['contraction_ratio']:.3g} times this length (mean of {count} images). From one "
        f"test image to another, the code changes by {metrics['contraction_ratio_of_pairs']:.3g} "
        "times the distance of the images. The quotient of the two ratios is "
        f"{metrics['relative_contraction']:.2f}. Below 1, the encoder suppresses changes that do "
        "not occur in the data."
    )


def _save_curve(relative: Mapping[float, float], path: Path) -> None:
    save_curves(
        [Curve("random changes", list(relative), list(relative.values()), marker="o")],
        path,
        x="length of the change",
        y="relative contraction",
        level=("pairs of test images", 1.0),
    )
