"""One yardstick for every family: the same images, the same eyes, the same numbers.

`Yardsticks` knows the data, the judge and the reference statistics, but no model: it is handed
images, or functions from images to images or features. Models, PCA twins and baselines all pass
through it, so their numbers compare.
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
from latentlab.contracts import LatentlabError, Split
from latentlab.data.prepared import Meta, read_meta, read_split
from latentlab.metrics.features import InceptionFeatures, extract
from latentlab.metrics.fid import GaussianStatistics, frechet_distance
from latentlab.metrics.kid import kernel_distance
from latentlab.metrics.pca import PCA, PCACoder
from latentlab.metrics.prdc import prdc
from latentlab.metrics.probe import probe_accuracy
from latentlab.metrics.reconstruction import reconstruction_metrics
from latentlab.spread import Spread, devices_of

Function = Callable[[Tensor], Tensor]
MOST_SAMPLES = 50_000  # unless the settings say more; what FIDs are usually measured with
MOST_PROBED = 150_000_000  # numbers that the probe reads: some 28 bytes each while it is fitted
BATCH = 500


@dataclass(frozen=True)
class Yardsticks:
    """The test split and everything that scores against it."""

    meta: Meta
    train: Split
    test: Split
    eyes: Function  # images → features (B, F) for FID and its kin
    judge: Function | None  # the classifier: images → logits (B, K); None without labels
    settings: EvaluationSettings

    @property
    def eyes_name(self) -> str:
        """The feature space of FID: judge, inception, or random where nothing could be learned."""
        if self.settings.features == "inception":
            return "inception"
        return "judge" if self.judge is not None else "random"

    @property
    def num_samples(self) -> int:
        return min(self.settings.num_samples or MOST_SAMPLES, len(self.test))

    def real_features(self) -> Tensor:
        return extract(self.eyes, self.test.first(self.num_samples))

    def score_samples(self, images: Tensor | Split, real: Tensor) -> dict[str, float]:
        """FID, KID, precision, recall, density and coverage of generated images against `real`."""
        fake = extract(self.eyes, images)
        fid = frechet_distance(GaussianStatistics.of(real), GaussianStatistics.of(fake))
        return {
            "fid": fid,
            **kernel_distance(real, fake, seed=self.settings.seed),
            **prdc(real, fake),
        }

    def score_reconstructions(self, x: Split, x_hat: Tensor | Function) -> dict[str, float]:
        """Error of reconstructions of x, and whether the judge still sees the class.

        `x_hat` are the reconstructions, or the function that makes them of a batch: a test split
        larger than memory is then read and forgotten batch by batch.
        """
        seen: list[Tensor] = []

        def pairs() -> Iterator[tuple[Tensor, Tensor]]:
            for start, batch in zip(count(0, BATCH), x.batches(BATCH), strict=False):
                made = x_hat(batch) if callable(x_hat) else x_hat[start : start + BATCH]
                if self.judge is not None and x.labels is not None:
                    seen.append(extract(self.judge, made).argmax(1))
                yield batch, made

        scores = reconstruction_metrics(pairs())
        if seen and x.labels is not None:
            right = torch.eq(torch.cat(seen), x.labels)
            scores["judge_accuracy"] = right.double().mean().item()
        return scores

    def score_features(self, features: Function) -> dict[str, float]:
        """Accuracy of a linear classifier on frozen features; nothing where there are no labels."""
        if self.judge is None or self.train.labels is None or self.test.labels is None:
            return {}
        width = extract(features, self.test.first(1)).shape[1]
        most = min(self.settings.probe_images, max(MOST_PROBED // width, 2))
        train = self.train.some(most, seed=self.settings.seed)
        assert train.labels is not None
        return probe_accuracy(
            extract(features, train),
            train.labels,
            extract(features, self.test),
            self.test.labels,
            l2=self.settings.probe_l2,
        )

    def score_pca(self, pca: PCA, latent_dim: int, real: Tensor) -> dict[str, float]:
        """The whole row of PCA with the same code size, sampled as one Gaussian."""
        coder = PCACoder(pca, latent_dim, self.meta.image_shape)
        generator = torch.Generator().manual_seed(self.settings.seed)
        eps = torch.randn(self.num_samples, coder.latent_dim, generator=generator)
        z = eps * pca.variances[: coder.latent_dim].clamp_min(0).sqrt().float()
        return {
            "latent_dim": coder.latent_dim,
            **self.score_samples(coder.decode(z), real),
            **self.score_reconstructions(self.test, lambda x: coder.decode(coder.encode(x))),
            **self.score_features(coder.encode),
        }


def yardsticks(project: Project, judge: Any) -> Yardsticks:
    """Gather data and eyes. `judge` is the classifier; untrained where there are no labels."""
    meta = read_meta(project.prepared)
    settings = project.evaluation
    judge = judge.eval().to(memory_format=torch.channels_last)  # five times faster on a CPU
    spread = Spread(judge, devices_of(project.hardware.scoring))
    return Yardsticks(
        meta,
        read_split(project.prepared, "train"),
        read_split(project.prepared, "test"),
        _eyes(spread, settings),
        spread.method("forward") if meta.num_classes >= 2 else None,
        settings,
    )


def _eyes(judge: Spread, settings: EvaluationSettings) -> Function:
    if settings.features == "judge":
        return judge.method("features")
    return InceptionFeatures(
        Path(settings.inception_weights or "inception.pth"),
        settings.inception_sha256 or "",
        device=judge.devices[0],
    )


def save_reference(path: Path, real: Tensor, pca: PCA) -> None:
    """Cache what every evaluation needs of the real data, as plain tensors."""
    tensors = {
        "real": real,
        "mean": pca.mean,
        "components": pca.components,
        "variances": pca.variances,
    }
    torch.save(tensors, path)


def load_reference(path: Path) -> tuple[Tensor, PCA]:
    """Features of the real test images (N, F), and the PCA of the training images."""
    if not path.is_file():
        raise LatentlabError(f"{path} is missing: run `dvc repro reference`, which measures it")
    tensors = torch.load(path, weights_only=True)
    return tensors["real"], PCA(tensors["mean"], tensors["components"], tensors["variances"])
