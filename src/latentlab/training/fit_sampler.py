"""Fit the latent sampler of an experiment: to the training codes, or to the class frequencies."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from latentlab.config import Experiment
from latentlab.contracts import ClassSampler, Encoder, Split
from latentlab.utils.errors import LatentlabError


def fit_sampler(experiment: Experiment, train: Split) -> None:
    """Fit a sampler that learns to the codes of the training images. Other samplers do not change.

    Call this after training. Raise LatentlabError for codes that the sampler cannot be fitted to.
    """
    model, sampler = experiment.model.eval().cpu(), experiment.sampler
    if sampler is None or not sampler.learns or not isinstance(model, Encoder):
        return
    with torch.inference_mode():
        codes = torch.cat([model.encode(x) for x in train.batches()])
    with _errors_named(experiment):
        sampler.fit(codes)


def fit_classes(experiment: Experiment, train: Split) -> None:
    """Fit a class sampler to the class frequencies of the training images. Call before training."""
    if isinstance(experiment.sampler, ClassSampler) and train.labels is not None:
        with _errors_named(experiment):
            experiment.sampler.fit_classes(train.labels)


@contextmanager
def _errors_named(experiment: Experiment) -> Iterator[None]:
    try:
        yield
    except (ValueError, torch.linalg.LinAlgError) as error:
        raise LatentlabError(f"{experiment.name}: its sampler cannot be fitted: {error}") from None
