"""Studies: what one trained model is about, beyond the numbers that every model gets.

Each file is one study with two functions: `applies(model)` says whether a model has what is asked
about, by a Protocol that the file defines, and `study(trained, yard)` finds it out. There is no
list to keep: every file here is tried with every model.
"""

from __future__ import annotations

import pkgutil
from collections.abc import Iterator
from importlib import import_module

from latentlab.evaluation import Yardsticks
from latentlab.findings import Finding
from latentlab.trained import Trained

MOST_TEST_IMAGES = 10_000  # that a study holds as floats at once: 30 MiB of MNIST, 8 GB of 256×256


def studies_of(trained: Trained, yard: Yardsticks) -> Iterator[tuple[str, Finding]]:
    """Every study that applies to the model: (name of its file, what it found)."""
    for found in sorted(pkgutil.iter_modules(__path__), key=lambda module: module.name):
        module = import_module(f"{__name__}.{found.name}")
        if module.applies(trained.module):
            yield found.name, module.study(trained, yard)
