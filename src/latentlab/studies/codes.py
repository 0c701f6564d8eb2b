"""Codes that an image gives away: do the unsupervised categories coincide with the classes?

    error = 1 − max over one-to-one assignments a of P( a(ŷ(x)) = label(x) ),   ŷ(x) = argmax Q(y|x)

Chen et al. 2016, "InfoGAN", section 7.2, where it is 5 % on MNIST. Here the assignment is chosen on
training images and the error counted on the test images.
"""

from __future__ import annotations

from functools import partial
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor

from latentlab.contracts import Split
from latentlab.evaluation import Yardsticks
from latentlab.findings import Finding, Picture
from latentlab.metrics.assignment import best_assignment, counts
from latentlab.plots import save_rows
from latentlab.trained import Trained

MATCHED = 10_000  # training images that decide the assignment
ROWS, STEPS, REACH = 8, 11, 2.0  # of the pictures; the paper's range of the continuous codes


@runtime_checkable
class Recognizing(Protocol):
    """A model that reads its codes, (…, c, y) with J continuous c and K categories, from images.

    `recognize`: images (B, C, H, W) → logits (B, K) and means of c (B, J).
    """

    categories: int
    continuous: int

    def recognize(self, x: Tensor) -> tuple[Tensor, Tensor]: ...


def applies(model: Any) -> bool:
    return isinstance(model, Recognizing)


@torch.inference_mode()
def study(trained: Trained, yard: Yardsticks) -> Finding:
    """Read the categories of real images, match them with the classes, and traverse all codes."""
    order, numbers, table = _compare(trained, yard)
    told = (
        f"Matched with the classes, the categories are wrong for {numbers['code_error']:.1%} of "
        "the test images, though no label was seen. "
        if numbers
        else ""
    )
    pictures = [
        Picture(
            "categories",
            "A row has one noise, a column one category",
            partial(save_rows, categories(trained, order, yard.settings.seed)),
        ),
        *(
            Picture(
                f"continuous_{index + 1}",
                f"Continuous code {index + 1} from −2 to 2, a category a row",
                partial(save_rows, traversal(trained, order, index, yard.settings.seed)),
            )
            for index in range(trained.module.continuous)
        ),
    ]
    return Finding(
        title="What the codes mean",
        text=told + f"The columns of the first picture are the {trained.module.categories} "
        "categories: a column that shows one class in every row has found it. In the others one "
        "continuous code changes and all else stays; it was trained on −1 … 1.",
        numbers=numbers,
        table=table,
        pictures=pictures,
    )


def _compare(
    trained: Trained, yard: Yardsticks
) -> tuple[list[int], dict[str, float], dict[str, dict[str, float]]]:
    """The categories in the order of their classes, the error, and a row for every category."""
    every = list(range(trained.module.categories))
    if yard.train.labels is None or yard.test.labels is None:
        return every, {}, {}
    some = yard.train.first(MATCHED)
    assert some.labels is not None
    match = best_assignment(counts(read(trained, some), some.labels))
    codes = read(trained, yard.test)
    of_code = torch.tensor([match.get(code, -1) for code in every])
    error = float((of_code[codes] != yard.test.labels).double().mean())
    order = sorted(every, key=lambda code: match.get(code, len(every)))
    names = yard.meta.classes or ()
    table = {}
    for code in order:
        met = yard.test.labels[codes == code]
        pure = float((met == of_code[code]).double().mean()) if len(met) else 0.0
        name = names[match[code]] if code in match else "–"
        table[f"category {code}: {name}"] = {"images": float(len(met)), "share_of_class": pure}
    return order, {"code_error": error}, table


def read(trained: Trained, split: Split) -> Tensor:
    """The most probable category of every image, int64 (N,)."""
    return torch.cat([trained.module.recognize(x)[0].argmax(1) for x in split.batches()])


def categories(trained: Trained, order: list[int], seed: int) -> Tensor:
    """Images (R, K, C, H, W): one draw a row, every category once, in the given order."""
    model = trained.module
    z = trained.draw(ROWS, seed=seed).repeat_interleave(len(order), 0)  # (R·K, D)
    z[:, -model.categories :] = torch.eye(model.categories)[order].repeat(ROWS, 1)
    return trained.decode(z).unflatten(0, (ROWS, len(order)))


def traversal(trained: Trained, order: list[int], index: int, seed: int) -> Tensor:
    """Images (K, STEPS, C, H, W): a category a row, continuous code `index` from −2 to 2."""
    model = trained.module
    z = trained.draw(1, seed=seed).repeat(len(order) * STEPS, 1)
    z[:, -model.categories - model.continuous : -model.categories] = 0
    z[:, -model.categories - model.continuous + index] = torch.linspace(
        -REACH, REACH, STEPS
    ).repeat(len(order))
    z[:, -model.categories :] = torch.eye(model.categories)[order].repeat_interleave(STEPS, 0)
    return trained.decode(z).unflatten(0, (len(order), STEPS))
