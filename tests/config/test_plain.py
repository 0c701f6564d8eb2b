"""Settings read without jsonargparse are those that jsonargparse would return."""

from dataclasses import asdict, dataclass, field
from typing import Any, Literal

import pytest

from latentlab.config import parser
from latentlab.config.plain import settings_as_given
from latentlab.utils.errors import LatentlabError


@dataclass(frozen=True)
class Inner:
    a: int = 1


@dataclass(frozen=True)
class Settings:
    integer: int = 0
    number: float = 0.5
    flag: bool = False
    text: str = "x"
    limit: int | None = None
    path: str | None = None
    devices: int | str = "auto"
    white: float | str | None = None
    choice: Literal["32-true", "null", "best"] = "best"
    inner: Inner = field(default_factory=Inner)


TYPES = (
    *(int, float, str, bool, list[int], list[str], dict[str, str], dict[str, dict[str, str]]),
    *(int | None, str | None, int | str, float | str | None, Literal["a", "5"], Settings),
)
SCALARS: tuple[Any, ...] = (
    *(0, -3, 2**60, 2**70, 60, 1.0, float("inf"), -1e300, True, None, "", "a", "auto", "null", "~"),
    *("true", "on", "5", "1e3", "1_000", "0x1", "[1]", "{a: 1}", "a: b", "#ff8000", "a #b", "a b"),
    *("data/images", "/tmp/x", "x@1", "32-true", "inf", ".inf", ".nan", "2020-01-01", "=", "a,b"),
    *("1:30", "é", "a\nb", "- a", "-", "_", ".", "..", " a"),
)
VALUES = (
    *SCALARS,
    [],
    [1],
    ["a"],
    {},
    {"a": 1},
    {"a": None},
    {"c": 1},
    {"a": {"b": "c"}},
    {1: "b"},
)


def parsed(monkeypatch, *arguments):
    with monkeypatch.context() as patch:
        patch.setattr(parser, "settings_as_given", lambda *arguments: None)
        return parser.parse_settings(*arguments, "params.yaml")


def plain_data(value):
    """The value with its types: 60 and 60.0 are equal, but not the same."""
    if isinstance(value, Settings | Inner):
        value = asdict(value)
    if isinstance(value, dict):
        return {key: plain_data(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return list(map(plain_data, value))
    return repr(value)


def same(monkeypatch, content, types, sections) -> bool:
    """Return True if the settings were read without jsonargparse. They must then be equal."""
    if (given := settings_as_given(content, types, sections)) is None:
        return False
    expected = parsed(monkeypatch, content, types, sections)
    for key in (*types, *sections):
        found = plain_data(getattr(given, key))
        assert found == plain_data(getattr(expected, key)), content
    return True


@pytest.mark.parametrize("type_", TYPES, ids=str)
def test_what_is_accepted_is_what_jsonargparse_returns(monkeypatch, type_):
    contents = [{"x": each} for value in VALUES for each in (value, [value], {"k": value})]
    assert sum(same(monkeypatch, content, {"x": (type_,)}, {}) for content in contents)


@pytest.mark.parametrize("key", Settings.__dataclass_fields__)
def test_a_section_is_what_jsonargparse_returns(monkeypatch, key):
    contents = [{"trainer": {key: value}} for value in VALUES]
    assert sum(same(monkeypatch, content, {}, {"trainer": Settings}) for content in contents)


def test_missing_values_are_defaults_or_errors(monkeypatch):
    assert same(monkeypatch, {}, {"seeds": (list[int], [])}, {"trainer": Settings})
    assert settings_as_given({}, {"seed": (int,)}, {}) is None
    assert settings_as_given({"sed": 1}, {"seed": (int, 0)}, {}) is None
    with pytest.raises(LatentlabError, match="seed"):
        parser.parse_settings({}, {"seed": (int,)}, {}, "params.yaml")
