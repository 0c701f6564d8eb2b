"""Check what the steps of a model return: scalar tensors by name, the same names each time."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NoReturn

from latentlab.utils.errors import LatentlabError

if TYPE_CHECKING:
    from lightning import LightningModule

WANTED = {
    "training_step": 'return {"loss": loss, …}, a dict of scalar tensors',
    "validation_step": "return {name: value, …}, a dict of scalar tensors",
}
PAGE = "see docs/new-model.md"


def require_terms(model: LightningModule, step: str, terms: Any) -> None:
    """Raise LatentlabError unless `terms`, which `step` of the model returned, are scalar tensors.

    Those of a training step contain `loss`, and it has a gradient if Lightning runs the optimizer.
    """
    from torch import Tensor

    name = f"{type(model).__name__}.{step}"
    if not isinstance(terms, Mapping) or not terms:
        found = "an empty dict" if isinstance(terms, Mapping) else type(terms).__name__
        raise LatentlabError(f"{name} returned {found}: {WANTED[step]}; {PAGE}")
    for key, value in terms.items():
        if not isinstance(key, str) or not isinstance(value, Tensor) or value.ndim:
            shape = f" of shape {tuple(value.shape)}" if isinstance(value, Tensor) else ""
            raise LatentlabError(
                f"{name} returned {key!r}: {type(value).__name__}{shape}; {WANTED[step]}, such as"
                f" means over the batch; {PAGE}"
            )
    if step == "training_step" and "loss" not in terms:
        raise LatentlabError(f"{name} returned {', '.join(terms)}, no loss: {WANTED[step]}; {PAGE}")
    if step == "training_step" and model.automatic_optimization and not terms["loss"].requires_grad:
        raise LatentlabError(
            f"{name} returned a loss without a gradient: compute it from the parameters, without"
            f" detach() or no_grad(); {PAGE}"
        )


@contextmanager
def checked_steps(model: LightningModule) -> Iterator[None]:
    """In this block, each step of `model` is checked, and `self.log` is an error.

    Values of `self.log` would reach no curve and no tracking server. A training step may leave a
    name out, such as a penalty of some steps only; a validation is a mean over all batches, so its
    names stay the same. Raises LatentlabError.
    """
    replaced = {step: _checked(model, step) for step in WANTED}
    replaced |= {method: functools.partial(_refuse_log, model) for method in ("log", "log_dict")}
    for name, function in replaced.items():
        setattr(model, name, function)  # of this instance only
    try:
        yield
    finally:
        for name in replaced:
            delattr(model, name)


def _checked(model: LightningModule, step: str) -> Callable[..., Any]:
    function = getattr(model, step)
    expected: list[frozenset[str]] = []

    @functools.wraps(function)
    def run(*args: Any, **kwargs: Any) -> Any:
        terms = function(*args, **kwargs)
        require_terms(model, step, terms)
        names = frozenset(terms)
        if not expected:
            expected.append(names)
        if step == "validation_step" and names != expected[0]:
            raise LatentlabError(
                f"{type(model).__name__}.{step} returned {', '.join(sorted(names))}, but"
                f" {', '.join(sorted(expected[0]))} before: return the same names for each batch;"
                f" {PAGE}"
            )
        return terms

    return run


def _refuse_log(model: LightningModule, *args: Any, **kwargs: Any) -> NoReturn:
    given = args[0] if args else kwargs.get("name", kwargs.get("dictionary"))
    name = next(iter(given), "my_metric") if isinstance(given, Mapping) else given
    raise LatentlabError(
        f"{type(model).__name__} calls self.log for {name!r}, which is not recorded: return it from"
        f' the step, such as {{"loss": loss, "{name}": value}}; {PAGE}'
    )
