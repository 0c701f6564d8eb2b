"""Plain data of YAML files → objects, by jsonargparse. Signatures of the classes are the schema.

Names are checked before anything is imported (allowed.py), keys before anything is parsed
(keys.py), numbers before anything is built (ranges.py), and memory before anything is allocated
(model_size.py).
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import is_dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Any, get_type_hints

from latentlab.config.allowed import PACKAGES, check_class_paths, not_allowed
from latentlab.config.keys import check_arguments
from latentlab.config.messages import one_sentence
from latentlab.config.model_size import check_size
from latentlab.config.plain import settings_as_given
from latentlab.config.ranges import check_ranges
from latentlab.utils.errors import LatentlabError

if TYPE_CHECKING:
    from lightning import LightningModule

    from latentlab.contracts import Task

UNBUILDABLE = (ValueError, LookupError, ArithmeticError, RuntimeError, MemoryError)


def assemble(
    name: str,
    content: Mapping[str, Any],
    data_spec: Mapping[str, Any],
    *,
    files: str,
    allow: Sequence[str] = (),
    before: Callable[[], None] = lambda: None,
) -> tuple[LightningModule, Any, dict[str, Any]]:
    """Build `model` and `sampler` of a configuration. Return both, and their plain data.

    `data_spec`: arguments that the data decide. `allow`: packages besides PACKAGES. `before` is
    called just before the modules are built in memory; it seeds. Raise LatentlabError for a class
    that is not allowed, an unknown key, a wrong type, and a model that cannot be built or does not
    fit into memory.
    """
    known = {key: content[key] for key in ("model", "sampler") if content.get(key) is not None}
    packages = (*PACKAGES, *allow)
    for section, tree in known.items():
        if not isinstance(tree, Mapping):
            raise LatentlabError(
                f"{files}: {section} is {tree!r}; it must be a mapping of class_path and init_args"
            )
        check_class_paths(tree, packages, files, section)
    with _imports_only(packages):
        make, plain = _recipe(known, data_spec, files)
        check_size(make, name, files)
        before()
        try:
            model, sampler = make()
        except UNBUILDABLE as error:
            reason = one_sentence(str(error)) or type(error).__name__
            raise LatentlabError(f"{name} cannot be built ({files}): {reason}") from None
    return model, sampler, plain


def assemble_task(
    spec: Any, *, files: str, allow: Sequence[str] = ()
) -> tuple[Task, dict[str, Any]]:
    """Build the task that `spec` (class_path, init_args) describes. Return it and its plain data.

    Raise LatentlabError as `assemble`.
    """
    import yaml
    from jsonargparse import ArgumentParser

    from latentlab.contracts import Task

    packages = (*PACKAGES, *allow)
    check_class_paths(spec, packages, files, "task")
    with _imports_only(packages):
        if isinstance(spec, Mapping):
            check_arguments(spec, f"{files}: task")
        parser = ArgumentParser(exit_on_error=False)
        parser.add_subclass_arguments(Task, "task", required=True)
        parsed = _parse(parser, {"task": spec}, files)
        plain = yaml.safe_load(parser.dump(parsed, skip_default=False))
        _check_fields(plain["task"], files)
        check_ranges(plain, files)
        try:
            return parser.instantiate(parsed).task, plain
        except UNBUILDABLE as error:
            raise LatentlabError(f"{files}: {one_sentence(str(error))}") from None


def parse_settings(
    content: Mapping[str, Any], types: Mapping[str, Any], sections: Mapping[str, type], files: str
) -> Any:
    """Parse plain values by their `types`, and `sections` into dataclasses; all as attributes.

    Values without a default in `types`, a pair (type, default), are required. Raise LatentlabError
    for a wrong type or a missing value.
    """
    if (plain := settings_as_given(content, types, sections)) is not None:
        return plain
    from jsonargparse import ArgumentParser

    parser = ArgumentParser(exit_on_error=False)
    for name, (type_, *default) in types.items():
        given = {"default": default[0]} if default else {"required": True}
        parser.add_argument(f"--{name}", type=type_, **given)
    for section, settings in sections.items():
        parser.add_class_arguments(settings, section)
    return parser.instantiate(_parse(parser, content, files))


def _parse(parser: Any, content: Mapping[str, Any], files: str) -> Any:
    """Call parse_object of jsonargparse; its errors become a LatentlabError of one line."""
    from jsonargparse import ArgumentError

    try:
        return parser.parse_object(dict(content))
    except (ArgumentError, TypeError, ValueError) as error:
        if denied := re.search(r"Importing '([^']+)' is not allowed", str(error)):
            raise not_allowed(denied[1], files) from None
        raise LatentlabError(f"{files}: {one_sentence(str(error))}") from None


def _check_fields(task: Mapping[str, Any], files: str) -> None:
    """Check the types of a task's settings. jsonargparse accepts any for a subclass's dataclass."""
    module, _, name = task["class_path"].rpartition(".")
    cls = getattr(import_module(module), name)
    if is_dataclass(cls):
        types = {key: (hint,) for key, hint in get_type_hints(cls).items()}
        given = task.get("init_args", {})
        parse_settings(given, {key: types[key] for key in given if key in types}, {}, files)


def _recipe(
    known: Mapping[str, Any], data_spec: Mapping[str, Any], files: str
) -> tuple[Callable[[], tuple[Any, Any]], dict[str, Any]]:
    """Parse by the signatures. Return a function that builds (model, sampler), and plain data."""
    import yaml
    from jsonargparse import ArgumentParser
    from lightning import LightningModule
    from torch.nn import Module

    from latentlab.contracts import LatentSampler

    parser = ArgumentParser(exit_on_error=False)
    reserved = {*data_spec, "prior"}
    for section, spec in known.items():
        check_arguments(spec, f"{files}: {section}", reserved=reserved)
    parser.add_subclass_arguments(LightningModule, "model", skip=reserved, required=True)
    parser.add_subclass_arguments(Module, "sampler", required=False)
    parsed = _parse(parser, known, files)
    plain = yaml.safe_load(parser.dump(parsed, skip_default=False)) or {}
    check_ranges(plain, files)

    def make_one(section: str, extra: Mapping[str, Any]) -> Any:
        def construct(cls: Callable[..., Any], **init_args: Any) -> Any:
            wanted = inspect.signature(cls).parameters
            return cls(**init_args, **{key: extra[key] for key in extra if key in wanted})

        alone = parsed.clone()
        alone.pop({"model": "sampler", "sampler": "model"}[section], None)
        built = parser.instantiate(alone, instantiators=[(construct, LightningModule, True)])
        return built[section]

    def make() -> tuple[Any, Any]:
        sampler = make_one("sampler", {}) if "sampler" in known else None
        if sampler is not None and not isinstance(sampler, LatentSampler):
            raise ValueError(
                f"{type(sampler).__name__} is no sampler: it needs learns, fit and sample"
            )
        return make_one("model", {**data_spec, "prior": sampler}), sampler

    return make, {key: value for key, value in plain.items() if value is not None}


@contextmanager
def _imports_only(packages: Sequence[str]) -> Iterator[None]:
    """Let jsonargparse import from these packages only, also for names inside of strings.

    The setting is restored on exit: it belongs to the process, and other code may use it.
    """
    from jsonargparse import _common, set_parsing_settings

    before = dict(_common.parsing_settings)  # there is no public function that returns it
    set_parsing_settings(
        import_path_denylist=["*"],
        import_path_allowlist=list(packages),
        instantiate_subclass_spec_in_any=False,
    )
    try:
        yield
    finally:
        _common.parsing_settings.update(before)
