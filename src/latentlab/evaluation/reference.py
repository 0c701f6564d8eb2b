"""Features of real images and PCA: computed once by stage reference, read by every evaluation."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from latentlab.metrics.pca import PCA
from latentlab.utils.errors import LatentlabError
from latentlab.utils.files import damage


@dataclass(frozen=True)
class Reference:
    """`real`: features (N, F) of the first `num_samples` test images.

    `class_real` (N, D), `random_real` (N, G): of the same images, in the last layer of the
    classifier and in an untrained network; None if there is no such space. `train`: features
    (T, F) of training images, at most 10,000. `pca`: of the training images.
    """

    real: Tensor
    class_real: Tensor | None
    random_real: Tensor | None
    train: Tensor
    pca: PCA

    @property
    def digest(self) -> str:
        """Changes with the test images and with the classifier: results with another one differ."""
        return hashlib.sha256(self.real.contiguous().numpy().tobytes()).hexdigest()[:16]


def save_reference(path: Path, reference: Reference) -> None:
    pca = reference.pca
    tensors = {
        "real": reference.real,
        "class_real": reference.class_real,
        "random_real": reference.random_real,
        "train": reference.train,
        "mean": pca.mean,
        "components": pca.components,
        "variances": pca.variances,
    }
    torch.save(tensors, path)


def load_reference(path: Path) -> Reference:
    """Read the file of `save_reference`.

    Raises LatentlabError if it is missing or damaged, or from a version of latentlab with other
    contents.
    """
    if not path.is_file():
        raise LatentlabError(f"{path} is missing: run `dvc repro reference`, which writes it")
    try:
        t = torch.load(path, weights_only=True)
    except Exception as error:  # a damaged file can raise anything
        raise LatentlabError(
            f"{path} cannot be read: {damage(path, error)}. Restore it with `dvc checkout --force"
            " data/reference`, or write it again with `dvc repro reference`"
        ) from None
    try:
        pca = PCA(t["mean"], t["components"], t["variances"])
        return Reference(t["real"], t["class_real"], t["random_real"], t["train"], pca)
    except KeyError as error:
        raise LatentlabError(
            f"{path} has no {error}: another version of latentlab wrote it. Run `dvc repro -f"
            " reference`"
        ) from None
