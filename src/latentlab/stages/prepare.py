"""Stage prepare: the data set of params.yaml → data/prepared, split by the seed."""

from __future__ import annotations

import sys

from latentlab.config import load_project
from latentlab.data.prepared import write_prepared
from latentlab.data.sources import load_source

MAX_NAMES = 20  # printed names of skipped files; meta.json has all of them


def main(argv: list[str] | None = None) -> None:
    project = load_project()
    source = load_source(project.data, project.root)
    meta = write_prepared(source, project.data, project.seed, project.prepared)
    if meta.unreadable:
        names = ", ".join(meta.unreadable[:MAX_NAMES])
        more = ", …" if len(meta.unreadable) > MAX_NAMES else ""
        printed = (names + more).encode("utf-8", "backslashreplace").decode()
        print(f"skipped {len(meta.unreadable)} unreadable: {printed}", file=sys.stderr)
    counts = ", ".join(f"{count} {split}" for split, count in meta.counts.items())
    shape = " × ".join(map(str, meta.image_shape))
    print(f"prepared {meta.name}: {counts} images of {shape}, {meta.num_classes} classes")
