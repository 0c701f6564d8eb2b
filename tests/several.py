"""One of several processes that train every config in configs/ on few digits.

`python several.py PROJECT OUT`, started as by srun. OUT/<name>-<rank>.pt gets the weights and the
curves of each config. One more training fails in the second process only.
"""

from __future__ import annotations

import os
import sys
import traceback
from pathlib import Path

import torch

from latentlab.config import load_experiment
from latentlab.data.prepared import read_meta
from latentlab.training import data_module, fit, loop
from latentlab.utils.errors import LatentlabError

FAILING = "linear_ae"


def main(root: Path, out: Path) -> None:
    rank = int(os.environ["SLURM_PROCID"])
    for path in sorted((root / "configs").glob("*.yaml")):
        try:
            results = train(path.stem, root)
        except BaseException:
            (out / f"{path.stem}-{rank}.txt").write_text(traceback.format_exc())
            raise
        torch.save(results, out / f"{path.stem}-{rank}.pt")
    if rank == 1:
        loop.ProgressBar = FailingBar
    try:
        train(FAILING, root)
    except (LatentlabError, ZeroDivisionError) as error:
        (out / f"failing-{rank}.txt").write_text(f"{type(error).__name__}: {error}")


def train(name: str, root: Path) -> dict[str, object]:
    meta = read_meta(root / "data" / "prepared")
    experiment = load_experiment(name, meta.data_spec, root)
    fitted = fit(experiment, data_module(experiment), work=root / "work" / name)
    return {
        "weights": experiment.model.state_dict(),
        "parameters": [key for key, _ in experiment.model.named_parameters()],
        "rows": fitted.history.rows,
        "main": fitted.is_main_process,
    }


class FailingBar(loop.ProgressBar):
    def on_train_batch_end(self, *_: object) -> None:
        raise ZeroDivisionError("only here")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
