"""Measure images, reconstructions and features in one way for all models and baselines.

`Evaluator` holds the data, the classifier and the settings, but no model. It gets images, or
functions from images to images or features. Models and baselines are measured by the same
methods, so their metrics can be compared.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from latentlab.config import EvaluationSettings, Project
from latentlab.contracts import Split
from latentlab.data.prepared import DatasetInfo, read_meta, read_split
from latentlab.inference.replicas import Replicas, resolve_devices
from latentlab.metrics.fid.features import extract
from latentlab.metrics.fid.frechet import fid
from latentlab.metrics.fid.inception import InceptionFeatures
from latentlab.metrics.kid import kernel_distance
from latentlab.metrics.pca import PCA, PCACoder
from latentlab.metrics.prdc import prdc
from latentlab.metrics.probe import probe_accuracy
from latentlab.metrics.reconstruction import reconstruction_metrics
from latentlab.utils.errors import LatentlabError

Function = Callable[[Tensor], Tensor]
MAX_SAMPLES = 50_000  # the default of num_samples: FID is usually measured with 50,000 images
MAX_PROBE_VALUES = 150_000_000  # images × features; fitting the probe takes 28 bytes for each value
MIN_SUBSET = 100  # images of a metric that does not use the whole test split
BATCH = 500


def subset_size(count: int, *, most: int, divisor: int) -> int:
    """Number of the `count` test images for a metric that is too expensive for all of them.

    It is `count` / `divisor`, so the cost of the metric is in proportion to the data. It is at
    least 100 (or `count`, if `count` is smaller), and never more than `most`.
    """
    return min(count, most, max(MIN_SUBSET, count // divisor))


@dataclass(frozen=True)
class Evaluator:
    """The data, the networks and the settings of an evaluation.

    `feature_extractor`: images → features (B, F), for the metrics of samples. `classifier`:
    images → logits (B, K); None for data without labels.
    """

    dataset: DatasetInfo
    train: Split
    test: Split
    feature_extractor: Function
    classifier: Function | None
    settings: EvaluationSettings

    @property
    def feature_space(self) -> str:
        """The feature space of FID: classifier or inception; random for data without labels."""
        if self.settings.features == "inception":
            return "inception"
        return "classifier" if self.classifier is not None else "random"

    @property
    def num_samples(self) -> int:
        """Number of images in the metrics of samples; at most the size of the test split."""
        return min(self.settings.num_samples or MAX_SAMPLES, len(self.test))

    def real_features(self) -> Tensor:
        """Features (N, F) of the first `num_samples` test images."""
        return extract(self.feature_extractor, self.test.first(self.num_samples))

    def score_samples(self, images: Tensor | Split, real: Tensor) -> dict[str, float]:
        """FID, KID, precision, recall, density and coverage of generated images.

        `real`: features (N, F) of real images.
        """
        fake = extract(self.feature_extractor, images)
        return {
            "fid": fid(real, fake),
            **kernel_distance(real, fake, seed=self.settings.seed),
            **prdc(real, fake),
        }

    def score_reconstructions(self, x: Split, x_hat: Tensor | Function) -> dict[str, float]:
        """Reconstruction error, and the accuracy of the classifier on the reconstructions.

        `x_hat`: the reconstructions of x, or a function that reconstructs a batch. With a function
        the images are read batch by batch, so `x` may be larger than memory.
        """
        predicted: list[Tensor] = []

        def pairs() -> Iterator[tuple[Tensor, Tensor]]:
            for start, batch in zip(count(0, BATCH), x.batches(BATCH), strict=False):
                batch_hat = x_hat(batch) if callable(x_hat) else x_hat[start : start + BATCH]
                if self.classifier is not None and x.labels is not None:
                    predicted.append(extract(self.classifier, batch_hat).argmax(1))
                yield batch, batch_hat

        scores = reconstruction_metrics(pairs())
        if predicted and x.labels is not None:
            correct = torch.eq(torch.cat(predicted), x.labels)
            scores["classifier_accuracy"] = correct.double().mean().item()
        return scores

    @property
    def has_probe(self) -> bool:
        """True if the data have labels for a linear probe."""
        labels = (self.train.labels, self.test.labels)
        return self.classifier is not None and all(split is not None for split in labels)

    def score_features(self, features: Function, test: Tensor | None = None) -> dict[str, float]:
        """Test accuracy of a linear probe on frozen features; empty for data without labels.

        `test`: the features (N, F) of the test images, if they were computed already.
        """
        if not self.has_probe:
            return {}
        assert self.test.labels is not None
        test = extract(features, self.test) if test is None else test
        width = test.shape[1]
        max_images = min(self.settings.probe_max_images, max(MAX_PROBE_VALUES // width, 2))
        train = self.train.some(max_images, seed=self.settings.seed)
        assert train.labels is not None
        return probe_accuracy(
            extract(features, train),
            train.labels,
            test,
            self.test.labels,
            l2=self.settings.probe_l2,
        )

    def score_pca(self, pca: PCA, latent_dim: int, real: Tensor) -> dict[str, float]:
        """All metrics of PCA with `latent_dim` components; its codes are sampled as a Gaussian."""
        coder = PCACoder(pca, latent_dim, self.dataset.image_shape)
        generator = torch.Generator().manual_seed(self.settings.seed)
        eps = torch.randn(self.num_samples, coder.latent_dim, generator=generator)
        z = eps * pca.variances[: coder.latent_dim].clamp_min(0).sqrt().float()
        return {
            "latent_dim": coder.latent_dim,
            **self.score_samples(coder.decode(z), real),
            **self.score_reconstructions(self.test, lambda x: coder.decode(coder.encode(x))),
            **self.score_features(coder.encode),
        }


def make_evaluator(project: Project, classifier: Any) -> Evaluator:
    """Read the prepared data of a project and return its Evaluator.

    `classifier`: a models.classifier.Classifier. It is untrained for data without labels.
    """
    dataset = read_meta(project.prepared)
    classifier = classifier.eval().to(memory_format=torch.channels_last)  # 5 times faster on a CPU
    replicas = Replicas(classifier, resolve_devices(project.hardware.scoring))
    return Evaluator(
        dataset,
        read_split(project.prepared, "train"),
        read_split(project.prepared, "test"),
        _feature_extractor(replicas, project.evaluation),
        replicas.method("forward") if dataset.num_classes >= 2 else None,
        project.evaluation,
    )


def _feature_extractor(classifier: Replicas, settings: EvaluationSettings) -> Function:
    if settings.features == "classifier":
        return classifier.method("features")
    return InceptionFeatures(
        Path(settings.inception_weights or "inception.pth"),
        settings.inception_sha256 or "",
        device=classifier.devices[0],
    )


def save_reference(path: Path, real: Tensor, pca: PCA) -> None:
    """Save the features of the real test images (N, F) and the PCA of the training images."""
    tensors = {
        "real": real,
        "mean": pca.mean,
        "components": pca.components,
        "variances": pca.variances,
    }
    torch.save(tensors, path)


def load_reference(path: Path) -> tuple[Tensor, PCA]:
    """Read the file of `save_reference`. Raises LatentlabError if it is missing."""
    if not path.is_file():
        raise LatentlabError(f"{path} is missing: run `dvc repro reference`, which writes it")
    tensors = torch.load(path, weights_only=True)
    return tensors["real"], PCA(tensors["mean"], tensors["components"], tensors["variances"])
