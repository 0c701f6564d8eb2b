"""Whole or not at all: files and folders that never look finished before they are."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any


@contextmanager
def fresh_folder(folder: Path) -> Iterator[Path]:
    """Yield an empty folder beside `folder`; sync and rename it into place if all went well."""
    fresh = folder.with_name(f".{folder.name}.partial")
    shutil.rmtree(fresh, ignore_errors=True)
    fresh.mkdir(parents=True)
    try:
        yield fresh
    except BaseException:
        shutil.rmtree(fresh, ignore_errors=True)
        raise
    for path in fresh.rglob("*"):
        if path.is_file():
            with path.open("rb+") as file:
                os.fsync(file.fileno())
    shutil.rmtree(folder, ignore_errors=True)
    os.replace(fresh, folder)


def write_json(path: Path, content: Any) -> None:
    """Indented JSON with a closing newline."""
    path.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
