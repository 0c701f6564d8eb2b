"""CPU seconds of a train stage with next to nothing to compute, now and before.

    python bench/stage.py --rounds 3

`linear_ae` on digits, one epoch of ten batches: DVC, the start, the MLflow run, and a mixture that
is fitted to 1,258 codes. Now: the slope of 1 and 9 trainings of `latentlab repro -j 1`. Before:
`dvc repro --single-item --force train@linear_ae` of the commit BEFORE, where each stage was a
process of its own. Its files come from this repository, and its packages are those of this
environment.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import tempfile
from pathlib import Path

from growth import BIN, edit, make_base, repro, run
from project import ROOT

BEFORE = "9464c7f"
IMAGES = 1_258  # the training split of digits


def make_before(root: Path) -> None:
    """Write the project of BEFORE, with its images and its classifier."""
    root.mkdir()
    archive = subprocess.run(
        ["git", "archive", BEFORE], cwd=ROOT, stdout=subprocess.PIPE, check=True
    ).stdout
    subprocess.run(["tar", "-x"], cwd=root, input=archive, check=True)
    (root / ".dvc" / "config.local").write_text("[core]\n    no_scm = true\n")
    edit(root / "configs" / "linear_ae.yaml", "trainer", images=IMAGES)
    run([BIN / "dvc", "repro", "train@linear_ae"], root)


def seconds_before(root: Path) -> float:
    return run([BIN / "dvc", "repro", "--single-item", "--force", "train@linear_ae"], root).cpu


def seconds_now(base: Path) -> float:
    one, nine = (repro(base, n, jobs=1, images=IMAGES, stages=["train"])[0] for n in (1, 9))
    return (nine.cpu - one.cpu) / 8


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=3)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        before, base = Path(name) / "before", Path(name) / "now" / "base"
        make_before(before)
        base.parent.mkdir()
        make_base(base, data="digits")
        pairs = [(seconds_before(before), seconds_now(base)) for _ in range(args.rounds)]
    ratios = sorted(now / before for before, now in pairs)
    middle = [statistics.median(column) for column in zip(*pairs, strict=True)]
    print(
        f"before {middle[0]:.2f}, now {middle[1]:.2f} CPU s; ratio {statistics.median(ratios):.2f}"
        f" ({ratios[0]:.2f} … {ratios[-1]:.2f})"
    )


if __name__ == "__main__":
    main()
