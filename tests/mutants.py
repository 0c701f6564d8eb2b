"""Mutation tests: change each file of the mathematics in many small ways; its tests must fail.

    python tests/mutants.py [FILE…]       a file or folder in src/latentlab; default: FOLDERS
    python tests/mutants.py --sample 400  so many of all mutants, at random: the score of all
                                          lies within the 95 % interval that is printed

Cosmic Ray makes the mutants (tests/cosmic_ray_mutants.py). Each of its own test runs would import
PyTorch anew, which takes 8 s, so the runs are forked processes as for the wrong edits. A mutant is
tested by the test file that mirrors its file, and by the files that tests/mutants.yaml adds. If it
survives, it is tested by the wider tests of its folder. All of these tests have to pass without a
mutant. `equivalent` in tests/mutants.yaml lists the mutants that no test can notice, and why.
"""

from __future__ import annotations

import argparse
import difflib
import json
import math
import random
import re
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import yaml

from wrong_edits import PASSED, REPO, Result, Run, preload, run_all

FOLDERS = (
    *("models", "losses", "optim", "metrics", "samplers", "evaluation", "diagnostics"),
    "networks/regularization",
)
PACKAGE = "latentlab"
SETTINGS = REPO / "tests" / "mutants.yaml"
Changes = set[tuple[str, str, str]]  # file, text before, text after
TOOL = REPO / ".venv" / "mutants" / "bin" / "python"


@dataclass
class Score:
    """Counts of mutants."""

    killed: int = 0
    survived: int = 0
    equivalent: int = 0

    def __str__(self) -> str:
        percent = 100 * self.killed / max(1, self.killed + self.survived)
        return (
            f"{percent:.1f} % killed ({self.killed} killed, {self.survived} survived, "
            f"{self.equivalent} equivalent)"
        )

    def interval(self) -> tuple[float, float]:
        """95 % interval of the killed percentage of a random sample (Wilson 1927)."""
        n, z = max(1, self.killed + self.survived), 1.96
        p = self.killed / n
        center, scale = p + z * z / (2 * n), 1 + z * z / n
        half = z * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
        return 100 * (center - half) / scale, 100 * (center + half) / scale


def changed_lines(source: str, mutant: str) -> tuple[str, str]:
    """The text of the lines that differ, before and after, without indentation and comments."""
    old, new = [], []
    for line in difflib.ndiff(source.splitlines(), mutant.splitlines()):
        if line.startswith("- "):
            old.append(bare(line[2:]))
        if line.startswith("+ "):
            new.append(bare(line[2:]))
    return "\n".join(old), "\n".join(new)


ADDED_SPACE = re.compile(r"(?:(?<=[(\[])|(?<=\w=)) (?=-?\d)|(?<=[(\[=]-) (?=\d)")


def bare(line: str) -> str:
    """A line of code without indentation, comment, and the spaces that Cosmic Ray adds."""
    return ADDED_SPACE.sub("", line.split("  #")[0].strip())


def source_files(names: Sequence[str], *, src: Path) -> list[str]:
    """Files of the package that `names` (files or folders in it) stand for, as paths from `src`."""
    found = []
    for name in names:
        path = src / PACKAGE / name
        files = sorted(path.rglob("*.py")) if path.is_dir() else [path.with_suffix(".py")]
        if not files or not files[0].is_file():
            sys.exit(f"{path} is no file or folder of code. Name some below {src / PACKAGE}.")
        found += [file.relative_to(src).as_posix() for file in files]
    return [file for file in found if not file.endswith("__init__.py")]


def mirror_tests(file: str, more: dict[str, list[str]], *, root: Path) -> tuple[str, ...]:
    """The test file that mirrors a source file, and those that the settings add."""
    path = Path(file).relative_to(PACKAGE)
    mirror = Path("tests") / path.parent / f"test_{path.name}"
    tests = [mirror.as_posix()] if (root / mirror).is_file() else []
    return (*tests, *added_tests(file, more))


def added_tests(file: str, by_place: dict[str, list[str]]) -> tuple[str, ...]:
    """The tests of the files and folders that a source file is, or lies in."""
    path = Path(file).relative_to(PACKAGE)
    return tuple(
        test for place, tests in by_place.items() for test in tests if path.is_relative_to(place)
    )


def make_mutants(file: str, *, src: Path) -> Iterator[dict[str, Any]]:
    """Mutants of a file, from Cosmic Ray in its own environment."""
    script = REPO / "tests" / "cosmic_ray_mutants.py"
    command = [str(TOOL), str(script), str(src / file)]
    printed = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout
    yield from map(json.loads, printed.splitlines())


def runs(files: Sequence[str], settings: dict[str, Any], *, root: Path) -> Iterator[Run]:
    """One run for each mutant; its name is [file, line, old text, new text] as JSON."""
    for file in files:
        tests = mirror_tests(file, settings["tests"], root=root)
        if not tests:
            tests = added_tests(file, settings["wider"])
        if not tests:
            print(f"{file} has no test file", file=sys.stderr)
            continue
        source = (root / "src" / file).read_text(encoding="utf-8")
        for mutant in make_mutants(file, src=root / "src"):
            name = json.dumps([file, mutant["line"], *changed_lines(source, mutant["text"])])
            yield Run(name, tests, file, mutant["text"])


def require_passing_tests(wanted: Iterable[Run]) -> None:
    """Exit if a test fails without a mutant: each mutant of its file would count as killed."""
    sets = dict.fromkeys(run.tests for run in wanted)
    for result in run_all([Run(" ".join(tests), tests) for tests in sets], root=REPO):
        if result.code != PASSED:
            sys.exit(f"{result.run.name} fails without a mutant:\n{result.output}")


def results(
    wanted: Sequence[Run], wider: dict[str, list[str]], equivalent: Changes
) -> Iterator[Result]:
    """The result of each mutant. Survivors are tested again by the wider tests of their folder."""
    survivors = []
    for result in run_all(wanted, root=REPO):
        file, _, old, new = json.loads(result.run.name)
        tests = added_tests(file, wider)
        known = result.code != PASSED or (file, old, new) in equivalent
        if known or not set(tests) - set(result.run.tests):
            yield result
        else:
            survivors.append(replace(result.run, tests=tests))
    yield from run_all(survivors, root=REPO)


def count(scores: dict[str, Score], result: Result, equivalent: Changes) -> None:
    """Add a result to the scores. A mutant that survives is printed at once.

    A test that fails has killed the mutant, and so has an import that fails or a loop without end.
    """
    file, line, old, new = json.loads(result.run.name)
    score = scores[file]
    if result.code != PASSED:
        score.killed += 1
    elif (file, old, new) in equivalent:
        score.equivalent += 1
    else:
        score.survived += 1
        print(f"{file}:{line}\n  - {old}\n  + {new}", flush=True)


def report(scores: dict[str, Score], *, sample: int | None) -> None:
    """Print the score of each file, and of all; of a sample with its interval."""
    total = Score()
    for file, score in sorted(scores.items()):
        print(f"{file}: {score}")
        total.killed += score.killed
        total.survived += score.survived
        total.equivalent += score.equivalent
    print(f"all: {total}")
    if sample is not None:
        low, high = total.interval()
        print(f"95 % interval of the percentage: {low:.1f} … {high:.1f}")


def main() -> None:
    parser = argparse.ArgumentParser(description="Mutation tests with Cosmic Ray.")
    parser.add_argument("names", nargs="*", help="files or folders below src/latentlab")
    parser.add_argument("--sample", type=int, help="how many mutants, at random; default: all")
    parser.add_argument("--seed", type=int, default=0, help="of the sample (0)")
    args = parser.parse_args()
    files = source_files(args.names or FOLDERS, src=REPO / "src")
    settings = yaml.safe_load(SETTINGS.read_text(encoding="utf-8"))
    equivalent = {
        (f"{PACKAGE}/{entry['file']}", entry["old"], entry["new"])
        for entry in settings.get("equivalent", [])
    }
    wanted = list(runs(files, settings, root=REPO))
    if args.sample is not None:
        print(f"{args.sample} of {len(wanted)} mutants, seed {args.seed}", flush=True)
        chosen = random.Random(args.seed).sample(wanted, min(args.sample, len(wanted)))
        wanted = sorted(chosen, key=lambda run: run.name)
    preload(settings["preload"])
    wider = [replace(run, tests=added_tests(run.file or "", settings["wider"])) for run in wanted]
    require_passing_tests([*wanted, *(run for run in wider if run.tests)])
    scores: dict[str, Score] = defaultdict(Score)
    started = time.monotonic()
    for number, result in enumerate(results(wanted, settings["wider"], equivalent), 1):
        count(scores, result, equivalent)
        if number % 50 == 0:
            print(f"{number} mutants, {time.monotonic() - started:.0f} s", file=sys.stderr)
    report(scores, sample=args.sample)


if __name__ == "__main__":
    main()
