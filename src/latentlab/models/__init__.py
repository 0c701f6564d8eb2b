"""One model a file. Each opens with its idea, its paper and its objective."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType
from typing import Any


class _CallableModule(ModuleType):
    """`latentlab.models` is this package; `latentlab.models()` lists the models of a project."""

    def __call__(self, project: str | Path | None = None) -> Any:
        from latentlab.inference.catalogue import list_models

        return list_models(project)


sys.modules[__name__].__class__ = _CallableModule
