"""`latentlab compare`: two models or more, side by side."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from latentlab.cli.output import stop

if TYPE_CHECKING:
    import numpy as np

    from latentlab.config import Project
    from latentlab.contracts import Split
    from latentlab.inference.trained import TrainedModel

PER_IMAGE = ("reconstruction_mse", "reconstruction_sse", "psnr_db", "ssim")


def compare(args: argparse.Namespace) -> None:
    """Print the metrics of models, the differences to the first one, and those of their configs.

    Differences of reconstruction errors have a 95 % interval: the test images are reconstructed by
    each model with an encoder, and the differences of the same images are resampled.
    """
    names: list[str] = list(dict.fromkeys(args.names))
    if len(names) < 2:
        stop(f"only one model ({names[0]}): give two or more")
    from latentlab.config import load_project
    from latentlab.report.comparison import read_comparison
    from latentlab.report.differences import FORMATS, side_by_side

    project = load_project(args.project)
    _require_results(project, names)
    measured = read_comparison(replace(project, models=dict.fromkeys(names, ""), tasks={}))
    per_image, notes = ({}, []) if args.no_intervals else per_image_values(project, names, args)
    rows = [model.row for model in measured.models]
    configs = [model.card.get("config") or {} for model in measured.models]
    print(FORMATS[args.form](side_by_side(rows, configs, per_image, _notes(per_image, notes))))


def _require_results(project: Project, names: Sequence[str]) -> None:
    """Stop at a name that is no config and has no results."""
    from latentlab.config.keys import nearest
    from latentlab.config.selection import model_names

    measured = sorted(p.parent.name for p in project.root.glob("results/*/cost.json"))
    known = {*model_names(project.root), *measured}
    for name in names:
        if name not in known:
            close = nearest(name, known)
            hint = f"did you mean {close!r}? " if close else ""
            stop(f"unknown model {name!r}: {hint}measured: {', '.join(measured) or 'none'}")
        if name not in measured:
            stop(
                f"{name} is not measured yet: run `dvc repro evaluate@{name}`;"
                f" measured: {', '.join(measured) or 'none'}"
            )


def per_image_values(
    project: Project, names: Sequence[str], args: argparse.Namespace
) -> tuple[dict[str, dict[str, np.ndarray]], list[str]]:
    """The errors of each test image, of each model that can encode; and why others have none."""
    from latentlab.data.prepared import read_meta, read_split
    from latentlab.utils.errors import LatentlabError
    from latentlab.utils.imports import import_lightning_lean

    import_lightning_lean()
    from latentlab import load

    found, notes = {}, []
    try:
        meta = read_meta(project.prepared)
        test = read_split(project.prepared, "test")
    except (LatentlabError, OSError) as error:
        return {}, [f"No intervals: the test images cannot be read ({error})."]
    for name in names:
        try:
            trained = load(name, project=project.root, device=args.device)
        except LatentlabError as error:
            notes.append(f"No interval for {name}: {error}.")
            continue
        if reason := _no_interval(trained, meta.sha256):
            notes.append(f"No interval for {name}: {reason}.")
        else:
            found[name] = image_errors(trained, test)
    return found, notes


def _no_interval(trained: TrainedModel, sha256: str) -> str:
    if not trained.has_encoder:
        return "it has no encoder, and latent inversion of all test images is slow"
    if trained.metadata.get("data_sha256") != sha256:
        return "it was trained on other images than those of data/prepared"
    return ""


def image_errors(trained: TrainedModel, test: Split) -> dict[str, Any]:
    """The metrics of PER_IMAGE for each test image, float64 (N,)."""
    import torch

    from latentlab.metrics.reconstruction import psnr_db, squared_error, ssim

    parts = []
    for x in test.batches():
        x_hat = trained.reconstruct(x)
        sse = squared_error(x_hat.double(), x.double())
        mse = sse / x[0].numel()
        parts.append(torch.stack([mse, sse, psnr_db(mse), ssim(x, x_hat)]))
    return dict(zip(PER_IMAGE, torch.cat(parts, 1).numpy(), strict=True))


def _notes(per_image: dict[str, Any], notes: Sequence[str]) -> list[str]:
    first = next(iter(per_image.values()), None)
    if len(per_image) < 2 or first is None:
        return list(notes)
    from latentlab.report.differences import RESAMPLES

    return [
        f"Interval: 95 %, paired bootstrap ({RESAMPLES:,} resamples) over n ="
        f" {len(first[PER_IMAGE[0]]):,} test images, with one training of each model.",
        "No interval: a metric of a whole set of images (FID, KID, precision, …), of a classifier,"
        " or of the cost.",
        *notes,
    ]
