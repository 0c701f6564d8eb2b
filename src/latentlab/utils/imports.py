"""Import torch and Lightning without the packages that no stage needs.

Two thirds of the time of `import lightning` is not Lightning. It imports all of torchmetrics, which
imports torchvision, scipy and matplotlib for metrics that no stage computes. Lightning and the
optimizers also import torch's compiler, although nothing is compiled. `import_lightning_lean`
skips these packages. It changes no number. A skipped package is imported when it is used.

It also sets how OpenMP's threads wait for each other. By default they spin for milliseconds, which
is fastest on idle cores. If another program uses one of the cores, the thread that they wait for
does not run meanwhile, and training is many times slower (bench/busy.py). So the threads spin only
shortly if there are fewer idle cores than threads when the process starts.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import wraps
from importlib import import_module
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from importlib.util import spec_from_loader
from pathlib import Path
from statistics import median_low
from types import ModuleType
from typing import Any

COMPILER = "torch._dynamo"
SKIPPED = ("torchvision", "scipy", "matplotlib")
SHORT_SPIN = "1000"  # tens of microseconds; the default of GNU's OpenMP is 300,000
LOAD_SAMPLES, LOAD_INTERVAL = 5, 0.004  # seconds


def import_lightning_lean() -> None:
    """Import torch and Lightning, and no more. Only for a process of latentlab, not for a library.

    Does nothing if they are imported already.
    """
    if COMPILER in sys.modules or "torchmetrics" in sys.modules:
        return
    chosen = {"OMP_WAIT_POLICY", "GOMP_SPINCOUNT"} & set(os.environ)  # by the user
    if not chosen and cores_are_busy():
        os.environ["GOMP_SPINCOUNT"] = SHORT_SPIN  # OpenMP reads it when torch loads
    _LazyCompiler.install()
    with _hidden(SKIPPED):
        import_module("torchmetrics")
    import_module("lightning")


def cores_are_busy(load: Path = Path("/proc/loadavg")) -> bool:
    """Return True if there are fewer idle cores than OpenMP will use threads, at this moment.

    The fourth number of /proc/loadavg counts the threads that run or could run, with this one.
    Without that file (macOS), return False. With one thread, nothing waits.
    """
    cores = os.cpu_count() or 1
    threads = os.environ.get("OMP_NUM_THREADS", "")
    wanted = int(threads) if threads.isdecimal() else cores
    if wanted < 2:
        return False
    counts = []
    try:
        for _ in range(LOAD_SAMPLES):
            counts.append(int(load.read_text().split()[3].partition("/")[0]) - 1)
            time.sleep(LOAD_INTERVAL)
    except (OSError, ValueError, IndexError):
        return False
    return cores - median_low(counts) < wanted


@contextmanager
def _hidden(names: tuple[str, ...]) -> Iterator[None]:
    """Make these packages look absent while torchmetrics is imported."""
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


class _LazyCompiler(ModuleType):
    """A placeholder for torch's compiler. The first use replaces it by the real module.

    Code that compiles nothing uses three names: `graph_break` and `disable`, which do nothing, and
    `OptimizedModule`, which has no instance.
    """

    class OptimizedModule:
        """For isinstance checks, which are all False because nothing is compiled."""

    @classmethod
    def install(cls) -> None:
        import torch

        placeholder = cls(COMPILER)
        sys.modules[COMPILER] = placeholder
        torch._dynamo = placeholder
        sys.meta_path.insert(0, placeholder.finder)

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.__path__ = []  # marks it as a package; `finder` finds its submodules
        self.finder = _SubmoduleFinder(self)

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
            raise AttributeError(
                name
            )  # a tool inspects all modules, which is no use of the compiler
        return getattr(self.real(), name)

    def real(self) -> ModuleType:
        if sys.modules.get(COMPILER) is self:
            sys.meta_path.remove(self.finder)
            del sys.modules[COMPILER]
            import_module(COMPILER)
        return sys.modules[COMPILER]


class _SubmoduleFinder(MetaPathFinder, Loader):
    """Import a submodule of the compiler: replace the placeholder, then import the real one."""

    def __init__(self, placeholder: _LazyCompiler) -> None:
        self.placeholder = placeholder

    def find_spec(self, fullname: str, path: Any, target: Any = None) -> ModuleSpec | None:
        if not fullname.startswith(COMPILER + "."):
            return None
        self.placeholder.real()
        import_module(fullname)
        return spec_from_loader(fullname, self)

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        return sys.modules[spec.name]

    def exec_module(self, module: ModuleType) -> None:
        """Do nothing: `find_spec` has imported the module."""
