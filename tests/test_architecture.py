"""Which folder may import which, and what each DVC stage watches: read from the code itself."""

import ast
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest
import yaml

REPO = Path(__file__).resolve().parents[1]
SRC, TESTS = REPO / "src" / "latentlab", REPO / "tests"

# Every folder may import itself, `contracts` and `utils`. All paths are within src/latentlab.
TORCH_ONLY = {"losses", "transforms", "samplers", "networks"}
PARTS = {"losses", "networks", "optim", "samplers", "transforms"}
SETTINGS = {"config", "data"}
TRAINED = {"config", "data", "inference", "metrics"}
MEASURED = {*TRAINED, "evaluation", "visualization"}
MAY_IMPORT = {
    "utils": set(),
    "contracts": set(),
    "losses": set(),
    "transforms": set(),
    "samplers": {"losses"},
    "networks": {"losses", "transforms"},
    "optim": {"losses", "networks"},
    "models": PARTS,
    "data": set(),
    "metrics": set(),
    "visualization": set(),
    "config": {"data"},
    "tracking": set(),
    "training": {*SETTINGS, "metrics/fid"},
    "inference": {*SETTINGS, "metrics", "visualization"},
    "evaluation": {*TRAINED, "visualization"},
    "diagnostics": {*MEASURED, *PARTS},
    "tasks": {*MEASURED, *PARTS},
    "pipeline": {"tracking"},
    "planning": {*SETTINGS, "training"},
    "report": {"config", "evaluation", "visualization"},
    "stages": {*MEASURED, "diagnostics", "report", "tasks", "tracking", "training"},
    "export": {*TRAINED, "report", "__init__"},
    "cli": {*MEASURED, "export", "pipeline", "planning", "report", "tracking", "__init__"},
    "__init__": {"inference", "models"},
    "__main__": {"cli"},
}
EXCEPTIONS = {
    "tracking/pyfunc.py": {"__init__"},  # a served model is loaded by latentlab.load
    "models/__init__.py": {"inference"},  # latentlab.models() lists the models
    "stages/__main__.py": {"__init__"},  # the version, which requirements.txt pins
}
ONLY_IN = {
    "mlflow": {"tracking/store.py", "tracking/model.py", "tracking/pyfunc.py"},
    "jsonargparse": {"config/parser.py"},
    "ruamel": {"config/yaml_edit.py"},
    "submitit": {"pipeline/cluster.py"},
    "onnxruntime": {"export/programs.py"},
    "constriction": {"inference/compression/coder.py"},
    "rich": {"pipeline/progress.py"},
    "shtab": {"cli/completion.py"},
    "matplotlib": {"visualization/charts.py"},
    "jinja2": {"report/page.py"},
    "latex2mathml": {"report/equations.py"},
    "torchmetrics": {"metrics/fid/inception.py"},
    "dvc": {"pipeline/changes.py"},
    "pickle": set(),
}
NO_NUMBERS = {  # imported by stages, but no change of these can change a result
    "__init__.py": "load()",
    "utils": "files, errors, processes, memory",
    "tracking": "sends results to MLflow",
    "stages/__init__.py": "an exit code",
    "stages/mlflow_runs.py": "sends results to MLflow",
    "models/__init__.py": "models()",
    "tasks/__init__.py": "a docstring",
}
FILES = sorted(SRC.rglob("*.py"))


@cache
def relative(path: Path) -> str:
    return path.relative_to(SRC).as_posix()


def folder(path: Path) -> str:
    return path.relative_to(SRC).parts[0].removesuffix(".py")


@cache
def imports(path: Path) -> set[str]:
    """Dotted names imported anywhere in a file, in functions too, but not for type checking."""
    tree, found = ast.parse(path.read_text()), set()
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


@cache
def resolve(name: str) -> Path:
    """The file of a latentlab module, for a dotted name that may end in one of its members."""
    parts = name.split(".")[1:]
    for stop in range(len(parts), -1, -1):
        stem = SRC.joinpath(*parts[:stop])
        for path in (stem.with_suffix(".py"), stem / "__init__.py"):
            if path.is_file():
                return path
    raise AssertionError(f"{name} has no file")


@cache
def reachable(path: Path) -> frozenset[Path]:
    """All files that importing `path` can load and that can change a result, itself included."""
    seen, queue = {path}, [path]
    while queue:
        for name in imports(queue.pop()):
            if name.split(".")[0] != "latentlab":
                continue
            target = resolve(name)
            if target not in seen and not is_within(relative(target), NO_NUMBERS):
                seen.add(target)
                queue.append(target)
    return frozenset(seen)


def is_within(path: str, places) -> bool:
    return any(Path(path).is_relative_to(place) for place in places)


# --- folders ---


def test_every_folder_has_a_floor_and_no_module_stands_alone():
    found = {folder(path) for path in FILES}
    assert found == set(MAY_IMPORT)
    alone = {path.name for path in SRC.glob("*.py")}
    assert alone == {"__init__.py", "__main__.py", "contracts.py"}
    for name in found - {"__init__", "__main__", "contracts"}:
        assert (SRC / name / "__init__.py").is_file()


@pytest.mark.parametrize("path", FILES, ids=relative)
def test_imports_go_down_only(path):
    own = folder(path)
    allowed = {own, *MAY_IMPORT[own], *EXCEPTIONS.get(relative(path), ())}
    if own != "utils":
        allowed |= {"utils"} if own == "contracts" else {"utils", "contracts"}
    for name in imports(path):
        if name.split(".")[0] != "latentlab":
            continue
        target = resolve(name)
        package = relative(target) == "models/__init__.py"  # models()
        own_file = path == target or package
        assert folder(target) != "models" or own_file, f"{name}: models arrive by class_path"
        assert is_within(relative(target).removesuffix(".py"), allowed), f"{own} imports {name}"


@pytest.mark.parametrize("path", FILES, ids=relative)
def test_each_library_has_its_files(path):
    for top in {name.split(".")[0] for name in imports(path)}:
        assert top not in ONLY_IN or relative(path) in ONLY_IN[top], f"{top} in {relative(path)}"
        if folder(path) in TORCH_ONLY:
            assert top not in {"lightning", "numpy", "sklearn", "torchvision", "scipy"}, top


def test_each_library_is_used_where_it_may_be():
    for top, places in ONLY_IN.items():
        for place in places:
            assert top in {name.split(".")[0] for name in imports(SRC / place)}, (top, place)


# --- tests mirror the sources ---

TOP = {
    *(
        "architecture",
        "bench",
        "configs",
        "contracts",
        "crossed_use",
        "crossings",
        "docs",
        "examples",
        "faults",
        "install",
    ),
    *("mnist", "mutants", "pipeline", "reproduction", "settings", "soak", "vocabulary"),
    "wrong_edits",
}
SUBJECTS = {  # tests of several files of their folder
    "models/test_gan_family.py": "the contract of all GANs",
    "report/test_browser.py": "the page in Chromium",
    "tracking/test_outage.py": "the store fails during a training",
    "training/test_adversarial_steps.py": "models with two optimizers in the training loop",
}


def test_each_test_file_is_named_after_what_it_tests():
    unnamed = []
    for path in sorted(TESTS.rglob("test_*.py")):
        place, subject = path.relative_to(TESTS).parent, path.stem.removeprefix("test_")
        if place == Path():
            named = subject in TOP
        else:
            source = SRC / place
            named = place.parts[0] == "fuzz" or path.relative_to(TESTS).as_posix() in SUBJECTS
            named |= (source / f"{subject}.py").is_file() or (source / subject).is_dir()
            named |= source.is_dir() and subject == place.name  # the folder as a whole
        if not named:
            unnamed.append(path.relative_to(TESTS).as_posix())
    assert unnamed == []


# --- what dvc.yaml watches ---

STAGES = ["prepare", "classifier", "reference", "train", "evaluate", "tasks", "report"]
MODELS = sorted(path for path in (SRC / "models").glob("*.py") if path.stem != "__init__")
TASKS = sorted(path for path in (SRC / "tasks").glob("*.py") if path.stem != "__init__")
ITEMS = ("${item}", "${item.code}")


def watched(stage: str) -> list[str]:
    described = yaml.safe_load((REPO / "dvc.yaml").read_text())["stages"][stage]
    return described.get("do", described)["deps"]


def sources(stage: str) -> list[str]:
    """The places of src/latentlab that a stage watches, besides the file of a model or task."""
    start = "src/latentlab/"
    return [dep.removeprefix(start) for dep in watched(stage) if dep.startswith(start)]


def needed(stage: str) -> set[Path]:
    """All files that can change the results of a stage, besides the file of a model or task."""
    roots, items = {SRC / "stages" / f"{stage}.py"}, set()
    if stage == "classifier":
        roots |= {SRC / "models" / "classifier.py"}
    if stage == "train":  # a model and its sampler arrive by class_path
        items = set(MODELS)
        roots |= {*MODELS, *(SRC / "samplers").glob("*.py")}
    if stage == "tasks":
        items = set(TASKS)
        roots |= {*TASKS}
    if stage == "evaluate":
        roots |= set((SRC / "diagnostics").glob("*.py"))
    files = {file for root in roots for file in reachable(root)} - items
    return {path for path in files if not is_within(relative(path), NO_NUMBERS)}


@pytest.mark.parametrize("stage", STAGES)
def test_each_stage_watches_every_file_that_can_change_its_results(stage):
    missing = {relative(p) for p in needed(stage) if not is_within(relative(p), sources(stage))}
    assert missing == set()


@pytest.mark.parametrize("stage", STAGES)
def test_each_stage_watches_nothing_else(stage):
    files = {relative(path) for path in needed(stage)}
    for place in sources(stage):
        assert (SRC / place).exists(), place
        assert any(is_within(file, [place]) for file in files), f"{stage} does not use {place}"
    assert not [place for place in sources(stage) if is_within(place, NO_NUMBERS)]


def test_the_file_of_a_model_or_task_is_watched_by_its_own_stages_only():
    items = {stage: [dep for dep in watched(stage) if dep in ITEMS] for stage in STAGES}
    expected = {stage: [] for stage in STAGES} | {"train": ["${item}"], "tasks": ["${item.code}"]}
    assert items == expected
    for stage in STAGES:
        for place in sources(stage):
            assert place not in ("models", "tasks", "stages"), f"{stage} watches all of {place}"
            assert stage == "evaluate" or not is_within(place, ["diagnostics"]), stage


@pytest.mark.parametrize("stage", ["train", "evaluate"])
def test_the_stages_of_other_seeds_are_those_of_the_first_training(stage):
    """In place of the file of the model: its checksum, which the first training writes."""
    stages = yaml.safe_load((REPO / "dvc.yaml").read_text())["stages"]
    text = yaml.safe_dump(stages[stage]["do"])
    text = text.replace("configs/${key}", "configs/${item.model}")
    text = text.replace("- ${item}\n", "- runs/${item.model}/code.json\n")
    expected = yaml.safe_load(text.replace("${key}", "${item.model}@${item.seed}"))
    expected["params"] = [each for each in expected["params"] if each != "seed"]  # in the command
    matrix = {"model": "${models}", "seed": "${more_seeds}"}
    assert stages[f"{stage}_seed"] == {"matrix": matrix, **expected}


def test_the_lists_are_short():
    counts = {stage: len(watched(stage)) for stage in STAGES}
    assert (counts["train"], counts["evaluate"], counts["tasks"]) == (14, 15, 17)


WITHOUT_POSIX = """
import importlib, os, pkgutil, signal, sys
for library in ("torch", "lightning", "mlflow", "matplotlib.figure", "jsonargparse", "rich"):
    importlib.import_module(library)
for name in ("fcntl", "resource", "pwd", "grp", "termios", "pty"):
    sys.modules[name] = None
for name in ("fork", "getuid", "killpg", "setsid", "wait4", "getpgid", "sched_getaffinity"):
    delattr(os, name)
for name in ("SIGKILL", "SIGHUP", "SIGUSR1", "SIGALRM", "SIGCHLD", "pthread_sigmask", "alarm"):
    delattr(signal, name)
import latentlab
failed = []
for module in pkgutil.walk_packages(latentlab.__path__, "latentlab."):
    if not module.name.endswith("__main__"):
        try:
            importlib.import_module(module.name)
        except Exception as error:
            failed.append(f"{module.name}: {error!r}")
sys.exit("\\n".join(failed) or 0)
"""


def test_every_module_can_be_imported_without_the_modules_that_only_posix_has():
    command = [sys.executable, "-c", WITHOUT_POSIX]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr


def test_git_has_no_output_of_the_pipeline():
    """`git add --all` after a run would take dvc.lock, which is stale at the next change."""
    if not (REPO / ".git").exists():
        pytest.skip("no git repository")
    outputs = ("dvc.lock", "runs", "results", "reports", "data/prepared", "data/reference")
    listed = subprocess.run(
        ["git", "ls-files", *outputs], cwd=REPO, capture_output=True, text=True, check=True
    )
    assert listed.stdout == ""
