"""A copy of this project without results, for the benchmarks that run its stages."""

from __future__ import annotations

import shutil
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
COPIED = ("params.yaml", "dvc.yaml", ".dvcignore", ".dvc/config", "configs", "src")


def copy_project(root: Path) -> None:
    """Write the project files into `root`. DVC needs no git there."""
    for name in COPIED:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, root / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(ROOT / name, root / name)
    (root / ".dvc" / "config.local").write_text("[core]\n    no_scm = true\n")
    (root / "data" / "images").mkdir(parents=True)
