"""A Context with few digits, whose trained model is PCA: a task runs in about a second."""

from types import SimpleNamespace

import pytest
import torch
from sklearn.datasets import load_digits

from latentlab.contracts import Split
from latentlab.data.prepared import DatasetInfo
from latentlab.inference.trained import TrainedModel
from latentlab.metrics.pca import PCA, PCACoder
from latentlab.tasks.common.context import Context

SHAPE = (1, 8, 8)
DIGITS = tuple("0123456789")


def split(rows: slice) -> Split:
    digits = load_digits()
    images = torch.from_numpy(digits.images[rows] * (255 / 16)).round().to(torch.uint8)
    return Split(images.unsqueeze(1), torch.from_numpy(digits.target[rows]).long())


def make_context(classes: tuple[str, ...] | None, *, encoder: bool = True) -> Context:
    """Without `classes` there are no labels, without `encoder` the model only decodes."""
    parts = [split(slice(*ends)) for ends in ((0, 500), (500, 600), (600, 800))]
    if classes is None:
        parts = [Split(part.images) for part in parts]
    train, val, test = parts
    counts = {"train": len(train), "val": len(val), "test": len(test)}
    dataset = DatasetInfo("digits", SHAPE, classes, counts, (), 0, "")
    coder = PCACoder(PCA.fit(train), 16, SHAPE)
    module = coder if encoder else SimpleNamespace(latent_dim=16, decode=coder.decode)
    trained = TrainedModel("pca", None, module, None, SHAPE, None, {})
    evaluator = SimpleNamespace(train=train, test=test, dataset=dataset)
    return Context(SimpleNamespace(seed=0), evaluator, val, trained)


@pytest.fixture(scope="session")
def context() -> Context:
    return make_context(DIGITS)


@pytest.fixture(scope="session")
def unlabelled() -> Context:
    return make_context(None)


@pytest.fixture(scope="session")
def decoder_only() -> Context:
    return make_context(DIGITS, encoder=False)


@pytest.fixture
def save_figures(tmp_path):
    """Save all figures of a Result. Return their sizes by name."""
    from PIL import Image

    def save(result):
        sizes = {}
        for figure in result.figures:
            figure.save(tmp_path / f"{figure.name}.png")
            with Image.open(tmp_path / f"{figure.name}.png") as image:
                sizes[figure.name] = image.size
        return sizes

    return save
