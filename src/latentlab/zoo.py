"""`python -m latentlab.zoo`: put the lists of zoo.yaml into params.yaml; all else in it stays."""

from __future__ import annotations

import re
from pathlib import Path

from latentlab.config import find_root
from latentlab.contracts import LatentlabError
from latentlab.files import write_atomic


def list_all(root: Path) -> None:
    """Replace the sections `models` and `tasks` of params.yaml by those of zoo.yaml, as text."""
    shared, zoo = (root / name for name in ("params.yaml", "zoo.yaml"))
    text = shared.read_text(encoding="utf-8")
    for section in ("models", "tasks"):
        listed = _section(zoo.read_text(encoding="utf-8"), section, zoo)
        text = text.replace(_section(text, section, shared), listed)
    write_atomic(shared, text.encode())


def _section(text: str, name: str, path: Path) -> str:
    """A top-level key with its indented lines."""
    found = re.search(rf"^{name}:.*\n(?:[ \t]+.*\n)*", text, re.MULTILINE)
    if found is None:
        raise LatentlabError(f"{path} has no section {name!r} that starts a line")
    return found[0]


if __name__ == "__main__":
    list_all(find_root())
