"""The optional Protocols: the table of docs/new-model.md is that of the code."""

import inspect
import re
from functools import cache
from importlib import import_module
from pathlib import Path

import pytest

from latentlab import contracts
from latentlab.config import load_experiment
from latentlab.config.selection import model_entry, model_names

REPO = Path(__file__).resolve().parents[1]
DATA_SPEC = {"image_shape": (1, 28, 28), "num_classes": 10}
BASIC = {"Model", "Encoder", "LatentSampler", "ClassSampler", "StructuredSampler", "DoubleBackward"}
SWITCH = re.compile(r"(Diagnostics?|Figures?|Metrics?|Task): ([\w, ]+)\.")


@cache
def protocols():
    """Name → optional Protocol, in the order of contracts.py."""
    found = {name: cls for name, cls in vars(contracts).items() if inspect.isclass(cls)}
    return {
        name: cls
        for name, cls in found.items()
        if getattr(cls, "_is_runtime_protocol", False)
        and cls.__module__ == contracts.__name__
        and name not in BASIC
    }


@cache
def models():
    """File of models/ → one model of each of its configs."""
    built = {}
    for name in model_names(REPO):
        stem = Path(model_entry(REPO, name)).stem
        built.setdefault(stem, []).append(load_experiment(name, DATA_SPEC, REPO).model)
    return built


def implementing(protocol):
    return [stem for stem, built in models().items() if any(isinstance(m, protocol) for m in built)]


def members(protocol):
    own = [name for name in vars(protocol) if not name.startswith("_")]
    return [
        *protocol.__annotations__,
        *(name for name in own if name not in protocol.__annotations__),
    ]


def switches(protocol):
    """Features that the Protocol switches on by its docstring: [(type, names)]."""
    text = " ".join(inspect.getdoc(protocol).split())
    return [(kind.removesuffix("s"), names.split(", ")) for kind, names in SWITCH.findall(text)]


def row(name, protocol):
    on = "; ".join(
        f"{kind.lower()} {', '.join(f'`{each}`' for each in names)}"
        for kind, names in switches(protocol)
    )
    listed = ", ".join(f"`{member}`" for member in members(protocol))
    used = ", ".join(sorted(implementing(protocol)))
    return f"| `{name}` | {listed} | {on} | {used} |"


def test_the_table_of_the_guide_lists_every_protocol():
    lines = (REPO / "docs" / "new-model.md").read_text().splitlines()
    start = lines.index("| Protocol | members | switches on | models |")
    table = []
    for line in lines[start + 2 :]:
        if not line.startswith("|"):
            break
        table.append(line)
    assert table == [row(name, protocol) for name, protocol in protocols().items()]


@pytest.mark.parametrize("name", sorted(protocols()))
def test_every_protocol_is_implemented_and_switches_something_on(name):
    assert implementing(protocols()[name]), "no model has all members"
    assert switches(protocols()[name])


@pytest.mark.parametrize("name", sorted(protocols()))
def test_what_a_protocol_switches_on_exists_and_needs_it(name):
    protocol = protocols()[name]
    for kind, stems in switches(protocol):
        for stem in stems:
            if kind == "Task":
                assert (REPO / "src/latentlab/tasks" / f"{stem}.py").is_file()
                continue
            if kind != "Diagnostic":
                continue
            applies = import_module(f"latentlab.diagnostics.{stem}").applies
            chosen = [model for built in models().values() for model in built if applies(model)]
            assert chosen
            assert all(isinstance(model, protocol) for model in chosen)


def test_every_diagnostic_is_switched_on_by_a_protocol_or_by_any_model():
    files = {path.stem for path in (REPO / "src/latentlab/diagnostics").glob("[a-z]*.py")}
    named = {
        stem
        for protocol in protocols().values()
        for kind, stems in switches(protocol)
        for stem in stems
        if kind == "Diagnostic"
    }
    assert files - named == {
        "contraction",
        "identity_mapping",
        "latent_plane",
        "novelty",
        "reconstruction_faults",
    }
    assert named <= files


if __name__ == "__main__":
    print("\n".join(row(name, protocol) for name, protocol in protocols().items()))
