"""Check a model against contracts.Model before it is trained: its members, shapes and values."""

from __future__ import annotations

import math
from collections.abc import Callable
from copy import deepcopy
from typing import TYPE_CHECKING, Any, get_args

from latentlab.config.step_contract import checked_steps
from latentlab.contracts import (
    DiscreteCodes,
    Encoder,
    Family,
    ImageShape,
    LinearDecoder,
    StructuredSampler,
)
from latentlab.utils.errors import LatentlabError

if TYPE_CHECKING:
    from lightning import LightningModule
    from torch import Tensor

FAMILIES = get_args(Family)
MEMBERS = {
    "family": f"set family to one of {', '.join(FAMILIES)}",
    "latent_dim": "set self.latent_dim to the size D of a code",
    "decode": "add decode(z: (B, D)) -> (B, C, H, W) in [0, 1]",
    "features": "add features(x) -> (B, F)",
}
STEPS = {
    "training_step": "add training_step(batch, batch_idx) -> {name: scalar tensor}, with `loss`",
    "validation_step": "add validation_step(batch, batch_idx) -> {name: scalar tensor}",
    "configure_optimizers": "add configure_optimizers(); optim.adam_linear_decay suits most models",
}


def require_model(model: LightningModule) -> None:
    """Raise LatentlabError that names the first missing member, and how to write it.

    Methods that LightningModule only declares count as missing. The family must be a known one.
    """
    from lightning import LightningModule

    cls = type(model)
    for member, advice in MEMBERS.items():
        if not hasattr(model, member):
            raise _missing(cls, member, advice)
    for method, advice in STEPS.items():
        if getattr(cls, method) is getattr(LightningModule, method):
            raise _missing(cls, method, advice)
    if model.family not in FAMILIES:
        raise LatentlabError(
            f"{cls.__name__}.family is {model.family!r}: {MEMBERS['family']}; see docs/new-model.md"
        )


def require_outputs(model: LightningModule, sampler: Any, image_shape: ImageShape) -> None:
    """Encode, decode, validate and get the features of two images with a copy of the model.

    Raise LatentlabError for a sampler that is absent or of another kind of codes, a method that
    fails, a wrong shape, and an image outside of [0, 1]. No random state changes.
    """
    import torch

    name, dim = type(model).__name__, int(model.latent_dim)  # type: ignore[arg-type]
    if dim < 1:
        raise LatentlabError(f"{name}.latent_dim is {dim}: it must be ≥ 1")
    if sampler is None:
        raise LatentlabError(
            f"the config of {name} has no sampler, so no image could be sampled: add the section"
            " `sampler` with a class_path, such as latentlab.samplers.StandardNormal"
        )
    values = math.prod(image_shape)
    if isinstance(model, LinearDecoder) and dim > values:
        raise LatentlabError(
            f"{name}.latent_dim is {dim}, but an image has {values} values, and a linear decoder"
            f" has no more directions: set latent_dim to {values} or less"
        )
    copy: Any = deepcopy(model).cpu().float().eval()
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(0)
        x = torch.rand(2, *image_shape)
        z = torch.randn(2, dim) if sampler.learns else sampler.sample((2, dim))
        if isinstance(copy, Encoder):
            z = _call(name, "encode", copy.encode, x, (2, dim))
            _require_sampler(copy, sampler, z)
        images = _call(name, "decode", copy.decode, z, (2, *image_shape))
        _call(name, "features", copy.features, x, (2, None))
        _require_validation(copy, x)
    if not (images.min() >= 0 and images.max() <= 1):  # so written, NaN fails as well
        raise LatentlabError(
            f"{name}.decode returned values from {images.min():g} to {images.max():g}: images must"
            " be in [0, 1], for example by sigmoid(); see docs/new-model.md"
        )


def _require_sampler(model: Any, sampler: Any, z: Tensor) -> None:
    """Raise LatentlabError for a density of numbers over indices, or one of indices over numbers.

    `z` (2, D): codes of the model. A sampler that does not tell its parts can be any.
    """
    if not isinstance(sampler, StructuredSampler):
        return
    name, dim = type(model).__name__, z.shape[1]
    of_indices = all(part.distribution == "indices" for part in sampler.parts(dim))
    if isinstance(model, DiscreteCodes) and not of_indices:
        raise LatentlabError(
            f"the codes of {name} are indices of codebook vectors, but the sampler is"
            f" {type(sampler).__name__}, a distribution of numbers: set the sampler's class_path to"
            " latentlab.samplers.AutoregressivePrior or latentlab.samplers.IndependentCategorical"
        )
    if of_indices and not z.equal(z.round()):
        raise LatentlabError(
            f"the codes of {name} are not indices 0, 1, 2, …, but the sampler is"
            f" {type(sampler).__name__}, a distribution of indices: set the sampler's class_path to"
            " latentlab.samplers.FittedMixture, or another for numbers"
        )


def _require_validation(model: Any, x: Tensor) -> None:
    """Raise LatentlabError unless the validation step works and returns scalars by name."""
    import torch

    with checked_steps(model):
        try:
            model.validation_step((x, torch.zeros(len(x), dtype=torch.int64)), 0)
        except LatentlabError:
            raise
        except Exception as error:  # the user's code can fail in any way
            reason = (str(error) or type(error).__name__).splitlines()[0]
            raise LatentlabError(
                f"{type(model).__name__}.validation_step, called outside of a training with images"
                f" {tuple(x.shape)} and classes, fails ({reason}): it must return scalar tensors by"
                " name; see docs/new-model.md"
            ) from error


def _call(
    name: str, method: str, function: Callable[[Tensor], Any], x: Tensor, shape: tuple[Any, ...]
) -> Tensor:
    """Return function(x). None in `shape` is any size."""
    wanted = f"({', '.join('F' if size is None else str(size) for size in shape)})"
    given = f"{name}.{method}, called with a tensor of shape {tuple(x.shape)},"
    try:
        result = function(x)
    except Exception as error:  # the user's code can fail in any way
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise LatentlabError(
            f"{given} fails ({reason}): it must return shape {wanted}; see docs/new-model.md"
        ) from error
    found = tuple(getattr(result, "shape", ()))
    if len(found) != len(shape) or any(
        b not in (None, a) for a, b in zip(found, shape, strict=True)
    ):
        returned = f"shape {found}" if found else type(result).__name__
        raise LatentlabError(
            f"{given} returned {returned}: it must return shape {wanted}; see docs/new-model.md"
        )
    return result


def _missing(cls: type, member: str, advice: str) -> LatentlabError:
    return LatentlabError(f"{cls.__name__} has no `{member}`: {advice}; see docs/new-model.md")
