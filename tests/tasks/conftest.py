"""A Context of few digits, whose trained model is PCA: tasks in a second, nothing on disk."""

from types import SimpleNamespace

import pytest
import torch
from sklearn.datasets import load_digits

from latentlab.contracts import Split
from latentlab.data.prepared import Meta
from latentlab.metrics.pca import PCA, PCACoder
from latentlab.tasks import Context
from latentlab.trained import Trained

SHAPE = (1, 8, 8)


def split(rows: slice) -> Split:
    digits = load_digits()
    images = torch.from_numpy(digits.images[rows] * (255 / 16)).round().to(torch.uint8)
    return Split(images.unsqueeze(1), torch.from_numpy(digits.target[rows]).long())


def made(classes: tuple[str, ...] | None, *, encoder: bool = True) -> Context:
    """The Context; without `classes` no labels, without `encoder` a model that only draws."""
    parts = [split(slice(*ends)) for ends in ((0, 500), (500, 600), (600, 800))]
    if classes is None:
        parts = [Split(part.images) for part in parts]
    train, val, test = parts
    counts = {"train": len(train), "val": len(val), "test": len(test)}
    meta = Meta("digits", SHAPE, classes, counts, (), 0, "")
    coder = PCACoder(PCA.fit(train), 16, SHAPE)
    module = coder if encoder else SimpleNamespace(latent_dim=16, decode=coder.decode)
    trained = Trained("pca", None, module, None, SHAPE, None, {})
    yard = SimpleNamespace(train=train, test=test, meta=meta)
    return Context(SimpleNamespace(seed=0), meta, yard, val, trained)


DIGITS = tuple("0123456789")


@pytest.fixture(scope="session")
def context() -> Context:
    return made(DIGITS)


@pytest.fixture(scope="session")
def unlabelled() -> Context:
    return made(None)


@pytest.fixture(scope="session")
def decoder_only() -> Context:
    return made(DIGITS, encoder=False)


@pytest.fixture
def drawn(tmp_path):
    """Draw all pictures of a finding; their sizes by name."""
    from PIL import Image

    def draw(finding):
        sizes = {}
        for picture in finding.pictures:
            picture.draw(tmp_path / f"{picture.name}.png")
            with Image.open(tmp_path / f"{picture.name}.png") as image:
                sizes[picture.name] = image.size
        return sizes

    return draw
