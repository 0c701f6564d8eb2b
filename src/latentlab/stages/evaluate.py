"""Stage evaluate@<name>: runs/<name> → results/<name>: every number, every picture, one process."""

from __future__ import annotations

import json
import sys
import time
from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from latentlab import tracking
from latentlab.charts import save_map
from latentlab.config import Project, load_project
from latentlab.contracts import LinearDecoder, MixesCodes, Split, weighted_means
from latentlab.evaluation import Yardsticks, load_reference, yardsticks
from latentlab.files import fresh_folder, write_json
from latentlab.findings import Finding, write_finding
from latentlab.metrics.embedding import tsne
from latentlab.metrics.pca import PCA, principal_angles
from latentlab.plots import save_grid, save_pairs, save_rows
from latentlab.runs import fill
from latentlab.stages import UNTRACKED
from latentlab.studies import studies_of
from latentlab.trained import Trained, load_trained


def main(argv: list[str]) -> None:
    (name,) = argv
    start = time.perf_counter()
    project = load_project()
    tracking.check_store(project.root)
    # the yardsticks are today's, also where the training was resolved with others
    device = project.hardware.scoring
    trained = load_trained(name, project=project.root, device=device)
    trained = replace(trained, evaluation=project.evaluation)
    yard = yardsticks(project, load_trained("judge", project=project.root).module)
    real, pca = load_reference(project.reference / "reference.pt")

    metrics = measure(trained, yard, real, pca)
    trained = replace(trained, module=trained.module.cpu(), device="cpu")
    findings = dict(studies_of(trained, yard))
    metrics |= {study: dict(found.numbers) for study, found in findings.items() if found.numbers}
    report = project.root / "results" / name
    with fresh_folder(report) as fresh:
        draw(trained, yard, fresh)
        (fresh / "studies").mkdir()
        for study, finding in findings.items():
            write_finding(finding, fresh / "studies" / study)
        write_json(fresh / "metrics.json", metrics)
        write_json(fresh / "card.json", card(trained, yard))
        seconds = {"evaluate_seconds": round(time.perf_counter() - start, 2)}
        cost = json.loads((trained.folder / "cost.json").read_text()) | seconds
        write_json(fresh / "cost.json", cost)
        (fresh / "history.csv").write_bytes((trained.folder / "history.csv").read_bytes())
    track(project, trained, report, metrics, findings)


def measure(trained: Trained, yard: Yardsticks, real: Tensor, pca: PCA) -> dict[str, Any]:
    """Every number that every model gets."""
    settings = yard.settings
    x = yard.test if trained.has_encoder else yard.test.first(settings.inversion_images)
    metrics: dict[str, Any] = {
        **yard.score_samples(trained.sample(yard.num_samples, seed=settings.seed), real),
        **yard.score_reconstructions(x, trained.reconstruct),
        **yard.score_features(trained.spread.method("features")),
        "num_samples": yard.num_samples,
        "num_reconstructed": len(x),
        "latent_dim": trained.module.latent_dim,
        "parameters": sum(p.numel() for p in trained.module.parameters()),
        "test": objective(trained, yard.test, settings.seed),
    }
    if (trained.folder / "weights_last.pt").exists():
        metrics["selected"] = json.loads((trained.folder / "selected.json").read_text())
        metrics["last"] = yard.score_samples(
            last_of(trained).sample(yard.num_samples, seed=settings.seed), real
        )
    if trained.has_encoder:
        code_size = min(trained.module.latent_dim, pca.components.shape[1])
        metrics["pca"] = yard.score_pca(pca, code_size, real)
    if isinstance(trained.module, LinearDecoder):
        basis, _ = trained.module.decoder_basis()
        angles = principal_angles(basis.detach().cpu(), pca.components[:, : basis.shape[1]])
        metrics["pca_angle_max_rad"] = float(angles.max())
        metrics["pca_angle_mean_rad"] = float(angles.mean())
    return metrics


def last_of(trained: Trained) -> Trained:
    """The same model as its training left it, where another moment of it was selected."""
    module = deepcopy(trained.module).cpu()
    fill(module, trained.folder / "weights_last.pt")
    return replace(trained, module=module)


@torch.no_grad()
def objective(trained: Trained, test: Split, seed: int) -> dict[str, float]:
    """What validation_step returns, over the test split: the model's own terms, seeded."""
    rows, device = [], trained.module.device
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(seed)
        labels = torch.full((len(test),), -1) if test.labels is None else test.labels
        for index, (x, y) in enumerate(zip(test.batches(), labels.split(500), strict=True)):
            batch = x.to(device), y.to(device)
            rows.append((len(x), trained.module.validation_step(batch, index)))
    return weighted_means(rows)


def draw(trained: Trained, yard: Yardsticks, folder: Path) -> None:
    """samples, reconstructions, interpolations and map as PNG."""
    save_grid(trained.sample(64, seed=yard.settings.seed), folder / "samples.png", columns=8)
    originals = next(yard.test.first(16).batches())
    save_pairs(originals, trained.reconstruct(originals), folder / "reconstructions.png")
    save_rows(interpolate(trained, originals[:12]), folder / "interpolations.png")
    some = yard.test.first(1000)
    points = tsne(trained.features(torch.cat(list(some.batches()))), seed=yard.settings.seed)
    save_map(points, some.labels, yard.meta.classes, folder / "map.png")


def interpolate(trained: Trained, x: Tensor, *, steps: int = 10) -> Tensor:
    """Straight lines in code space between images 2i and 2i + 1 of x: (R, steps, C, H, W)."""
    z = trained.encode(x[: len(x) // 2 * 2])
    start, end = z[0::2], z[1::2]  # (R, D)
    model = trained.module
    mix = model.mix if isinstance(model, MixesCodes) else torch.lerp
    lines = [mix(start, end, share) for share in torch.linspace(0, 1, steps).tolist()]
    return trained.decode(torch.cat(lines)).unflatten(0, (steps, -1)).transpose(0, 1)


def card(trained: Trained, yard: Yardsticks) -> dict[str, Any]:
    """What the page says of a model in words, from the opening of its file."""
    doc = sys.modules[type(trained.module).__module__].__doc__ or trained.name
    first, *rest = [" ".join(part.split()) for part in doc.strip().split("\n\n")]
    title, _, idea = first.partition(": ")
    resolved = trained.card["resolved"]
    return {
        "name": trained.name,
        "family": trained.module.family,
        "title": resolved.get("title", title),
        "idea": resolved.get("idea", idea),
        "objective": doc.strip().split("\n\n")[1] if rest else "",
        "paper": rest[-1] if rest else "",
        "sampler": type(trained.sampler).__name__,
        "features": yard.eyes_name,
        "num_images_seen": resolved["trainer"]["images"],
        "device": trained.card["device"],
        "config": resolved,
    }


def track(
    project: Project,
    trained: Trained,
    report: Path,
    metrics: dict[str, Any],
    findings: dict[str, Finding],
) -> None:
    """Add the final numbers and pictures to the run that train opened."""
    run = tracking.continue_run(
        project.root,
        (trained.folder / "mlflow_run_id").read_text().strip(),
        experiment=f"latentlab-{project.data.name}",
        name=trained.name,
        params=trained.card["resolved"],
        tags={**tracking.run_tags(project.root), "data.sha256": trained.card["data_sha256"]},
    )
    flags = [flag for finding in findings.values() for flag in finding.flags]
    run.log_final(metrics)
    run.set_tags({"flags": "; ".join(flags) or "none"})
    run.log_artifact(report, "report")
    if not run.finish("FINISHED"):
        raise SystemExit(UNTRACKED)
