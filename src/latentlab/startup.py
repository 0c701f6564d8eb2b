"""Start a process of ours fast: import Lightning without what only its neighbours' neighbours want.

Two thirds of `import lightning` are not Lightning. It imports all of torchmetrics, and that
torchvision, scipy and matplotlib for metrics that no stage computes; Lightning and every step of an
optimizer import torch's compiler, whether or not anything is compiled. `lean` spares a process
that. It changes no number; what was spared is still imported when it is really used.

And share the cores: OpenMP's threads wait for each other by spinning for milliseconds. Where
another program has one of the cores, the thread that is waited for sleeps meanwhile, and training
is some ten times slower (bench/busy.py).
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import wraps
from importlib import import_module
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from importlib.util import spec_from_loader
from types import ModuleType
from typing import Any

COMPILER = "torch._dynamo"
SPARED = ("torchvision", "scipy", "matplotlib")
SPINS = "1000"  # tens of microseconds; GNU's OpenMP takes 300,000


def lean() -> None:
    """Import torch and Lightning, and no more. For a process that owns its interpreter: a stage's.

    Does nothing where they are imported already.
    """
    if COMPILER in sys.modules or "torchmetrics" in sys.modules:
        return
    if "OMP_WAIT_POLICY" not in os.environ:  # else the user's word; read once, as torch is loaded
        os.environ.setdefault("GOMP_SPINCOUNT", SPINS)
    _Later.install()
    with _hidden(SPARED):
        import_module("torchmetrics")
    import_module("lightning")


@contextmanager
def _hidden(names: tuple[str, ...]) -> Iterator[None]:
    """Let torchmetrics believe, while it is imported, that these packages are not there."""
    from lightning_utilities.core import imports

    cache: Any = imports.RequirementCache
    module: Any = imports
    available, answer = module.package_available, cache.__bool__
    module.package_available = lambda name: name not in names and available(name)
    cache.__bool__ = lambda self: self.requirement not in names and answer(self)
    try:
        yield
    finally:
        module.package_available, cache.__bool__ = available, answer


class _Later(ModuleType):
    """Stands for torch's compiler until it is used: then the real one takes its place.

    What runs without compiling needs three names of it: `graph_break` and `disable`, which then do
    nothing, and `OptimizedModule`, of which there then is no instance.
    """

    class OptimizedModule:
        """No module is one: nothing was compiled."""

    @classmethod
    def install(cls) -> None:
        import torch

        stand_in = cls(COMPILER)
        sys.modules[COMPILER] = stand_in
        torch._dynamo = stand_in
        sys.meta_path.insert(0, stand_in.finder)

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.__path__ = []  # a package, whose submodules `finder` finds
        self.finder = _Submodules(self)

    def graph_break(self, msg: str = "") -> None:
        if sys.modules[COMPILER] is not self:
            sys.modules[COMPILER].graph_break(msg)

    def disable(self, fn: Any = None, *args: Any, **kwargs: Any) -> Any:
        if fn is None:
            return lambda fn: self.disable(fn, *args, **kwargs)

        @wraps(fn)
        def deferred(*fn_args: Any, **fn_kwargs: Any) -> Any:
            compiler, call = sys.modules[COMPILER], fn
            if compiler is not self:
                call = compiler.disable(fn, *args, **kwargs)
            return call(*fn_args, **fn_kwargs)

        return deferred

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)  # someone looks through all modules; that is no use
        return getattr(self.real(), name)

    def real(self) -> ModuleType:
        if sys.modules.get(COMPILER) is self:
            sys.meta_path.remove(self.finder)
            del sys.modules[COMPILER]
            import_module(COMPILER)
        return sys.modules[COMPILER]


class _Submodules(MetaPathFinder, Loader):
    """When a submodule is asked for, the real package imports it, and it is handed on."""

    def __init__(self, stand_in: _Later) -> None:
        self.stand_in = stand_in

    def find_spec(self, fullname: str, path: Any, target: Any = None) -> ModuleSpec | None:
        if not fullname.startswith(COMPILER + "."):
            return None
        self.stand_in.real()
        import_module(fullname)
        return spec_from_loader(fullname, self)

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        return sys.modules[spec.name]

    def exec_module(self, module: ModuleType) -> None:
        """It has been executed."""
