"""Stage prepare: the data set that params.yaml names → data/prepared, split by the seed."""

from __future__ import annotations

import argparse
import sys

from latentlab.config import load_project
from latentlab.data.prepared import write_prepared
from latentlab.data.sources import open_source
from latentlab.stages import entry

NAMED = 20  # skipped files that are named here; meta.json has them all


def main(argv: list[str] | None = None) -> None:
    """Write root/data/prepared and say in one line what is in it."""
    argparse.ArgumentParser("python -m latentlab.stages.prepare", description=__doc__).parse_args(
        argv
    )
    project = load_project()
    source = open_source(project.data, project.root)
    meta = write_prepared(source, project.data, project.seed, project.prepared)
    if meta.unreadable:
        names = ", ".join(meta.unreadable[:NAMED])
        more = ", …" if len(meta.unreadable) > NAMED else ""
        told = (names + more).encode("utf-8", "backslashreplace").decode()
        print(f"skipped {len(meta.unreadable)} unreadable: {told}", file=sys.stderr)
    counts = ", ".join(f"{count} {split}" for split, count in meta.counts.items())
    shape = " × ".join(map(str, meta.image_shape))
    print(f"prepared {meta.name}: {counts} images of {shape}, {meta.num_classes} classes")


if __name__ == "__main__":
    entry(main, alone=True)
