"""Diagnostics: results for some models only, beyond the metrics of every model.

Each file is one diagnostic with two functions. `applies(model)` is True for the models that have
what the diagnostic measures, as a Protocol of contracts.py says. `diagnose(trained, evaluator)`
returns a Result. There is no list to keep: every file of this folder is tried with every model.
Metrics that only one diagnostic needs are in `diagnostics/metrics/`.
"""

from __future__ import annotations

import pkgutil
from collections.abc import Iterator
from importlib import import_module

from latentlab.evaluation.evaluator import Evaluator
from latentlab.evaluation.results import Result
from latentlab.inference.trained import TrainedModel

# Limit of test images that a diagnostic holds as floats: 30 MiB for MNIST, 8 GB for 256×256 px.
MAX_TEST_IMAGES = 10_000


def run_diagnostics(trained: TrainedModel, evaluator: Evaluator) -> Iterator[tuple[str, Result]]:
    """Run every diagnostic that applies to the model. Yield (name of its file, Result) by name."""
    for info in sorted(pkgutil.iter_modules(__path__), key=lambda module: module.name):
        if info.ispkg:
            continue
        module = import_module(f"{__name__}.{info.name}")
        if module.applies(trained.module):
            yield info.name, module.diagnose(trained, evaluator)
