"""Models whose reconstructions are measured on the first test images only: those without encoder.

Latent inversion is slow, so stage evaluate does it for a fifth of the test images.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from latentlab.report.comparison import Comparison, ModelResults
from latentlab.report.metrics import Row

KEYS = ("reconstruction_mse", "reconstruction_sse", "psnr_db", "ssim", "classifier_accuracy")
MAX_NAMES = 6  # in one sentence


def few_of(row: Row, key: str, comparison: Comparison) -> int | None:
    """How many test images a value is the mean of; None for all of them, or if it is not known.

    A baseline PCA has the images of the first model with codes of its size.
    """
    if key not in KEYS or key not in row.values:
        return None
    owners = (m for m in comparison.models if m.row is row or (m.pca and m.pca.name == row.name))
    model = next(owners, None)
    return few_of_model(model, comparison) if model else None


def few_of_model(model: ModelResults, comparison: Comparison) -> int | None:
    """How many test images a model's reconstructions were measured on; None for all of them."""
    count = model.row.values.get("num_reconstructed")
    total = (comparison.dataset.get("counts") or {}).get("test")
    return int(count) if count and total and count < total else None


def few_text(count: int | None) -> str:
    """Such as “first 200 test images”; empty for all."""
    return f"first {count:,} test images" if count else ""


def few_sentence(key: str, comparison: Comparison) -> str:
    """Which models have a value of few images, for the glossary; empty if none has."""
    if key not in KEYS:
        return ""
    counts = {m.row.name: few_of_model(m, comparison) for m in comparison.models}
    few = {name: count for name, count in counts.items() if count}
    if not few:
        return ""
    names = ", ".join(few) if len(few) <= MAX_NAMES else "models without an encoder"
    return f"Here, {names}: {_numbers(few.values())} test images."


def few_clause(comparison: Comparison, families: Mapping[str, str]) -> str:
    """Such as “GANs' reconstructions: the first 200”; empty if all are of all test images.

    `families`: family → its plural.
    """
    counts = [(m.row.family, few_of_model(m, comparison)) for m in comparison.models]
    few = {family for family, count in counts if count}
    if not few:
        return ""
    whole = all(count for family, count in counts if family in few)
    names = " and ".join(sorted(f"{families.get(f, f)}'" for f in few))
    who = f"{names} reconstructions" if whole else "reconstructions without an encoder"
    return f"{who}: {_numbers(count for _, count in counts)}"


def _numbers(counts: Iterable[int | None]) -> str:
    return "the first " + " or ".join(f"{n:,}" for n in sorted({n for n in counts if n}))
