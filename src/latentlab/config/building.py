"""Class names and arguments → modules: what may be named, how large it may be, what is wrong.

A configuration may come from a stranger, and to import a module is to run it. So a name is judged
before anything is imported, and a network is measured before any of it is allocated.
"""

from __future__ import annotations

import inspect
import re
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from latentlab.contracts import LatentlabError, Sampler, Task
from latentlab.data.limits import memory_limit

if TYPE_CHECKING:
    from lightning import LightningModule

PACKAGES = ("latentlab", "torch")
GIB = 2**30
UNBUILDABLE = (ValueError, LookupError, ArithmeticError, RuntimeError, MemoryError)


def assemble(
    name: str,
    content: Mapping[str, Any],
    facts: Mapping[str, Any],
    *,
    files: str,
    allow: Sequence[str] = (),
    before: Callable[[], None] = lambda: None,
) -> tuple[LightningModule, Any, dict[str, Any]]:
    """Build `model` and `sampler` of a configuration: (model, sampler, both as plain data).

    `facts` are arguments that the data decide; `allow` names packages besides PACKAGES. `before` is
    called just before the true construction (to seed it). Raises LatentlabError for a name that is
    not allowed, a wrong key or type, and what cannot be built or does not fit into memory.
    """
    known = {key: content[key] for key in ("model", "sampler") if content.get(key) is not None}
    packages = (*PACKAGES, *allow)
    for section, tree in known.items():
        if not isinstance(tree, Mapping):
            raise LatentlabError(
                f"{files}: {section} must be a mapping of class_path and init_args, got {tree!r}"
            )
        _judge_names(tree, packages, files, section)
    with _imports_only(packages):
        make, plain = _recipe(known, facts, files)
        _check_size(make, name, files)
        before()
        try:
            model, sampler = make()
        except UNBUILDABLE as error:
            told = _essence(str(error)) or type(error).__name__
            raise LatentlabError(f"{name} cannot be built ({files}): {told}") from None
    return model, sampler, plain


def assemble_task(
    content: Mapping[str, Any], *, files: str, allow: Sequence[str] = ()
) -> tuple[Task, dict[str, Any]]:
    """Build the `task` of a configuration: (task, all its values as plain data)."""
    import yaml
    from jsonargparse import ArgumentParser

    packages = (*PACKAGES, *allow)
    _judge_names(content.get("task"), packages, files, "task")
    with _imports_only(packages):
        parser = ArgumentParser(exit_on_error=False)
        parser.add_subclass_arguments(Task, "task", required=True)
        parsed = parse(parser, {"task": content.get("task")}, files)
        plain = yaml.safe_load(parser.dump(parsed, skip_default=False))
        try:
            return parser.instantiate(parsed).task, plain
        except UNBUILDABLE as error:
            raise LatentlabError(f"{files}: {_essence(str(error))}") from None


def parse(parser: Any, content: Mapping[str, Any], files: str) -> Any:
    """jsonargparse's parse_object with errors of one line."""
    from jsonargparse import ArgumentError

    try:
        return parser.parse_object(dict(content))
    except (ArgumentError, TypeError, ValueError) as error:
        if denied := re.search(r"Importing '([^']+)' is not allowed", str(error)):
            raise _foreign(denied[1], files) from None
        raise LatentlabError(f"{files}: {_essence(str(error))}") from None


def _recipe(
    known: Mapping[str, Any], facts: Mapping[str, Any], files: str
) -> tuple[Callable[[], tuple[Any, Any]], dict[str, Any]]:
    """Parse by the signatures of the classes: how to build (model, sampler), and the plain data."""
    import yaml
    from jsonargparse import ArgumentParser
    from lightning import LightningModule
    from torch.nn import Module

    parser = ArgumentParser(exit_on_error=False)
    given = {*facts, "prior"}  # what the data and the sampler section give, and no YAML may
    parser.add_subclass_arguments(LightningModule, "model", skip=given, required=True)
    parser.add_subclass_arguments(Module, "sampler", required=False)
    parsed = parse(parser, known, files)
    plain = yaml.safe_load(parser.dump(parsed, skip_default=False)) or {}

    def make_one(section: str, gifts: Mapping[str, Any]) -> Any:
        def construct(cls: Callable[..., Any], **init_args: Any) -> Any:
            wanted = inspect.signature(cls).parameters
            return cls(**init_args, **{key: gifts[key] for key in gifts if key in wanted})

        alone = parsed.clone()
        alone.pop({"model": "sampler", "sampler": "model"}[section], None)
        return parser.instantiate(alone, instantiators=[(construct, LightningModule, True)])[
            section
        ]

    def make() -> tuple[Any, Any]:
        sampler = make_one("sampler", {}) if "sampler" in known else None
        if sampler is not None and not isinstance(sampler, Sampler):
            raise ValueError(f"{type(sampler).__name__} is no sampler: it needs fit and sample")
        return make_one("model", {**facts, "prior": sampler}), sampler

    return make, {key: value for key, value in plain.items() if value is not None}


def _judge_names(tree: Any, packages: Sequence[str], files: str, at: str) -> None:
    """Refuse each class_path outside of `packages` and each number beyond 64 bits, by its key."""
    if isinstance(tree, Mapping):
        branches = [(str(key), value) for key, value in tree.items()]
    elif isinstance(tree, list):
        branches = [(str(index), value) for index, value in enumerate(tree)]
    else:
        if isinstance(tree, int) and not -(2**63) <= tree < 2**63:
            raise LatentlabError(f"{files}: {at} is a number of more than 64 bits")
        return
    for key, value in branches:
        here = f"{at}.{key if key.isprintable() else repr(key)}"
        if here.endswith(".class_path") and not _within(value, packages):
            raise _foreign(str(value), files, here)
        _judge_names(value, packages, files, here)


def _within(name: Any, packages: Sequence[str]) -> bool:
    """Whether a full dotted name lies in one of the packages; a bare class name lies in none."""
    return isinstance(name, str) and any(name.startswith(f"{package}.") for package in packages)


def _foreign(name: str, files: str, at: str = "a value") -> LatentlabError:
    shown, package = name[:100], name.split(".")[0][:100]
    return LatentlabError(
        f"{files}: {at} names {shown!r}, which was not imported: a configuration may name, in full,"
        f" classes of {' and '.join(PACKAGES)}; if you trust the code, write `allow: [{package}]`"
        " at the top of your own params.yaml"
    )


@contextmanager
def _imports_only(packages: Sequence[str]) -> Iterator[None]:
    """jsonargparse's own lock, for names that hide in strings; other users of it lose nothing."""
    from jsonargparse import _common, set_parsing_settings

    before = dict(_common.parsing_settings)  # the settings are the process's and have no getter
    set_parsing_settings(
        import_path_denylist=["*"],
        import_path_allowlist=list(packages),
        instantiate_subclass_spec_in_any=False,
    )
    try:
        yield
    finally:
        _common.parsing_settings.update(before)


def _check_size(make: Callable[[], tuple[Any, Any]], name: str, files: str) -> None:
    """Build without memory, on torch's meta device, and compare with what the machine has."""
    import torch

    try:
        with torch.device("meta"):
            modules = [module for module in make() if module is not None]
    except Exception as error:
        if "overflow" not in str(error).lower():
            return  # the true construction says what is wrong, if anything is
        raise LatentlabError(
            f"{name} cannot be built ({files}): a size is beyond 64 bits; it has too many digits"
        ) from None
    tensors = {
        id(tensor): tensor for m in modules for tensor in (*m.parameters(), *m.buffers())
    }.values()
    count = sum(tensor.numel() for tensor in tensors)
    needed = 4 * sum(tensor.numel() * tensor.element_size() for tensor in tensors)
    if needed > (most := memory_limit() or sys.maxsize):
        raise LatentlabError(
            f"{name} cannot be built ({files}): its {count:,} numbers need {needed / GIB:,.0f} GiB"
            " to train (weights, gradients, Adam's two moments), and there are"
            f" {most / GIB:,.1f} GiB: look for a size with too many digits"
        )


def _essence(message: str) -> str:
    """What is wrong, without the union and the given value that jsonargparse repeats around it."""
    lines = [line.strip() for line in message.splitlines()]
    starts = [i for i, line in enumerate(lines) if line.startswith("- Problem with given")]
    ends = [i for i, line in enumerate(lines) if line == "- Expected a <class 'NoneType'>"]
    if starts and ends:
        lines = lines[starts[0] : ends[0]]
    return " ".join(lines).removeprefix("- ").strip()
