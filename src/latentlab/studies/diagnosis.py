"""Diagnosis: does the generator cover the data, and do the two players still learn from each other?

    classes covered: k with q(k) ≥ p(k) / 10 > 0   KL(q ‖ p) = Σ_k q(k) log q(k) / p(k)

p: classes of the test images, q: of as many fakes, both by the judge. Spread: trace of the
covariance of the fakes' features over that of the data's, which needs no classes. Modes and KL as
Srivastava et al. 2017, "VEEGAN"; what goes wrong in a game: Goodfellow et al. 2014, section 6.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from latentlab.charts import PALETTE, chart
from latentlab.contracts import Split, to_float
from latentlab.evaluation import Yardsticks
from latentlab.findings import Finding, Picture
from latentlab.metrics.features import extract
from latentlab.trained import Trained

IMAGES = 2000  # at most so many of each kind
GRADIENT_IMAGES = 256
COVERED = 0.1  # of a class's share in the data
NARROW = 0.5  # spread of the fakes' features, of the data's
SURE = 0.95  # share of both kinds that D tells right
VANISHED = 1e-3  # norm of G's gradient


@runtime_checkable
class TwoPlayers(Protocol):
    """`score_real`, `score_fake`: D's logits, at which `border` parts real from fake.

    They are asked of images x (B, C, H, W) in [0, 1] with their labels y (B,), int64, which a
    conditional D needs, and of the images made of codes z (B, D). A critic without a border has
    None: the middle of its two mean scores is taken. `losses`: what D and G minimise.
    """

    generator: nn.Module
    discriminator: nn.Module
    border: float | None

    def score_real(self, x: Tensor, y: Tensor) -> Tensor: ...

    def score_fake(self, z: Tensor) -> Tensor: ...

    def losses(self, x: Tensor, y: Tensor, z: Tensor) -> tuple[Tensor, Tensor]: ...


def applies(model: Any) -> bool:
    return isinstance(model, TwoPlayers)


def study(trained: Trained, yard: Yardsticks) -> Finding:
    """Histogram of classes, D's scores of three kinds of images, gradients of both players."""
    count = min(IMAGES, len(yard.test))
    model, codes = trained.module, trained.draw(count, seed=yard.settings.seed)
    fakes = trained.decode(codes)
    with torch.inference_mode():
        scores = {
            "test": score_split(model, yard.test.first(count)),
            "train": score_split(model, yard.train.first(count)),
            "fake": torch.cat([model.score_fake(z) for z in codes.split(500)]),
        }
    cover, shares = coverage(yard, fakes)
    numbers = {
        **cover,
        **discrimination(scores, model.border),
        **gradients(trained, yard.train.first(GRADIENT_IMAGES), yard.settings.seed),
    }
    pictures = [Picture("scores", "What D says of images", partial(draw_scores, scores))]
    if shares:
        drawn = partial(draw_shares, shares, yard.meta.classes or ())
        pictures.insert(0, Picture("classes", "Share of each class", drawn))
    return Finding(
        title="Diagnosis of the game",
        text=f"{count:,} fakes beside as many test images. A class is covered if the fakes have a "
        "tenth of its share in the data; the spread compares the variance of features, 1 is as "
        "wide as the data. D's accuracies are shares told right of test images, training images "
        "and fakes; 0.5 each where it cannot tell. Flags: a class uncovered or a spread below "
        f"{NARROW}: collapse; training images and fakes both told right above {SURE}: D has won; "
        f"a gradient of G below {VANISHED}: nothing left to learn from.",
        numbers=numbers,
        pictures=pictures,
        flags=flags(numbers, int((shares["data"] > 0).sum()) if shares else 0),
    )


def coverage(yard: Yardsticks, fakes: Tensor) -> tuple[dict[str, float], dict[str, Tensor]]:
    """Spread, and where there are classes their shares: ({name: number}, {"data", "fakes"})."""
    real = yard.test.first(len(fakes))
    spread = [extract(yard.eyes, images).double().var(0).sum() for images in (fakes, real)]
    numbers = {"feature_spread": float(spread[0] / spread[1])}
    if yard.judge is None:
        return numbers, {}
    classes = yard.meta.num_classes
    seen = [extract(yard.judge, images).argmax(1) for images in (real, fakes)]
    p, q = (torch.bincount(k, minlength=classes).double() / len(k) for k in seen)
    covered = (q >= COVERED * p) & (q > 0) & (p > 0)  # what the data lack cannot be asked for
    numbers |= {
        "classes_covered": float(covered.sum()),
        "class_kl_nats": class_kl(q, p),
    }
    return numbers, {"data": p, "fakes": q}


def class_kl(q: Tensor, p: Tensor) -> float:
    """KL(q ‖ p) of two histograms (K,), nats; a class that p never has counts as once in 10⁶."""
    return float(torch.xlogy(q, q / p.clamp_min(1e-6)).sum())


def discrimination(scores: dict[str, Tensor], border: float | None) -> dict[str, float]:
    """D's accuracy on each kind, and how often it scores a test image above a fake."""
    if border is None:
        border = float(scores["train"].mean() + scores["fake"].mean()) / 2
    pairs = scores["test"][:, None] - scores["fake"][None]
    return {
        "d_accuracy_test": float((scores["test"] > border).double().mean()),
        "d_accuracy_train": float((scores["train"] > border).double().mean()),
        "d_accuracy_fake": float((scores["fake"] <= border).double().mean()),
        "d_auroc": float((pairs > 0).double().mean() + (pairs == 0).double().mean() / 2),
    }


def score_split(model: TwoPlayers, split: Split) -> Tensor:
    """D's logits of a split's images; without labels, all are of class 0."""
    labels = _labels(split).split(500)
    return torch.cat(
        [model.score_real(x, y) for x, y in zip(split.batches(500), labels, strict=True)]
    )


def _labels(split: Split) -> Tensor:
    return torch.zeros(len(split), dtype=torch.int64) if split.labels is None else split.labels


@torch.enable_grad()
def gradients(trained: Trained, real: Split, seed: int) -> dict[str, float]:
    """Norm of each player's gradient at the end of training, on one batch."""
    model, x = trained.module, to_float(real.images)
    d_loss, g_loss = model.losses(x, _labels(real), trained.draw(len(x), seed=seed))
    return {
        f"{player}_gradient_norm": _norm(loss, network)
        for player, loss, network in (
            ("d", d_loss, model.discriminator),
            ("g", g_loss, model.generator),
        )
    }


def _norm(loss: Tensor, network: nn.Module) -> float:
    parameters = [p for p in network.parameters() if p.requires_grad]
    slopes = torch.autograd.grad(loss, parameters, retain_graph=True)
    return float(torch.stack([slope.norm() for slope in slopes]).norm())


def flags(numbers: dict[str, float], classes: int) -> list[str]:
    """What is wrong, by the thresholds at the top of this file; the data have `classes` classes."""
    covered, spread = int(numbers.get("classes_covered", classes)), numbers["feature_spread"]
    told = (numbers["d_accuracy_train"], numbers["d_accuracy_fake"])
    found = {
        f"collapse: {covered} of {classes} classes": covered < classes,
        f"collapse: fakes vary {spread:.2f} times as much as images": spread < NARROW,
        f"D has won: it tells {min(told):.0%} right": min(told) > SURE,
        f"vanishing gradient: {numbers['g_gradient_norm']:.1g}": (
            numbers["g_gradient_norm"] < VANISHED
        ),
    }
    return [flag for flag, holds in found.items() if holds]


def draw_shares(shares: dict[str, Tensor], classes: Sequence[str], path: Path) -> None:
    """Bars: the share of each class in the data and among the fakes."""
    with chart(path, size=(6, 2.8)) as axes:
        place = torch.arange(len(classes)).double()
        for number, (name, share) in enumerate(shares.items()):
            offset = place + 0.4 * (number - 0.5)
            axes.bar(offset.numpy(), share.numpy(), 0.38, color=PALETTE[number], label=name)
        axes.set_xticks(place.numpy(), [name[:8] for name in classes], parse_math=False)
        axes.set_ylabel("share")


def draw_scores(scores: dict[str, Tensor], path: Path) -> None:
    """Histograms of D's logits on one axis; the outermost percents are left out."""
    everything = torch.cat(list(scores.values())).double()
    low, high = everything.quantile(torch.tensor([0.005, 0.995], dtype=torch.float64)).tolist()
    span = (low, max(high, low + 1e-6))
    labels = {"test": "test images", "train": "training images", "fake": "fakes"}
    with chart(path, size=(6, 2.8)) as axes:
        for number, (name, values) in enumerate(scores.items()):
            look = {"color": PALETTE[(0, 3, 1)[number]], "lw": 1.8, "histtype": "step"}
            axes.hist(values.numpy(), 40, range=span, label=labels[name], **look)
        axes.set_xlabel("D's logit")
        axes.set_yticks([])
