"""Copy the files of `latentlab init` into the wheel. All other settings are in pyproject.toml.

params.yaml, dvc.yaml and configs/ are at the root of the repository, where the pipeline uses them.
An editable install reads them there.
"""

import shutil
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py

ROOT = Path(__file__).parent
FILES = [
    "params.yaml",
    "dvc.yaml",
    ".dvcignore",
    ".gitattributes",
    ".gitignore",
    ".dvc/config",
    ".dvc/.gitignore",
    ".dvc/plots/curves.json",
]
CONFIGS = [str(path.relative_to(ROOT)) for path in sorted(ROOT.glob("configs/**/*.yaml"))]


class BuildPy(build_py):
    def run(self) -> None:
        super().run()
        if self.editable_mode:
            return
        for name in [*FILES, *CONFIGS]:
            target = Path(self.build_lib) / "latentlab" / "template" / name
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(ROOT / name, target)


setup(cmdclass={"build_py": BuildPy})
