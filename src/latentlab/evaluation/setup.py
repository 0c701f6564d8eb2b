"""The Evaluator of a project: its prepared data, its classifier and its settings."""

from __future__ import annotations

from copy import deepcopy
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from latentlab.config import EvaluationSettings, Project
from latentlab.data.prepared import read_meta, read_split
from latentlab.evaluation.evaluator import Evaluator, Function
from latentlab.inference.replicas import Replicas, resolve_devices
from latentlab.metrics.fid.inception import InceptionFeatures


def make_evaluator(project: Project, classifier: Any) -> Evaluator:
    """Read the prepared data of a project and return its Evaluator.

    `classifier`: a models.classifier.Classifier. It is untrained for data without labels.
    """
    dataset = read_meta(project.prepared)
    devices, settings = resolve_devices(project.hardware.scoring), project.evaluation
    replicas = Replicas(classifier.frozen(), devices)
    own, has_classes = settings.features == "classifier", dataset.num_classes >= 2
    return Evaluator(
        dataset,
        read_split(project.prepared, "train"),
        read_split(project.prepared, "test"),
        replicas.method("local_features") if own else _inception(replicas, settings),
        replicas.method("forward") if has_classes else None,
        settings,
        replicas.method("both_features") if own and has_classes else None,
        classifier.head.in_features if own and has_classes else 0,
        UntrainedFeatures(classifier, devices[0]) if has_classes else None,
    )


class UntrainedFeatures:
    """Images (B, C, H, W) → `local_features` of a copy of a classifier with new initial weights.

    The weights are the same for each copy. It is made at the first call: most stages need none.
    """

    def __init__(self, classifier: Any, device: str) -> None:
        self.classifier, self.device = classifier, device

    def __call__(self, x: Tensor) -> Tensor:
        return self._features(x)

    @cached_property
    def _features(self) -> Function:
        with torch.inference_mode(False):
            copy = untrained(self.classifier).frozen()
        return Replicas(copy, [self.device]).method("local_features")


def untrained(module: Any) -> Any:
    """A copy on the CPU with new initial weights, the same at each call."""
    copy = deepcopy(module).cpu().eval()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        for part in copy.modules():
            if hasattr(part, "reset_parameters"):
                part.reset_parameters()
    return copy


def _inception(replicas: Replicas, settings: EvaluationSettings) -> Function:
    return InceptionFeatures(
        Path(settings.inception_weights or "inception.pth"),
        settings.inception_sha256 or "",
        device=replicas.devices[0],
    )
