"""Who may import whom, and which files each DVC stage must watch: read from the code itself."""

import ast
from functools import cache
from pathlib import Path

import pytest
import yaml

SRC = Path(__file__).resolve().parents[1] / "src" / "latentlab"
PLAIN_TORCH = {"corruption", "cures", "games", "losses", "nets", "optimizers", "priors"}
BOTTOM = {"contracts", "files", "launcher", "memory", "plots", "tracking", *PLAIN_TORCH}
MAY_IMPORT = {  # room → rooms; a room not named here may import everything but models
    **{room: {"contracts"} for room in BOTTOM},
    **{room: set() for room in ("contracts", "launcher", *PLAIN_TORCH)},
    "plots": {"contracts", "files"},
    "data": {"contracts", "files"},
    "models": {"contracts", *PLAIN_TORCH},
    "metrics": {"contracts"},
    "findings": {"contracts", "files"},
    "charts": {"contracts", "files"},
    "cures": {"losses"},
    "games": {"losses", "optimizers"},
    "config": {"contracts", "data"},
    "tracking": {"__init__", "contracts"},  # __init__: serving.py loads what was trained
}
ONLY_IN = {
    "mlflow": {"tracking"},
    "jsonargparse": {"config"},
    "dvc": set(),
    "pickle": set(),
}
CANNOT_CHANGE_NUMBERS = {
    "src/latentlab/__init__.py": "a docstring and load()",
    "src/latentlab/tracking": "tells MLflow what happened",
    "src/latentlab/files.py": "writes what it is given",
    "src/latentlab/launcher.py": "who works",
    "src/latentlab/data/limits.py": "how much memory there is",
    "src/latentlab/memory.py": "where freed memory goes",
    "src/latentlab/startup.py": "what is imported when",
    "src/latentlab/plots.py": "pictures, watched where pictures are an output",
    "src/latentlab/stages/__init__.py": "exit codes",
    "src/latentlab/models/__init__.py": "a docstring",
}


def files():
    return sorted(SRC.rglob("*.py"))


def room(path: Path) -> str:
    return path.relative_to(SRC).parts[0].removesuffix(".py")


def imports(path: Path) -> set[str]:
    """Dotted names imported anywhere in a file, inside functions too, type checking aside."""
    found = set()
    tree = ast.parse(path.read_text())
    skipped = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and getattr(node.test, "id", "") == "TYPE_CHECKING"
        for inner in ast.walk(node)
    }
    for node in ast.walk(tree):
        if id(node) in skipped:
            continue
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path.name}: relative import"
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def resolve(name: str) -> Path | None:
    """The file of a latentlab module, given a dotted name that may end in one of its members."""
    parts = name.split(".")[1:]
    for stop in range(len(parts), -1, -1):
        stem = SRC.joinpath(*parts[:stop])
        for path in (stem.with_suffix(".py"), stem / "__init__.py"):
            if path.is_file():
                return path
    return None


@pytest.mark.parametrize("path", files(), ids=lambda p: str(p.relative_to(SRC)))
def test_imports_go_down_only(path):
    own = room(path)
    allowed = MAY_IMPORT.get(own)
    for name in imports(path):
        top = name.split(".")[0]
        assert own in ONLY_IN.get(top, {own}), f"{top} may not be imported in {own}"
        if top != "latentlab":
            continue
        target = room(resolve(name))
        if own == "models" and target == "models":
            assert resolve(name).name == "__init__.py", "models never import each other"
        elif target != own:
            assert target != "models", "models arrive by class_path, never by import"
            assert allowed is None or target in allowed, f"{own} must not import {target}"


@pytest.mark.parametrize("own", sorted(PLAIN_TORCH))
def test_plain_torch_rooms_know_torch_only(own):
    for path in files():
        if room(path) == own:
            tops = {name.split(".")[0] for name in imports(path)}
            third_party = tops & {"lightning", "numpy", "sklearn", "torchvision", "matplotlib"}
            assert not third_party, f"{path.name} imports {third_party}"


@cache
def reachable(path: Path) -> frozenset[Path]:
    """Every latentlab file that importing `path` can load, itself included."""
    seen, queue = {path}, [path]
    while queue:
        for name in imports(queue.pop()):
            target = resolve(name) if name.startswith("latentlab") else None
            if target is not None and target not in seen:
                seen.add(target)
                queue.append(target)
    return frozenset(seen)


STAGES = ["prepare", "judge", "reference", "train", "evaluate", "tasks", "report"]
ITEM = {"${item}": "vae", "${item.task}": "reduction"}


def named(dep: str) -> str:
    """A dependency of a `foreach` stage, for one of its items."""
    for place, value in ITEM.items():
        dep = dep.replace(place, value)
    return dep


@pytest.mark.parametrize("stage", STAGES)
def test_each_stage_watches_every_file_that_can_change_its_numbers(repo, stage):
    described = yaml.safe_load((repo / "dvc.yaml").read_text())["stages"][stage]
    watched = described.get("do", described)["deps"]
    needed = set(reachable(SRC / "stages" / f"{stage}.py"))
    if stage in ("judge", "train"):
        name = "judge" if stage == "judge" else "vae"
        needed |= reachable(SRC / "models" / f"{name}.py")
    if stage == "tasks":
        tasks = {path for path in (SRC / "tasks").glob("*.py") if path.name != "reduction.py"}
        needed |= {file for path in tasks for file in reachable(path)} - tasks
        needed |= reachable(SRC / "tasks" / "reduction.py")
    if stage == "evaluate":
        needed |= {file for path in (SRC / "studies").glob("*.py") for file in reachable(path)}
    for path in sorted(needed):
        relative = path.relative_to(repo)
        covered = any(
            relative.is_relative_to(named(place)) for place in [*watched, *CANNOT_CHANGE_NUMBERS]
        )
        assert covered, f"{stage} must watch {relative}"


@pytest.mark.parametrize("stage", STAGES)
def test_no_stage_watches_a_file_that_is_not_there(repo, stage):
    described = yaml.safe_load((repo / "dvc.yaml").read_text())["stages"][stage]
    for dep in described.get("do", described)["deps"]:
        if dep.startswith("src/"):
            assert (repo / named(dep)).exists(), dep
