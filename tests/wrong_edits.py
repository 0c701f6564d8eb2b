"""Wrong edits: each line of tests/wrong_edits.yaml breaks one file, and named tests must fail.

    python tests/wrong_edits.py [--only TEXT] [--root DIR]

The named tests run against a copy of `src` in which one file is edited, and must fail. One run
without an edit must pass. PyTorch and pytest are imported once; each run is a forked process that
imports the copy.
"""

from __future__ import annotations

import argparse
import gc
import importlib
import importlib.util
import os
import resource
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType

os.environ["OMP_NUM_THREADS"] = "1"  # the processes that run at once must not share cores
os.environ["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"  # plugins of other packages take 3 s to import

import pytest
import yaml

REPO = Path(__file__).resolve().parents[1]
JOBS = 2
LIMIT_S = 60  # of processor time, because an edit can make a loop endless
PASSED, FAILED = int(pytest.ExitCode.OK), int(pytest.ExitCode.TESTS_FAILED)


class EditError(Exception):
    """An edit cannot be applied. The message says what to do."""


@dataclass(frozen=True)
class Run:
    """Named tests against a copy of `src` in which `file` has the content `text`.

    `name` describes the run in the output. `file`: path from `src`; None: nothing is edited.
    """

    name: str
    tests: tuple[str, ...]
    file: str | None = None
    text: str = ""


@dataclass(frozen=True)
class Result:
    """`code`: exit code of pytest, or −signal. `output`: the end of what pytest printed."""

    run: Run
    code: int
    seconds: float
    output: str


def apply_edit(source: str, old: str, new: str, *, file: str) -> str:
    """Replace `old`, which must occur exactly once in `source`. Raise EditError if it does not."""
    count = source.count(old)
    if count != 1:
        raise EditError(
            f"{file}: the text {old!r} occurs {count} times. It must occur exactly once. "
            "Write the edit anew for the present code."
        )
    if old == new:
        raise EditError(f"{file}: the edit of {old!r} changes nothing. Give it another `new`.")
    return source.replace(old, new)


def run_all(runs: Iterable[Run], *, root: Path, jobs: int = JOBS) -> Iterator[Result]:
    """Run the tests of each run in a forked process, `jobs` at a time. Yield results as they end.

    `root`: folder with src, tests and pyproject.toml.
    """
    gc.collect()
    gc.freeze()  # the forked processes share the memory of what is imported by now
    with tempfile.TemporaryDirectory() as folder:
        src = Path(folder) / "src"
        shutil.copytree(root / "src", src)
        running: dict[int, tuple[Run, Path, float]] = {}
        for number, run in enumerate(runs):
            if len(running) == jobs:
                yield _next_result(running)
            output = Path(folder) / str(number)
            running[_fork(run, root, src, output)] = (run, output, time.monotonic())
        while running:
            yield _next_result(running)
    gc.unfreeze()


def _fork(run: Run, root: Path, src: Path, output: Path) -> int:
    """Start the tests of a run. Return the process id."""
    sys.stdout.flush()
    pid = os.fork()
    if pid:
        return pid
    code = int(pytest.ExitCode.INTERNAL_ERROR)
    try:
        signal.alarm(20 * LIMIT_S)
        if run.file is not None:
            resource.setrlimit(resource.RLIMIT_CPU, (LIMIT_S, LIMIT_S))
        descriptor = os.open(output, os.O_WRONLY | os.O_CREAT)
        for stream in (1, 2):
            os.dup2(descriptor, stream)
        os.chdir(root)
        code = _run_tests(run, src)
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def _run_tests(run: Run, src: Path) -> int:
    """Run pytest in this process, which ends afterwards. Return the exit code."""
    sys.path.insert(0, str(src))
    if run.file is not None:
        sys.meta_path.insert(0, EditedModule(src / run.file, run.text, src=src))
    code = int(pytest.main(["-x", "-p", "no:cacheprovider", "--tb=short", *run.tests]))
    for package in src.iterdir():
        module = sys.modules.get(package.name)
        if module is not None and not str(module.__file__).startswith(str(src)):
            raise RuntimeError(f"the tests imported {module.__file__} and not the copy in {src}")
    return code


class EditedModule(MetaPathFinder, Loader):
    """Import one module of `src` from `text` in place of its file."""

    def __init__(self, path: Path, text: str, *, src: Path) -> None:
        parts = path.relative_to(src).with_suffix("").parts
        self.name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
        self.path, self.text = path, text

    def find_spec(
        self, name: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if name != self.name:
            return None
        places = [str(self.path.parent)] if self.path.name == "__init__.py" else None
        return importlib.util.spec_from_file_location(
            name, self.path, loader=self, submodule_search_locations=places
        )

    def exec_module(self, module: ModuleType) -> None:
        exec(compile(self.text, str(self.path), "exec"), vars(module))


def _next_result(running: dict[int, tuple[Run, Path, float]]) -> Result:
    """Wait for a process to end."""
    pid, status = os.wait()
    run, output, started = running.pop(pid)
    text = output.read_text(errors="replace")
    output.unlink()
    code = os.waitstatus_to_exitcode(status)
    return Result(run, code, time.monotonic() - started, text[-3000:])


def read_edits(path: Path, *, root: Path, only: str = "") -> list[Run]:
    """The runs of a list of edits. `only`: keep those whose file or reason contains this text.

    Raise EditError, which names all edits that do not fit the present code.
    """
    runs, errors = [], []
    for edit in yaml.safe_load(path.read_text(encoding="utf-8"))["edits"]:
        file, tests = edit["file"], edit["tests"]
        name = f"{file}: {edit['why']}"
        if only not in name:
            continue
        source = (root / "src" / file).read_text(encoding="utf-8")
        try:
            text = apply_edit(source, edit["old"], edit["new"], file=file)
        except EditError as error:
            errors.append(str(error))
        else:
            runs.append(Run(name, tuple(tests), file, text))
        errors += [f"{name}: no test {test}" for test in tests if not exists(test, root=root)]
    if errors:
        raise EditError("\n".join(errors))
    return runs


def exists(test: str, *, root: Path) -> bool:
    """True if the file of a test id has its function; the parameters are not looked at."""
    file, _, function = test.partition("::")
    path = root / file
    function = function.partition("[")[0]
    return path.exists() and (not function or f"def {function}(" in path.read_text("utf-8"))


def preload(modules: Sequence[str]) -> None:
    """Import large packages once, before the forks."""
    for name in modules:
        importlib.import_module(name)


def problem(result: Result) -> str:
    """Return what is wrong with a result, or an empty string."""
    if result.run.file is None:
        return "" if result.code == PASSED else f"the tests fail without an edit\n{result.output}"
    if result.code == FAILED:
        return ""
    if result.code == PASSED:
        return "NOT CAUGHT: no test fails. Add a test, and name it in the list."
    return f"pytest ended with {result.code}. A test must fail (1).\n{result.output}"


def main() -> None:
    parser = argparse.ArgumentParser(description="Each wrong edit must make a named test fail.")
    parser.add_argument("--root", type=Path, default=REPO, help="folder with src and tests")
    parser.add_argument("--only", default="", help="only edits with this text in file or reason")
    parser.add_argument(
        "--check",
        action="store_true",
        help="only see that each edit fits the code and names tests that exist; runs no test",
    )
    arguments = parser.parse_args()
    root = arguments.root.resolve()
    path = root / "tests" / "wrong_edits.yaml"
    started = time.monotonic()
    try:
        edits = read_edits(path, root=root, only=arguments.only)
    except EditError as error:
        sys.exit(str(error))
    if arguments.check:
        print(f"{len(edits)} wrong edits fit the code")
        return
    preload(yaml.safe_load(path.read_text(encoding="utf-8")).get("preload", []))
    tests = tuple(dict.fromkeys(test for run in edits for test in run.tests))
    bad = 0
    for result in run_all([Run("no edit", tests), *edits], root=root):
        found = problem(result)
        bad += bool(found)
        print(f"{result.seconds:5.1f} s  {result.run.name}{'  ' * bool(found)}{found}", flush=True)
    seconds, used = time.monotonic() - started, resource.getrusage(resource.RUSAGE_CHILDREN)
    print(
        f"{len(edits)} wrong edits, {bad} problems, {seconds:.0f} s "
        f"({used.ru_utime + used.ru_stime:.0f} s of processor time)"
    )
    sys.exit(bool(bad))


if __name__ == "__main__":
    main()
