"""What was compared: heading, data, seed, and date, commit and versions of the newest result."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from latentlab.config.seeds import Training
from latentlab.report.comparison import Comparison
from latentlab.report.few_images import few_clause

FAMILIES = {"AE": "autoencoders", "VAE": "VAEs", "GAN": "GANs", "Diffusion": "diffusion models"}
OWN_IMAGES = ("image_folder", "shards")  # loaders, whose images are in `data.folder`
ARCHIVE = re.compile(r"\.(zip|tar|tgz|tar\.\w+)$", re.IGNORECASE)
FEATURES = {"classifier": "classifier, second block", "random": "untrained network"}


def heading_of(comparison: Comparison) -> str:
    count = len(comparison.models)
    number = f"{count} model{'s' * (count != 1)}" if count else "No model yet"
    return f"{number} on {data_name(comparison)}"


def data_name(comparison: Comparison) -> str:
    """The name of the data set; of own images, the name of their folder or archive."""
    configs = [model.card.get("config") or {} for model in comparison.models]
    known = comparison.dataset.get("folder")
    folder = next((c["data"].get("folder") for c in configs if c.get("data")), known)
    if comparison.data not in OWN_IMAGES or not folder:
        return comparison.data
    name = str(folder).rstrip("/").rpartition("/")[2]
    return ARCHIVE.sub("", name) or comparison.data


def lead_of(comparison: Comparison) -> str:
    families = [model.row.family for model in comparison.models]
    counts = {FAMILIES.get(f, f): families.count(f) for f in families_of(comparison)}
    parts = [f"{n} {name.removesuffix('s') if n == 1 else name}" for name, n in counts.items()]
    listed = ", ".join(parts[:-1]) + (" and " if parts[:-1] else "") + "".join(parts[-1:])
    test = (comparison.dataset.get("counts") or {}).get("test")
    images = f"the same {test:,} test images" if test else "the same test images"
    if few := few_clause(comparison, FAMILIES):
        images += f" ({few})"
    end = (
        f"measured with the same metrics on {images}, and compared with real images, PCA and noise."
    )
    return f"{listed}, {end}" if listed else f"Models are {end}"


def facts_of(comparison: Comparison) -> list[tuple[str, str, str]]:
    """(name, value, second line)."""
    card = comparison.dataset
    counts, classes = card.get("counts") or {}, card.get("classes") or []
    shape = card.get("image_shape") or []
    size = f"{shape[1]} × {shape[2]} {'grey' if shape[0] == 1 else 'color'}" if shape else "–"
    names = ", ".join(map(str, classes[:12])) + (" …" if len(classes) > 12 else "")
    split = " · ".join(f"{counts[k]:,} {k}" for k in ("train", "val", "test") if k in counts)
    draws = f"{card['num_draws']} × " if card.get("num_draws", 1) > 1 else ""
    space = str(card.get("features", "–"))
    samples = f"{draws}{card['num_samples']:,} generated images" if "num_samples" in card else ""
    facts = [
        ("Images", size, f"{len(classes)} classes: {names}" if classes else "no labels"),
        ("Split", split or "–", f"split seed {card.get('split_seed', '–')}"),
        ("Seed of the training", _seeds(comparison), f"data {card.get('data_sha256', '–')[:10]}"),
        ("FID features", FEATURES.get(space, space), samples),
    ]
    if any(len(model.trainings) > 1 for model in comparison.models):
        facts.append(("± with n > 1", "standard deviation", "of one training, over n seeds"))
    return facts + _provenance(comparison)


def _seeds(comparison: Comparison) -> str:
    """The seed of the first trainings, and those of others."""
    trainings = [Training.parse(name) for model in comparison.models for name in model.trainings]
    others = {training.seed for training in trainings if training.seed is not None}
    return ", ".join(map(str, [comparison.seed, *sorted(others)]))


def _provenance(comparison: Comparison) -> list[tuple[str, str, str]]:
    """Date of the newest result, commit and versions, as far as they were stored."""
    stored = [model.provenance for model in comparison.models if model.provenance]
    if not stored:
        return []
    newest = max(stored, key=lambda each: str(each.get("time", "")))
    versions = newest.get("versions") or {}
    commits = {str(each["commit"])[:10] for each in stored if each.get("commit")}
    commit = commits.pop() if len(commits) == 1 else f"{len(commits)} commits" if commits else ""
    first, *more = [f"{name} {version}" for name, version in versions.items()] or [""]
    facts = [("Newest result", str(newest.get("time", "–"))[:16].replace("T", " "), "")]
    facts[0] = (*facts[0][:2], f"commit {commit}" if commit else "")
    return facts + ([("Versions", first, ", ".join(more))] if first else []) + _threads(stored)


def _threads(stored: Sequence[Mapping[str, Any]]) -> list[tuple[str, str, str]]:
    """Threads and CPUs of the trainings: with others, the last digits are others."""
    known = [each["environment"] for each in stored if each.get("environment")]
    if not known:
        return []
    threads = sorted({int(each["threads"]) for each in known})
    cpus = sorted({f"{each['cpu']}, {each['system']}" for each in known})
    return [("Threads of a training", " or ".join(map(str, threads)), "; ".join(cpus))]


def families_of(comparison: Comparison) -> list[str]:
    return list(dict.fromkeys(model.row.family for model in comparison.models))
