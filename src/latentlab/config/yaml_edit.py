"""Change values of a YAML file and keep the rest of it, comments included."""

from __future__ import annotations

import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from latentlab.config.yaml_files import read_yaml
from latentlab.utils.files import write_atomic


def set_values(path: Path, values: Mapping[str, Any]) -> None:
    """Set values of sections: {"trainer.max_epochs": 20}. Absent keys are added at the end.

    Raise LatentlabError for a file that is no valid YAML.
    """
    yaml, content = _load(path)
    for dotted, value in values.items():
        *sections, key = dotted.split(".")
        place = content
        for section in sections:
            place = place.setdefault(section, {})
        place[key] = _inline(value)
    _dump(yaml, content, path)


def replace_sections(path: Path, sections: Mapping[str, Mapping[str, Any]]) -> None:
    """Replace whole sections. Comments stay, except those inside of the sections.

    Raise LatentlabError for a file that is no valid YAML.
    """
    from ruamel.yaml.comments import CommentedMap

    yaml, content = _load(path)
    for section, entries in sections.items():
        fresh = CommentedMap({key: _inline(value) for key, value in entries.items()})
        after = _comment_after(content.get(section))
        if after is not None and fresh:
            fresh.ca.items[list(fresh)[-1]] = [None, None, after, None]
        elif after is not None:
            content.ca.items[section] = [None, None, after, None]
        content[section] = fresh
    _dump(yaml, content, path)


def _load(path: Path) -> tuple[Any, Any]:
    """Return the parser, which also writes, and the content."""
    from ruamel.yaml import YAML
    from ruamel.yaml.comments import CommentedMap

    yaml = YAML()
    yaml.width, yaml.preserve_quotes = 2**16, True
    yaml.representer.add_representer(  # else null is written as nothing
        type(None), lambda dumper, _: dumper.represent_scalar("tag:yaml.org,2002:null", "null")
    )
    read_yaml(path)  # strict: raises for what ruamel accepts, such as a file that is no mapping
    return yaml, yaml.load(path.read_text(encoding="utf-8")) or CommentedMap()


def _dump(yaml: Any, content: Any, path: Path) -> None:
    text = io.StringIO()
    yaml.dump(content, text)
    write_atomic(path, text.getvalue().encode())


def _inline(value: Any) -> Any:
    """A mapping or a list as one line of YAML: {code: …, model: …}, [1, 2]."""
    from ruamel.yaml.comments import CommentedMap, CommentedSeq

    if not isinstance(value, Mapping | list):
        return value
    written = CommentedMap(value) if isinstance(value, Mapping) else CommentedSeq(value)
    written.fa.set_flow_style()
    return written


def _comment_after(section: Any) -> Any:
    """The comment between a section and the next one. ruamel keeps it with the last key."""
    while isinstance(section, dict) and section:
        last, comments = list(section)[-1], getattr(section, "ca", None)
        if comments and (attached := comments.items.get(last)) and attached[2] is not None:
            comment = attached[2]
            _, newline, rest = comment.value.partition("\n")  # drop the comment of the last line
            comment.value = newline + rest
            return comment
        section = section[last]
    return None
