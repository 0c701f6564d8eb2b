"""A trained model as text: one line for a prompt, a card for a notebook."""

from __future__ import annotations

import base64
import json
import math
import sys
from html import escape
from typing import TYPE_CHECKING, Any

from latentlab.inference.description import Description, describe
from latentlab.visualization.grids import grid_png

if TYPE_CHECKING:
    from latentlab.inference.trained import TrainedModel

NUM_SAMPLES, COLUMNS = 20, 10
MAIN_METRICS = {  # of results/<name>/metrics.json: label, format
    "fid": ("FID", "{:.1f}"),
    "reconstruction_mse": ("MSE", "{:.4f}"),
    "psnr_db": ("PSNR", "{:.2f} dB"),
    "ssim": ("SSIM", "{:.3f}"),
    "probe_accuracy": ("Probe", "{:.1%}"),
}


def one_line(trained: TrainedModel) -> str:
    """Name, family, sizes, folder and device."""
    module = trained.module
    codes = f"codes of {module.latent_dim} values, " if hasattr(module, "latent_dim") else ""
    shape = "×".join(map(str, trained.image_shape))
    family = f"{module.family}, " if hasattr(module, "family") else ""
    return (
        f"TrainedModel({trained.name!r}, {family}{codes}images {shape},"
        f" {str(trained.folder)!r}, {trained.device})"
    )


def description(trained: TrainedModel) -> Description:
    """The docstring of the model's file. Title and summary of its config replace the file's.

    The differences from the paper are those of the file and of the config.
    """
    described = describe(sys.modules[type(trained.module).__module__].__doc__)
    resolved = trained.metadata["resolved"]
    return Description(
        resolved.get("title", described.title or trained.name),
        resolved.get("summary", described.summary),
        described.objective,
        described.papers,
        (*described.differences, *resolved.get("differs_from_the_paper", ())),
    )


def stored_metrics(trained: TrainedModel) -> dict[str, Any]:
    """The content of results/<name>/metrics.json of the project; empty if it is not measured."""
    try:
        root = trained.folder.resolve().parents[1]
        text = (root / "results" / trained.name / "metrics.json").read_text(encoding="utf-8")
        content = json.loads(text)
    except (OSError, ValueError, IndexError):
        return {}
    return content if isinstance(content, dict) else {}


def html_card(trained: TrainedModel) -> str:
    """Title, summary, objective, samples as an inline PNG, and the main metrics if measured."""
    described = description(trained)
    parts = [
        f"<h4>{escape(described.title)} <small>{escape(trained.name)}</small></h4>",
        f"<p>{escape(described.summary)}</p>",
        f"<pre>{escape(described.objective)}</pre>" if described.objective else "",
        _samples(trained),
        _metrics(stored_metrics(trained)),
    ]
    return f"<div>{''.join(parts)}</div>"


def _samples(trained: TrainedModel) -> str:
    if trained.sampler is None:
        return ""
    png = grid_png(trained.sample(NUM_SAMPLES, seed=0), columns=COLUMNS)
    text = base64.b64encode(png).decode()
    return f'<img alt="{NUM_SAMPLES} samples" src="data:image/png;base64,{text}">'


def _metrics(values: dict[str, Any]) -> str:
    shown = [
        f"{label} {form.format(values[key])}"
        for key, (label, form) in MAIN_METRICS.items()
        if isinstance(values.get(key), int | float) and math.isfinite(values[key])
    ]
    return f"<p>{' · '.join(shown)}</p>" if shown else ""
