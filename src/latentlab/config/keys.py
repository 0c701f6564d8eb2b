"""Unknown keys are errors. The message names the nearest allowed key, or lists all of them."""

from __future__ import annotations

import inspect
import typing
from collections.abc import Collection, Iterable, Mapping
from dataclasses import is_dataclass
from importlib import import_module
from pkgutil import iter_modules
from typing import Any

from latentlab.utils.errors import LatentlabError

CLASS_KEYS = ("class_path", "init_args", "dict_kwargs")  # of jsonargparse
TORCH_MODULE = "torch.nn.modules.module"
VARIADIC = (inspect.Parameter.VAR_KEYWORD, inspect.Parameter.VAR_POSITIONAL)


def require_known(given: Iterable[str], allowed: Collection[str], where: str) -> None:
    """Raise LatentlabError for the first key of `given` that is not in `allowed`.

    `where` names the file, the section and the class, for the message.
    """
    for key in sorted(set(given) - set(allowed)):
        raise LatentlabError(f"{where} has no key {key[:100]!r}; {_hint(key[:100], allowed)}")


def nearest(name: str, known: Iterable[str]) -> str | None:
    """The most similar of the known names, or None if none is similar (difflib, ratio >= 0.6)."""
    from difflib import get_close_matches  # here, as the import is slow, and only errors need it

    return next(iter(get_close_matches(name, list(known), n=1)), None)


def check_arguments(spec: Mapping[str, Any], where: str, *, reserved: Collection[str] = ()) -> None:
    """Raise LatentlabError for an argument that a class of the configuration does not have.

    `spec` has class_path and init_args. Nested classes and dataclasses are checked as well.
    `reserved`: arguments that the data and the sampler set, never a YAML file. Call this after
    `allowed.check_class_paths`: it imports the classes. What cannot be imported passes: the parser
    reports it.
    """
    cls = _import(spec.get("class_path"), where)
    if cls is None:
        return
    require_known(spec, CLASS_KEYS, where)
    _check_block(spec.get("init_args"), [cls], f"{where}.init_args", reserved)


def _check_block(
    block: Any, classes: list[type], where: str, reserved: Collection[str] = ()
) -> None:
    """Compare the keys of `block` with the arguments of the classes, one of which it describes."""
    arguments = [_arguments(cls) for cls in classes]
    if not isinstance(block, Mapping) or not classes or None in arguments:
        return
    known = {name: blocks for each in arguments if each for name, blocks in each.items()}
    names = " or ".join(f"{cls.__module__}.{cls.__qualname__}" for cls in classes)
    require_known(block, [name for name in known if name not in reserved], f"{where} ({names})")
    for cls in classes:
        _check_mappings(block, cls, where)
    for key, value in block.items():
        for place, item in _items(f"{where}.{key}", value):
            if "class_path" in item:
                check_arguments(item, place)
            elif "init_args" not in item:
                _check_block(item, known[key], place)


def _check_mappings(block: Mapping[str, Any], cls: type, where: str) -> None:
    """Raise LatentlabError if a block of settings (a dataclass) is a number, a list or null."""
    for parameter in inspect.signature(cls).parameters.values():
        value = block.get(parameter.name, {})
        if is_dataclass(parameter.default) and not isinstance(value, Mapping | str):
            raise LatentlabError(
                f"{where}.{parameter.name} is {value!r}; it must be a mapping of the settings of"
                f" {type(parameter.default).__qualname__}"
            )


def _items(where: str, value: Any) -> list[tuple[str, Mapping[str, Any]]]:
    """The mappings that `value` is or lists."""
    listed = [(where, value)]
    if isinstance(value, list):
        listed = [(f"{where}.{index}", item) for index, item in enumerate(value)]
    return [(place, item) for place, item in listed if isinstance(item, Mapping)]


def _arguments(cls: type) -> dict[str, list[type]] | None:
    """Arguments of a class, each with the dataclasses that a block without class_path describes.

    None if the class takes any arguments (*args or **kwargs).
    """
    init = inspect.getattr_static(cls, "__init__")
    if getattr(init, "__module__", "") == TORCH_MODULE:
        return {}  # a module without __init__ takes no arguments, whatever torch declares
    try:
        parameters = inspect.signature(cls).parameters.values()
    except (TypeError, ValueError):
        return None
    if any(parameter.kind in VARIADIC for parameter in parameters):
        return None
    try:
        hints = typing.get_type_hints(init)
    except Exception:  # a type that only the type checker imports
        hints = {}
    return {each.name: _dataclasses(hints.get(each.name), each.default) for each in parameters}


def _dataclasses(hint: Any, default: Any) -> list[type]:
    """The dataclasses of a type hint (of `MLP | Conv` both), or else that of the default value."""
    options = typing.get_args(hint) or (hint,)
    found = [each for each in options if isinstance(each, type) and is_dataclass(each)]
    return found or ([type(default)] if is_dataclass(default) else [])


def _import(class_path: Any, where: str) -> type | None:
    """Return the class; None for what is no class path, which the parser reports.

    Raise LatentlabError for a module or a class that does not exist, with a similar name.
    """
    module, _, name = class_path.rpartition(".") if isinstance(class_path, str) else ("", "", "")
    try:
        home = import_module(module)
    except ModuleNotFoundError as error:
        if error.name and module.startswith(error.name):
            _refuse_absent(class_path, error.name, where)
        return None
    except Exception:  # whatever a module raises while it is imported: the parser reports it
        return None
    found = getattr(home, name, None)
    if found is None:
        classes = [key for key, value in vars(home).items() if isinstance(value, type)]
        close = nearest(name, classes)
        hint = f"did you mean '{module}.{close}'?" if close else "write the name of a class in it"
        raise LatentlabError(
            f"{where}.class_path is {class_path!r}, but {module} has no {name!r}: {hint}"
        )
    return found if isinstance(found, type) else None


def _refuse_absent(class_path: str, module: str, where: str) -> None:
    """Raise LatentlabError for an absent module of a package: a similar one, or the file to write.

    A name inside of a module that is no package passes: the parser refuses it.
    """
    package, _, name = module.rpartition(".")
    folders = getattr(import_module(package), "__path__", None) if package else []
    if folders is None:
        return
    close = nearest(name, [found.name for found in iter_modules(folders)])
    hint = f"did you mean '{package}.{close}'?" if close else f"write {module.replace('.', '/')}.py"
    raise LatentlabError(
        f"{where}.class_path is {class_path!r}, but there is no module {module!r}: {hint}"
    )


def _hint(key: str, allowed: Collection[str]) -> str:
    close = nearest(key, allowed)
    return f"did you mean {close!r}?" if close else f"allowed: {', '.join(allowed) or 'none'}"
