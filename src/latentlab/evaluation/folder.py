"""The folder results/<name> that stage evaluate writes and the comparison page reads."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from latentlab.evaluation.evaluator import Evaluator
from latentlab.evaluation.figures import save_figures
from latentlab.evaluation.images import model_images
from latentlab.evaluation.model_card import model_card
from latentlab.evaluation.outputs import Outputs
from latentlab.evaluation.provenance import provenance
from latentlab.evaluation.results import Result, write_result
from latentlab.inference.trained import TrainedModel
from latentlab.utils.files import fresh_folder, write_arrays, write_json
from latentlab.visualization.grids import save_grid


def save_evaluation(
    folder: Path,
    trained: TrainedModel,
    evaluator: Evaluator,
    outputs: Outputs,
    *,
    metrics: Mapping[str, Any],
    results: Mapping[str, Result],
    start: float,
    commit: str = "",
) -> None:
    """Write all files of an evaluation, or none: images, metrics, diagnostics, card and cost.

    per_image.npz has the metrics that are means over test images, one value for each: float32 (N,)
    by the name of the metric, in the order of the test split. A model without an encoder has those
    of the first images only. `fid_halves`: see evaluation.scores.

    `results`: name of the diagnostic → its result. `start`: `time.perf_counter()` when the
    evaluation started; the cost includes writing the figures. `commit`: the git commit of the code.
    """
    with fresh_folder(folder) as fresh:
        images = model_images(trained, evaluator, outputs)
        write_arrays(fresh / "images.npz", images)
        save_figures(images, outputs, fresh, classes=evaluator.dataset.classes)
        (fresh / "diagnostics").mkdir()
        for name, result in results.items():
            write_result(result, fresh / "diagnostics" / name)
        write_json(fresh / "metrics.json", metrics)
        values = {name: each.float().numpy() for name, each in outputs.arrays.items()}
        write_arrays(fresh / "per_image.npz", values)
        write_json(fresh / "card.json", model_card(trained, evaluator))
        cost = json.loads((trained.folder / "cost.json").read_text())
        cost["evaluate_seconds"] = round(time.perf_counter() - start, 2)
        cost["provenance"] = provenance(trained.folder, commit) | {
            "environment": cost.pop("environment", {})
        }
        write_json(fresh / "cost.json", cost)
        shutil.copyfile(trained.folder / "history.csv", fresh / "history.csv")


def save_skipped(folder: Path, name: str, reason: str) -> None:
    """Write the folder of a model that was left out: DVC needs each file; all but one are empty.

    card.json has the reason, as `skipped`.
    """
    empty = torch.ones(1, 1, 1, 1)
    with fresh_folder(folder) as fresh:
        (fresh / "diagnostics").mkdir()
        for arrays in ("images", "per_image"):
            write_arrays(fresh / f"{arrays}.npz", {})
        for figure in ("samples", "reconstructions", "interpolations", "map"):
            save_grid(empty, fresh / f"{figure}.png", columns=1)
        write_json(fresh / "metrics.json", {})
        write_json(fresh / "card.json", {"title": name, "skipped": reason})
        write_json(fresh / "cost.json", {})
        (fresh / "history.csv").write_text("split,quantity,step,images,value\n")
