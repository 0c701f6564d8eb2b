"""The model card of an exported model: README.md, Markdown with YAML front matter.

The front matter has the keys of the model cards of Hugging Face.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from latentlab import __version__
from latentlab.inference.display import description, stored_metrics
from latentlab.inference.labels import uses_of_labels
from latentlab.inference.trained import TrainedModel
from latentlab.report.comparison import values_of
from latentlab.report.metrics import METRICS, Metric, Row, decimals_of
from latentlab.report.seeds import spread_note, text_with_spread

LICENCE = "apache-2.0"
COST = "Cost"  # a group of metrics that are not about quality
LOAD = {
    "safetensors": """import latentlab

model = latentlab.load("{folder}")  # the path of this folder
images = model.sample(16, seed=0)  # ({n}, {c}, {h}, {w}), float32 in [0, 1]
codes = model.encode(images)""",
    "torch.export": """import numpy as np
import torch

decode = torch.export.load("decode.pt2").module()
codes = torch.from_numpy(np.load("codes.npy"))  # 1,000 codes of the latent sampler
images = decode(codes[:{batch}])  # ({batch}, {c}, {h}, {w}), float32 in [0, 1]{encode}""",
    "onnx": """import numpy as np
import onnxruntime

decode = onnxruntime.InferenceSession("decode.onnx")
codes = np.load("codes.npy")  # 1,000 codes of the latent sampler
(images,) = decode.run(None, {{"codes": codes[:{batch}]}})  # ({batch}, {c}, {h}, {w})""",
}
ENCODE = """
encode = torch.export.load("encode.pt2").module()
codes = encode(images[:1])"""
SAFETY = {
    "safetensors": "safetensors holds tensors and no code. latentlab also reads weights in its run"
    " folders with `weights_only=True`, and unpickles nothing.",
    "torch.export": "A .pt2 file is a zip archive with a graph, its weights and a JSON description."
    " `torch.export.load` is of PyTorch: load only files that you trust. latentlab itself does not"
    " load them.",
    "onnx": "An ONNX file is a graph with its weights, and holds no Python code. latentlab itself"
    " does not load it.",
}


def model_card(trained: TrainedModel, folder: Path, form: str, notes: Sequence[str]) -> str:
    """Return the text of README.md. `folder` has the exported files. `notes`: more limits."""
    described, values = description(trained), stored_metrics(trained)
    head = yaml.safe_dump(_front_matter(trained, values), sort_keys=False, allow_unicode=True)
    sections = [
        f"---\n{head}---",
        f"# {described.title}",
        f"{_sentence(described.summary)}" if described.summary else "",
        f"```text\n{described.objective}\n```" if described.objective else "",
        "## Use\n\n" + _use(trained, folder, form, notes),
        "## Intended use and limits\n\n" + _limits(trained, notes),
        "## Data and training\n\n" + _training(trained),
        "## Metrics\n\n" + _metrics(trained, values),
        "## Files\n\n" + _files(folder) + f"\n\n{SAFETY[form]}",
        "## Papers\n\n" + _list(described.papers) if described.papers else "",
        "## Differs from the paper\n\n" + _list(map(_sentence, described.differences))
        if described.differences
        else "",
    ]
    return "\n\n".join(section for section in sections if section) + "\n"


def _front_matter(trained: TrainedModel, values: Mapping[str, Any]) -> dict[str, Any]:
    family, data = trained.module.family, trained.metadata["resolved"]["data"]["name"]
    task = "unconditional-image-generation"
    metrics = [
        {"type": metric.key, "name": metric.label, "value": values[metric.key]}
        for metric in METRICS
        if metric.group != COST and _is_finite(values.get(metric.key))
    ]
    measured = {
        "task": {"type": task},
        "dataset": {"name": data, "type": data, "split": "test"},
        "metrics": metrics,
    }
    tags = ["latentlab", "image-generation", family.lower(), trained.name]
    front: dict[str, Any] = {
        "license": LICENCE,
        "library_name": "latentlab",
        "pipeline_tag": task,
        "tags": list(dict.fromkeys(tags)),
        "datasets": [data],
    }
    if metrics:
        front["metrics"] = [metric["type"] for metric in metrics]
        front["model-index"] = [{"name": trained.name, "results": [measured]}]
    return front


def _use(trained: TrainedModel, folder: Path, form: str, notes: Sequence[str]) -> str:
    c, h, w = trained.image_shape
    batch = 1 if any(note.startswith("`decode`") for note in notes) else 16
    code = LOAD[form].format(
        folder="path/to/folder",
        n=16,
        c=c,
        h=h,
        w=w,
        batch=batch,
        encode=ENCODE if (folder / "encode.pt2").exists() else "",
    )
    where = f" with latentlab {__version__}" if form == "safetensors" else " in this folder"
    return f"Run this{where}:\n\n```python\n{code}\n```"


def _limits(trained: TrainedModel, notes: Sequence[str]) -> str:
    c, h, w = trained.image_shape
    lines = [
        "For research and teaching: to sample images, to encode them, and to compare models.",
        f"Images are {h}×{w} pixels, {'grey' if c == 1 else 'colour'}, float32 in [0, 1]. The model"
        " knows nothing but its training images: other images are reconstructed badly.",
        "Samples may repeat training images. Do not use the model to decide about people.",
        "Each metric is of one training. Another seed gives other values.",
    ]
    if not trained.has_encoder:
        lines.append("It has no encoder. latentlab finds codes by latent inversion, a search.")
    return "\n".join(f"- {line}" for line in [*lines, *notes, *_warnings(trained)])


def _warnings(trained: TrainedModel) -> Iterator[str]:
    """The warnings of the diagnostics, if the model was measured."""
    root = trained.folder.resolve().parent.parent
    folder = root / "results" / trained.name / "diagnostics"
    for path in sorted(folder.glob("*/result.json")):
        try:
            warnings = json.loads(path.read_text(encoding="utf-8")).get("warnings", [])
        except (OSError, ValueError, AttributeError):
            continue
        yield from (
            f"Measured: {warning} (diagnostic `{path.parent.name}`)." for warning in warnings
        )


def _training(trained: TrainedModel) -> str:
    metadata = trained.metadata
    resolved, classes = metadata["resolved"], trained.classes
    labels = f", {len(classes)} classes: {', '.join(classes)}" if classes else ""
    rows = [
        ("data", f"{resolved['data']['name']}{labels}"),
        ("SHA-256 of the images", f"`{metadata.get('data_sha256', 'unknown')}`"),
        ("trained on", f"{metadata['images_seen']:,} images, repetitions counted"),
        ("labels are used for", "; ".join(uses_of_labels(trained)) or "nothing"),
        ("device", str(metadata["device"])),
        ("seed", str(resolved["seed"])),
        ("class", f"`{resolved['model']['class_path']}`"),
        ("codes", f"{trained.module.latent_dim} values"),
        ("latent sampler", type(trained.sampler).__name__),
        ("parameters", f"{sum(p.numel() for p in trained.module.parameters()):,}"),
    ]
    table = "\n".join(f"| {key} | {value} |" for key, value in rows)
    return f"| | |\n|---|---|\n{table}\n\n`config.json` has all settings."


def _metrics(trained: TrainedModel, values: Mapping[str, Any]) -> str:
    numbers = {key: value for key, value in values_of(values).items() if math.isfinite(value)}
    shown = [m for m in METRICS if m.group != COST and m.key in numbers.keys() & values.keys()]
    if not shown:
        return "Not measured."
    row = Row(trained.name, trained.name, trained.module.family, numbers)
    lines = [_metric_line(metric, row) for metric in shown]
    features = trained.evaluation.features
    note = spread_note([row], [metric.key for metric in shown])
    return (
        "On test images that the model has not seen. The features of FID, KID, precision, recall,"
        f" density and coverage are those of: {features}. Compare them only with values of the same"
        f" features and the same number of images.{f' {note}.' if note else ''}\n\n"
        "| metric | value | better |\n|---|---:|---|\n" + "\n".join(lines)
    )


def _metric_line(metric: Metric, row: Row) -> str:
    better = {1: "higher", -1: "lower", 0: ""}[metric.better]
    value = text_with_spread(row, metric, decimals_of(metric, [row]))
    return f"| {metric.label} | {value} | {better} |"


def _files(folder: Path) -> str:
    lines = [
        f"| `{path.name}` | {path.stat().st_size:,} | `{_sha256(path)}` |"
        for path in sorted(folder.iterdir())
    ]
    return "| file | bytes | SHA-256 |\n|---|---:|---|\n" + "\n".join(lines)


def _list(lines: Iterable[str]) -> str:
    return "\n".join(f"- {line}" for line in lines)


def _sentence(text: str) -> str:
    text = text[:1].upper() + text[1:]
    return text if text.endswith(".") else f"{text}."


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _is_finite(value: Any) -> bool:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    return number and math.isfinite(value)
