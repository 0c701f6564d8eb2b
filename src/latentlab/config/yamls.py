"""YAML files, read strictly: what PyYAML passes over in silence is an error with its line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from latentlab.contracts import LatentlabError

LARGEST = 2**20  # bytes; a configuration has a thousandth of it
TEXT = "tag:yaml.org,2002:str"


class _Strict(yaml.SafeLoader):
    """Keys are text and stand once (PyYAML keeps the last); no aliases, which grow to gigabytes."""

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.AliasEvent):
            mark = self.peek_event().start_mark
            raise yaml.MarkedYAMLError(
                problem="aliases are not read: write the value out", problem_mark=mark
            )
        return super().compose_node(parent, index)

    def construct_mapping(self, node: Any, deep: bool = False) -> Any:
        seen: set[str] = set()
        for key, _ in node.value:
            problem = None
            if key.tag != TEXT:
                problem = f"the key {key.value!r} is not read as text: put it in quotes"
            elif key.value in seen:
                problem = f"the key {key.value!r} stands here twice: keep one of them"
            if problem:
                raise yaml.MarkedYAMLError(problem=problem, problem_mark=key.start_mark)
            seen.add(key.value)
        return super().construct_mapping(node, deep)


def read_yaml(path: Path) -> dict[str, Any]:
    """The mapping that a YAML file holds; an empty file holds none.

    Raises LatentlabError, in one line, for a file that cannot be read, is larger than 1 MiB, is not
    UTF-8, not valid YAML or no mapping, and for a key that stands twice or is not text.
    """
    try:
        size = path.stat().st_size
        if size > LARGEST:
            raise LatentlabError(f"{path.name} has {size:,} bytes: a configuration has at most 1 M")
        content = yaml.load(path.read_text(encoding="utf-8"), _Strict)
    except LatentlabError:
        raise
    except OSError as error:
        raise LatentlabError(f"{path.name} cannot be read: {error}") from None
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else "?"
        told = f"line {line}: {error.problem}"
        raise LatentlabError(f"{path.name} is not valid YAML: {told}") from None
    except RecursionError:
        raise LatentlabError(f"{path.name} is not valid YAML: it is nested too deeply") from None
    except Exception as error:  # a bad scalar escapes PyYAML as ValueError, KeyError and others
        told = " ".join(str(error).split())
        raise LatentlabError(f"{path.name} is not valid YAML: {told}") from None
    if content is None:
        return {}
    if not isinstance(content, dict):
        raise LatentlabError(f"{path.name} must be a mapping of sections, got {str(content)[:80]}")
    return content
