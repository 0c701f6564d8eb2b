"""Values that have their declared type already → settings, without jsonargparse.

Importing jsonargparse takes longer than all else that `latentlab results` does. Most projects have
nothing that it would convert or refuse. `settings_as_given` accepts a part of what it accepts, with
the same result. It refuses nothing itself: the rules, and the messages, are those of parser.py.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from types import NoneType, SimpleNamespace, UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

# text that no YAML parser reads as anything else
TEXT = re.compile(r"[A-Za-z_/][A-Za-z0-9_./@-]*")
WORDS = {"null", "none", "true", "false", "yes", "no", "on", "off", "y", "n", "inf", "nan"}


class _NotPlain(Exception):
    """A value that jsonargparse has to convert or to refuse, or a type that is not known here."""


def settings_as_given(
    content: Mapping[str, Any], types: Mapping[str, Any], sections: Mapping[str, type]
) -> Any:
    """Return what `parser.parse_settings` returns; None if a value has to be converted or is wrong.

    The arguments are those of parse_settings.
    """
    if set(content) - set(types) - set(sections):
        return None
    found = {}
    try:
        for name, (type_, *default) in types.items():
            if name not in content and default:
                found[name] = default[0]
            elif content.get(name) is None:  # missing, or not null for any type
                return None
            else:
                found[name] = _as_given(content[name], type_)
        for name, settings in sections.items():
            found[name] = _as_given(content.get(name, {}), settings)
    except Exception:  # also an error of a dataclass: jsonargparse meets it again, and reports it
        return None
    return SimpleNamespace(**found)


def _as_given(value: Any, type_: Any) -> Any:
    """Return a value of this type. Raise _NotPlain if it is not certain to be one."""
    origin, arguments = get_origin(type_), get_args(type_)
    if is_dataclass(type_) and isinstance(type_, type):
        return _dataclass(value, type_)
    if origin is Literal and type(value) is str and value in arguments:
        return value
    if origin in (Union, UnionType):
        if any(_is_scalar(value, each) for each in arguments):
            return value
    elif origin is list and type(value) is list:
        return [_as_given(each, arguments[0]) for each in value]
    elif origin is dict and type(value) is dict and arguments[0] is str:
        return {_as_given(k, str): _as_given(v, arguments[1]) for k, v in value.items()}
    elif type_ is float and type(value) is int and abs(value) <= 2**53:
        return float(value)
    elif _is_scalar(value, type_):
        return value
    raise _NotPlain


def _dataclass(value: Any, type_: Any) -> Any:
    if not isinstance(value, dict) or set(value) - {field.name for field in fields(type_)}:
        raise _NotPlain
    hints = get_type_hints(type_)
    return type_(**{key: _as_given(each, hints[key]) for key, each in value.items()})


def _is_scalar(value: Any, type_: Any) -> bool:
    """True if the type of the value is this one. An integer is no float, a bool is no integer."""
    if type_ not in (int, float, bool, str, NoneType) or type(value) is not type_:
        return False
    return type_ is not str or bool(TEXT.fullmatch(value) and value.lower() not in WORDS)
