"""Read YAML strictly: what PyYAML accepts silently is an error with its line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from latentlab.utils.errors import LatentlabError

MAX_BYTES = 2**20  # a configuration is a thousand times smaller
TEXT = "tag:yaml.org,2002:str"


class _Strict(yaml.SafeLoader):
    """Keys must be text and unique (PyYAML keeps the last). No aliases: they can fill memory."""

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


def read_yaml(path: Path) -> dict[str, Any]:
    """Return the mapping of a YAML file; an empty file gives an empty one.

    Raise LatentlabError for a file that cannot be read, is larger than 1 MiB, not UTF-8, not valid
    YAML or no mapping, and for a key that is there twice or is not text.
    """
    try:
        size = path.stat().st_size
        if size > MAX_BYTES:
            raise LatentlabError(f"{path.name} has {size:,} bytes; at most {MAX_BYTES:,} are read")
        content = yaml.load(path.read_text(encoding="utf-8"), _Strict)
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
