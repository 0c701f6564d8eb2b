"""Read YAML strictly, by DVC's rules: what PyYAML accepts silently is an error with its line.

DVC reads YAML 1.2, PyYAML YAML 1.1. By 1.1, `010` is 8, `1:30` is 90, `no` is false and `1e-06` is
text. Here, as in DVC, they are 10, text, text and a number.
"""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import Any

import yaml

from latentlab.utils.errors import LatentlabError

MAX_BYTES = 2**20  # a configuration is a thousand times smaller
TEXT = "tag:yaml.org,2002:str"


BOOL = re.compile("(true|True|TRUE|false|False|FALSE)$")
FLOAT = re.compile(
    r"""([-+]?[0-9][0-9_]*\.[0-9_]*([eE][-+]?[0-9]+)? | [-+]?[0-9][0-9_]*[eE][-+]?[0-9]+
    | [-+]?\.[0-9][0-9_]*([eE][-+][0-9]+)? | [-+]?\.(inf|Inf|INF) | \.(nan|NaN|NAN))$""",
    re.VERBOSE,
)
INT = re.compile(r"([-+]?0b[01_]+|[-+]?0o[0-7_]+|[-+]?0x[0-9a-fA-F_]+|[-+]?_*[0-9][0-9_]*)$")
SCALARS = ((BOOL, "bool", "tTfF"), (FLOAT, "float", "-+0123456789."), (INT, "int", "-+0123456789"))
BASES = {"0b": 2, "0o": 8, "0x": 16}
VERSION = re.compile(r"^%YAML", re.MULTILINE)


class _Strict(yaml.SafeLoader):
    """Keys must be text and unique (PyYAML keeps the last). No aliases: they can fill memory.

    NaN is an error, because it is not equal to itself: DVC would run its stages each time.
    """

    def construct_int(self, node: Any) -> int:
        text = self.construct_scalar(node).replace("_", "")
        digits = text.lstrip("+-")
        base = BASES.get(digits[:2], 10)
        return int(digits, base) * (-1 if text[0] == "-" else 1)

    def construct_float(self, node: Any) -> float:
        text = self.construct_scalar(node).replace("_", "").lower()
        number = float(text.replace(".inf", "inf").replace(".nan", "nan"))
        if math.isnan(number):
            raise yaml.MarkedYAMLError(
                problem="NaN is not allowed: write null, or a number", problem_mark=node.start_mark
            )
        return number

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.AliasEvent):
            mark = self.peek_event().start_mark
            raise yaml.MarkedYAMLError(
                problem="aliases are not allowed: write the value itself", problem_mark=mark
            )
        return super().compose_node(parent, index)

    def construct_mapping(self, node: Any, deep: bool = False) -> Any:
        seen: set[str] = set()
        for key, _ in node.value:
            problem = None
            if key.tag != TEXT:
                problem = f"the key {key.value!r} is not read as text: put it in quotes"
            elif key.value in seen:
                problem = f"the key {key.value!r} is there twice: remove one of them"
            if problem:
                raise yaml.MarkedYAMLError(problem=problem, problem_mark=key.start_mark)
            seen.add(key.value)
        return super().construct_mapping(node, deep)


def _use_yaml_1_2() -> None:
    """Replace the scalars in which YAML 1.1 and 1.2 differ; _Strict has its own tables."""
    tags = {f"tag:yaml.org,2002:{name}": pattern for pattern, name, _ in SCALARS}
    _Strict.yaml_implicit_resolvers = {
        first: [(tag, pattern) for tag, pattern in resolvers if tag not in tags]
        for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }
    for pattern, name, first in SCALARS:
        _Strict.add_implicit_resolver(f"tag:yaml.org,2002:{name}", pattern, list(first))
    _Strict.add_constructor("tag:yaml.org,2002:int", _Strict.construct_int)
    _Strict.add_constructor("tag:yaml.org,2002:float", _Strict.construct_float)


_use_yaml_1_2()


def read_yaml(path: Path) -> dict[str, Any]:
    """Return the mapping of a YAML file; an empty file gives an empty one.

    Raise LatentlabError for a file that cannot be read, is larger than 1 MiB, not UTF-8, not valid
    YAML or no mapping, for a key that is there twice or is not text, and for NaN.
    """
    try:
        size = path.stat().st_size
        if size > MAX_BYTES:
            raise LatentlabError(f"{path.name} has {size:,} bytes; at most {MAX_BYTES:,} are read")
        text = path.read_text(encoding="utf-8")
        if VERSION.search(text):
            raise LatentlabError(
                f"{path.name} has a line %YAML; remove it: the files are read as YAML 1.2"
            )
        content = yaml.load(text, _Strict)
    except LatentlabError:
        raise
    except OSError as error:
        raise LatentlabError(f"{path.name} cannot be read: {error}") from None
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else "?"
        reason = f"line {line}: {error.problem}"
        raise LatentlabError(f"{path.name} is not valid YAML: {reason}") from None
    except RecursionError:
        raise LatentlabError(f"{path.name} is not valid YAML: it is nested too deeply") from None
    except Exception as error:  # PyYAML raises ValueError, KeyError and others for a bad scalar
        reason = " ".join(str(error).split())
        raise LatentlabError(f"{path.name} is not valid YAML: {reason}") from None
    if content is None:
        return {}
    if not isinstance(content, dict):
        raise LatentlabError(
            f"{path.name} is {str(content)[:80]}; it must be a mapping of sections"
        )
    return content
