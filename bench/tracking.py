"""CPU seconds (user + system) that tracking costs one training, on a store that exists.

python bench/tracking.py        # stage train's own imports come first and are not counted
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from itertools import pairwise
from pathlib import Path

FLUSHES = 30


def cpu() -> float:
    return sum(os.times()[:2])


def main(root: Path) -> None:
    import latentlab.stages.train  # noqa: F401
    from latentlab import tracking

    marks = [("start", cpu())]

    def mark(what: str) -> None:
        marks.append((what, cpu()))

    folder = root / "vae"
    folder.mkdir(exist_ok=True)
    (folder / "weights.pt").write_bytes(bytes(1_000_000))
    tracking.store.store_errors()
    mark("import mlflow, sqlalchemy")
    params = {f"p{number}": number for number in range(30)}
    run = tracking.open_run(root, experiment="bench", name="vae", params=params, tags={})
    mark("client, open_run")
    for step in range(1, FLUSHES + 1):
        run.log({f"{split}/{name}": 1.0 for split in ("train", "val") for name in "abc"}, step)
        run.flush()
    run.log_final({"fid": 1.0})
    mark(f"{FLUSHES} flushes, log_final")
    run.log_artifact(folder / "weights.pt")
    run.log_model(folder, image_shape=(1, 28, 28))
    mark("artifact, model")
    run.finish()
    mark("finish")
    for (_, before), (what, after) in pairwise(marks):
        print(f"{what:28}{after - before:6.2f} s")
    print(f"{'all':28}{marks[-1][1] - marks[0][1]:6.2f} s")


if __name__ == "__main__":
    if len(sys.argv) > 1:
        main(Path(sys.argv[1]))
    else:
        with tempfile.TemporaryDirectory() as root:
            make = [sys.executable, __file__, root]
            subprocess.run(make, check=True, capture_output=True)  # makes the store
            subprocess.run(make, check=True)
