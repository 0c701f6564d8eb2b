"""Contraction: how much an encoder shrinks a small change of the image.

The ratio of metrics.contraction for random changes, divided by that for pairs of test images: below
1, arbitrary changes move the code less than the changes do that lead from image to image.

Rifai et al. 2011, "Contractive auto-encoders: explicit invariance during feature extraction".
"""

from __future__ import annotations

from functools import partial
from typing import Any

from latentlab.charts import Curve, save_curves
from latentlab.contracts import Autoencoder
from latentlab.evaluation import Yardsticks
from latentlab.findings import Finding, Picture
from latentlab.metrics.contraction import RADII, contraction_ratios
from latentlab.studies.symbols import SymbolCodes
from latentlab.trained import Trained

IMAGES = 300
SMALL = RADII[0]


def applies(model: Any) -> bool:
    """Every encoder but that of symbols: their names are numbers without a distance."""
    return isinstance(model, Autoencoder) and not isinstance(model, SymbolCodes)


def study(trained: Trained, yard: Yardsticks) -> Finding:
    """Contraction over the radius, beside the ratio for pairs of images."""
    x = next(yard.test.first(IMAGES).batches())
    encode, seed = trained.module.encode, yard.settings.seed
    curve, pairs = contraction_ratios(encode, x.to(trained.device), seed=seed)
    relative = {radius: ratio / max(pairs, 1e-12) for radius, ratio in curve.items()}
    return Finding(
        title="Contraction",
        text=f"Random changes of {len(x)} test images by a length of {SMALL} move the code "
        f"{curve[SMALL]:.3g} times as far; going from one test image to another moves it "
        f"{pairs:.3g} times the way. A ratio of the two below 1 says that the code has learned "
        f"which changes do not matter; here it is {relative[SMALL]:.2f}.",
        numbers={
            "contraction_ratio": curve[SMALL],
            "contraction_ratio_of_pairs": pairs,
            "relative_contraction": relative[SMALL],
        },
        pictures=[
            Picture(
                "contraction",
                "How far random changes of some length move the code, relative to the way between "
                "two images",
                partial(
                    save_curves,
                    [Curve("random changes", list(relative), list(relative.values()), marker="o")],
                    x="length of the change",
                    y="relative contraction",
                    level=("pairs of test images", 1.0),
                ),
            )
        ],
    )
