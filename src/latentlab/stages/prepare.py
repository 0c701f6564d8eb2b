"""Stage prepare: the data set of params.yaml → data/prepared, split by the seed.

results/data has what was found: summary.json, and a picture of training images of each class. At
last, the models and tasks of params.yaml are checked: see config/check.py.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable

from latentlab.config import load_project
from latentlab.config.check import check_project
from latentlab.data.examples import COLUMNS, example_images
from latentlab.data.partition import partition
from latentlab.data.prepared import write_prepared
from latentlab.data.problems import format_files
from latentlab.data.sources import load_source
from latentlab.data.summary import require_allowed, sentences, summarize
from latentlab.utils.files import fresh_folder, write_json
from latentlab.utils.names import counted
from latentlab.visualization.grids import save_grid


def main(argv: list[str] | None = None) -> None:
    project = load_project()
    source = load_source(project.data, project.root)
    parts = partition(source, project.data, project.seed)
    summary = summarize(source, parts, project.data)
    require_allowed(summary, project.data)
    meta = write_prepared(source, project.data, project.seed, project.prepared, parts)
    with fresh_folder(project.root / "results" / "data") as fresh:
        write_json(fresh / "summary.json", summary.content())
        examples = example_images(parts["train"], source.classes, project.data)
        save_grid(examples, fresh / "examples.png", columns=COLUMNS)
    if meta.unreadable:
        names = format_files(dict.fromkeys(meta.unreadable, ""))
        _say([f"skipped {len(meta.unreadable)} unreadable: {names}"])
    _say(f"note: {text}" for text in sentences(summary))
    counts = ", ".join(f"{count} {split}" for split, count in meta.counts.items())
    shape = " × ".join(map(str, meta.image_shape))
    images, classes = sum(meta.counts.values()), meta.num_classes
    print(
        f"prepared {meta.name}: {counted(images, 'image')} of {shape} ({counts}),"
        f" {counted(classes, 'class')}"
    )
    report = check_project(project.root)
    _say(f"note: {text}" for text in report.notes)
    report.require_none()


def _say(lines: Iterable[str]) -> None:
    """Print lines that can have names of files, also those that are not UTF-8, on stderr."""
    for line in lines:
        print(line.encode("utf-8", "backslashreplace").decode(), file=sys.stderr)
