"""The errors of jsonargparse in one sentence: which key, of which class, has which value, and what
is allowed.

Its messages are trees of indented lines, one level for each class and each option of a union. The
innermost key is the one to correct; around it the message repeats whole sections.
"""

from __future__ import annotations

import re

from latentlab.config.keys import nearest

KEY = re.compile(r'Parser key "([^"]+)":')
CLASS = re.compile(r"Problem with given class_path '([^']+)':")
UNION = "Does not validate against any of the Union subtypes"
NONE = "NoneType"


def one_sentence(message: str) -> str:
    """The reason of an error message of jsonargparse."""
    lines = [line.strip() for line in message.splitlines()]
    text = " ".join(_of_first_option(lines)).removeprefix("- ").strip()
    if text == "the following arguments are required: model":
        return "there is no section `model`; write one, with a class_path and init_args"
    keys, classes = KEY.findall(text) or KEY.findall(message)[:1], CLASS.findall(text)
    reason = KEY.split(text)[-1].strip()
    if not keys or (reason.startswith(UNION) and CLASS.search(reason)):
        return text
    name = f"{keys[-1]} of {classes[-1]}" if classes else keys[-1]
    return _explained(name, reason, _given(message)) or text


def _of_first_option(lines: list[str]) -> list[str]:
    """Of a section that may be null, the errors of the section: not null, nor the value again."""
    start = lines.index("Errors:") + 1 if "Errors:" in lines else len(lines)
    ends = [i for i, line in enumerate(lines) if line == f"- Expected a <class '{NONE}'>"]
    if start == len(lines) or not ends or lines[start].startswith("- Expected"):
        return lines
    return lines[start : ends[-1]]


def _explained(name: str, reason: str, given: str) -> str | None:
    """The sentence for one value that is refused for `reason`; None for an unknown reason."""
    if wrong := re.match(r"Expected an? (.+?)\. Got value: (.*)$", reason):
        return f"{name} is {wrong[2]!r}; {_allowed(wrong[2], [wrong[1]])}"
    if wrong := re.match(rf"{UNION} Subtypes: \[(.*?)\] Errors:", reason):
        types = re.findall(r"<class '[^']+'>|[\w.]+(?:\[[^\]]*\])?", wrong[1])
        return f"{name} is {given!r}; {_allowed(given, types)}"
    if wrong := re.match(
        r"Not a valid subclass of (\w+)\. Got value: (.*?) Subclass types", reason
    ):
        return f"{name} is {wrong[2]!r}; it must be a mapping of class_path and init_args"
    if wrong := re.match(r"Import path (\S+) does not correspond to a subclass of (\w+)", reason):
        return f"{name} has the class_path {wrong[1]!r}; it must be a subclass of {wrong[2]}"
    if wrong := re.match(r"Unable to load config ['\"](.*?)['\"]", reason):
        return f"{name} is {wrong[1]!r}; it must be a mapping"
    return None


def _given(message: str) -> str:
    """The value of the innermost union: the first one that is given again."""
    found = re.search(r"Given value: (.*)", message)
    return found[1].strip() if found else ""


def _allowed(value: str, types: list[str]) -> str:
    """What the types allow: names of choices, or of types."""
    choices = [c for each in types if "Literal[" in each for c in re.findall(r"'([^']*)'", each)]
    names = [_type_name(each) for each in types if "Literal[" not in each]
    if not names:
        close = nearest(value, choices)
        hint = f"; did you mean {close!r}?" if close else ""
        return f"allowed: {', '.join(choices)}{hint}"
    options = [*(name for name in names if name != "null"), *map(repr, choices)]
    options += [name for name in names if name == "null"]
    last = f"{', '.join(options[:-1])} or {options[-1]}" if len(options) > 1 else options[0]
    return f"it must be of type {last}"


def _type_name(type_: str) -> str:
    """<class 'collections.abc.Sequence'> → Sequence; NoneType is null in YAML."""
    bare, bracket, inside = type_.removeprefix("<class '").removesuffix("'>").partition("[")
    name = bare.rpartition(".")[2] + bracket + inside
    return "null" if name == NONE else name
