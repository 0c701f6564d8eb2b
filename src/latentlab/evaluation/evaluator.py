"""Measure images, reconstructions and features in one way for all models and baselines.

`Evaluator` holds the data, the classifier and the settings, but no model. It gets images, or
functions from images to images or features. Models and baselines are measured by the same
methods, so their metrics can be compared.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import count

import torch
from torch import Tensor

from latentlab.config import EvaluationSettings
from latentlab.contracts import Split
from latentlab.data.prepared import DatasetInfo
from latentlab.evaluation.reference import Reference
from latentlab.evaluation.scores import Scores, class_space_scores, sample_scores
from latentlab.metrics.fid.features import extract
from latentlab.metrics.fid.frechet import fid
from latentlab.metrics.intervals import fraction_half_width, mean_half_width
from latentlab.metrics.pca import PCA, PCACoder
from latentlab.metrics.probe import probe_correct
from latentlab.metrics.reconstruction import reconstruction_values

Function = Callable[[Tensor], Tensor]
MAX_SAMPLES = 50_000  # the default of num_samples: FID is usually measured with 50,000 images
MAX_PROBE_VALUES = 150_000_000  # images × features; fitting the probe takes 28 bytes for each value
MAX_TRAIN_IMAGES = 10_000  # training images whose features are kept
PIXEL_COMPONENTS = 64
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
    """The data, the networks and the settings of an evaluation. setup.py makes it for a project.

    `feature_extractor`: images → features (B, F), for the metrics of samples. `classifier`:
    images → logits (B, K); None for data without labels. `both_features`: images → these features,
    and behind them those of the last layer of the classifier, in one pass; None if there is only
    one space. `class_width`: how many of them are of the last layer. `random_features`: of the
    second block of an untrained network, or None.
    """

    dataset: DatasetInfo
    train: Split
    test: Split
    feature_extractor: Function
    classifier: Function | None
    settings: EvaluationSettings
    both_features: Function | None = None
    class_width: int = 0
    random_features: Function | None = None
    stored: Reference | None = None  # of stage reference; without it, features are computed again

    @property
    def feature_space(self) -> str:
        """The feature space of FID: classifier or inception; random for data without labels."""
        if self.settings.features == "inception":
            return "inception"
        return "classifier" if self.classifier is not None else "random"

    @property
    def num_samples(self) -> int:
        """Number of images in one draw of samples; at most the size of the test split."""
        return min(self.settings.num_samples or MAX_SAMPLES, len(self.test))

    def real_features(self) -> Tensor:
        """Features (N, F) of the first `num_samples` test images."""
        if self.stored is not None:
            return self.stored.real
        return extract(self.feature_extractor, self.test.first(self.num_samples))

    def train_features(self) -> Tensor:
        """Features (T, F) of training images, at most 10,000."""
        if self.stored is not None:
            return self.stored.train
        seen = self.train.some(MAX_TRAIN_IMAGES, seed=self.settings.seed)
        return extract(self.feature_extractor, seen)

    def reference(self, pca: PCA) -> Reference:
        """The features of the test images and of the training images, for all evaluations."""
        test = self.test.first(self.num_samples)
        main, last = self.spaces(test)
        random = None if self.random_features is None else extract(self.random_features, test)
        return Reference(main, last, random, self.train_features(), pca)

    def spaces(self, images: Tensor | Split) -> tuple[Tensor, Tensor | None]:
        """Features (N, F) of images, and those of the last layer of the classifier, if any."""
        if self.both_features is None:
            return extract(self.feature_extractor, images), None
        both = extract(self.both_features, images)
        main, last = both.tensor_split([both.shape[1] - self.class_width], dim=1)
        return main.contiguous(), last.contiguous()

    def score_samples(
        self, draws: Sequence[Tensor | Split], real: Tensor, class_real: Tensor | None = None
    ) -> Scores:
        """FID, KID, precision, recall, density and coverage of generated images.

        `draws`: independent draws of images; several draws have intervals. `real`: features (N, F)
        of real images; `class_real` (N, D): their features in the last layer, for `class_fid`.
        """
        spaces = [self.spaces(images) for images in draws]
        scores = sample_scores(real, [main for main, _ in spaces], seed=self.settings.seed)
        last = [each for _, each in spaces if each is not None]
        if class_real is not None and last:
            scores |= class_space_scores(class_real, last)
        return scores

    def other_spaces(self, images: Tensor | Split, reference: Reference) -> dict[str, float]:
        """FID in two other spaces, to see if they rank the models alike.

        `random_fid`: an untrained network. `pixel_fid`: the first 64 principal components of the
        training images.
        """
        test, found = self.test.first(len(images)), {}
        if self.random_features is not None and reference.random_real is not None:
            fake = extract(self.random_features, images)
            found["random_fid"] = fid(reference.random_real, fake)
        components = min(PIXEL_COMPONENTS, reference.pca.components.shape[1])
        codes = PCACoder(reference.pca, components, self.dataset.image_shape).encode
        found["pixel_fid"] = fid(*(extract(codes, each) for each in (test, images)))
        return found

    def score_reconstructions(self, x: Split, x_hat: Tensor | Function) -> Scores:
        """Reconstruction error, and the accuracy of the classifier on the reconstructions.

        `x_hat`: the reconstructions of x, or a function that reconstructs a batch. With a function
        the images are read batch by batch, so `x` may be larger than memory. Arrays: the value of
        each image, by the name of the metric.
        """
        predicted: list[Tensor] = []

        def pairs() -> Iterator[tuple[Tensor, Tensor]]:
            for start, batch in zip(count(0, BATCH), x.batches(BATCH), strict=False):
                batch_hat = x_hat(batch) if callable(x_hat) else x_hat[start : start + BATCH]
                if self.classifier is not None and x.labels is not None:
                    predicted.append(extract(self.classifier, batch_hat).argmax(1))
                yield batch, batch_hat

        values = reconstruction_values(pairs())
        scores = Scores(
            {name: float(each.mean()) for name, each in values.items()},
            {n: mean_half_width(each, seed=self.settings.seed) for n, each in values.items()},
            values,
        )
        if predicted and x.labels is not None:
            correct = torch.eq(torch.cat(predicted), x.labels)
            scores |= fraction_scores("classifier_accuracy", correct)
        return scores

    @property
    def has_probe(self) -> bool:
        """True if the data have labels for a linear probe."""
        labels = (self.train.labels, self.test.labels)
        return self.classifier is not None and all(split is not None for split in labels)

    def score_features(self, features: Function, test: Tensor | None = None) -> Scores:
        """Test accuracy of a linear probe on frozen features; empty for data without labels.

        `test`: the features (N, F) of the test images, if they were computed already.
        """
        if not self.has_probe:
            return Scores()
        assert self.test.labels is not None
        test = extract(features, self.test) if test is None else test
        width = test.shape[1]
        max_images = min(self.settings.probe_max_images, max(MAX_PROBE_VALUES // width, 2))
        train = self.train.some(max_images, seed=self.settings.seed)
        assert train.labels is not None
        correct = probe_correct(
            extract(features, train),
            train.labels,
            test,
            self.test.labels,
            l2=self.settings.probe_l2,
        )
        return fraction_scores("probe_accuracy", correct)

    def score_pca(
        self, reference: Reference, latent_dim: int, *, x: Split | None = None, num_draws: int = 1
    ) -> Scores:
        """All metrics of PCA with `latent_dim` components; its codes are sampled as a Gaussian.

        `x`: the images to reconstruct; None for all test images.
        """
        pca = reference.pca
        coder = PCACoder(pca, latent_dim, self.dataset.image_shape)
        std = pca.variances[: coder.latent_dim].clamp_min(0).sqrt().float()
        draws = []
        for draw in range(num_draws):
            generator = torch.Generator().manual_seed(self.settings.seed + draw)
            eps = torch.randn(self.num_samples, coder.latent_dim, generator=generator)
            draws.append(coder.decode(eps * std))
        return (
            Scores({"latent_dim": coder.latent_dim})
            | self.score_samples(draws, reference.real, reference.class_real)
            | self.score_reconstructions(x or self.test, lambda x: coder.decode(coder.encode(x)))
            | self.score_features(coder.encode)
        )


def fraction_scores(name: str, correct: Tensor) -> Scores:
    """The fraction of true values of `correct` (N,), its interval, and the values."""
    mean = float(correct.double().mean())
    return Scores({name: mean}, {name: fraction_half_width(correct)}, {name: correct.double()})
