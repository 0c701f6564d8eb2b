"""The stages of dvc.yaml as a graph, and those that have to run."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from latentlab.pipeline.job import dvc_command, environment
from latentlab.pipeline.unchanged import read_unchanged
from latentlab.utils.errors import LatentlabError

NODE = re.compile(r'^"(?P<name>[^"]+)";$')
EDGE = re.compile(r'^"(?P<before>[^"]+)" -> "(?P<after>[^"]+)";$')


@dataclass(frozen=True)
class Graph:
    """`needs`: stage → the stages whose outputs it reads. The order of the keys is dvc.yaml's."""

    needs: dict[str, frozenset[str]]

    def with_all_needs(self, stages: Iterable[str]) -> set[str]:
        """Return `stages`, the stages that they need, and so on."""
        found, queue = set(), list(stages)
        while queue:
            stage = queue.pop()
            if stage not in found:
                found.add(stage)
                queue.extend(self.needs[stage])
        return found

    def with_all_users(self, stages: Iterable[str]) -> set[str]:
        """Return `stages`, the stages that need them, and so on."""
        found = set(stages)
        while more := {s for s, needs in self.needs.items() if needs & found} - found:
            found |= more
        return found

    def select(self, targets: Iterable[str]) -> Graph:
        """Return the part that `targets` need: names of stages, or of a group without `@…`.

        Raises LatentlabError for a name that is no stage.
        """
        chosen: list[str] = []
        for target in targets:
            group = [s for s in self.needs if s == target or s.startswith(f"{target}@")]
            if not group:
                raise LatentlabError(
                    f"{target!r} is not a stage. {_nearest(target, self.needs)} `dvc stage list` "
                    "prints all stages; `latentlab select` lists a model in params.yaml."
                )
            chosen += group
        kept = self.with_all_needs(chosen)
        return Graph({stage: needs for stage, needs in self.needs.items() if stage in kept})


def read_pipeline(root: Path) -> tuple[Graph, set[str]]:
    """Return the stages of the project, and those that differ from dvc.lock.

    Without DVC if it has found nothing to do, and no file has changed since (unchanged.py). Else by
    one process that asks DVC (changes.py). If that fails, the commands of DVC are asked: they
    give the answers, or the errors. Raises LatentlabError as `read_graph` and `changed_stages`.
    """
    if (known := read_unchanged(root)) is not None:
        return Graph({stage: frozenset(before) for stage, before in known.items()}), set()
    command = [sys.executable, "-m", "latentlab.pipeline.changes"]
    done = subprocess.run(command, cwd=root, env=environment(), capture_output=True, text=True)
    if done.returncode:
        return read_graph(root), changed_stages(root)
    found = json.loads(done.stdout)
    needs = {stage: frozenset(before) for stage, before in found["needs"].items()}
    return _not_empty(Graph(needs), root), set(found["changed"])


def read_graph(root: Path) -> Graph:
    """Ask `dvc dag` for the stages of the project. Raises LatentlabError if there are none."""
    needs: dict[str, set[str]] = {}
    for line in _dvc(root, "dag", "--dot").splitlines():
        if node := NODE.match(line.strip()):
            needs.setdefault(node["name"], set())
        elif edge := EDGE.match(line.strip()):
            needs.setdefault(edge["before"], set())
            needs.setdefault(edge["after"], set()).add(edge["before"])
    return _not_empty(Graph({stage: frozenset(before) for stage, before in needs.items()}), root)


def _not_empty(graph: Graph, root: Path) -> Graph:
    if not graph.needs:
        raise LatentlabError(f"{root / 'dvc.yaml'} is missing or has no stages. Restore it.")
    return graph


def changed_stages(root: Path) -> set[str]:
    """Ask `dvc status` which stages differ from dvc.lock. Raises LatentlabError if it fails."""
    return set(json.loads(_dvc(root, "status", "--json")))


def _dvc(root: Path, *arguments: str) -> str:
    done = subprocess.run(
        dvc_command(*arguments), cwd=root, env=environment(), capture_output=True, text=True
    )
    if done.returncode:
        reason = " ".join(done.stderr.removeprefix("ERROR: ").split()) or "no message"
        raise LatentlabError(f"`dvc {' '.join(arguments)}` failed: {reason}")
    return done.stdout


def _nearest(name: str, stages: Iterable[str]) -> str:
    from difflib import get_close_matches

    found = get_close_matches(name, list(stages), n=1)
    return f"Did you mean {found[0]!r}?" if found else ""
