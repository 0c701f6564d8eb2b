"""The data module in a real Trainer: the batches of every epoch and after a resume."""

import logging
from itertools import chain

import numpy as np
import pytest
import torch
from lightning.pytorch import Callback, LightningModule, Trainer

from latentlab.data.batch_sampler import epoch_batches
from latentlab.data.datamodule import ImageDataModule
from latentlab.data.loaders import MemoryLoader, StreamLoader
from latentlab.data.prepared import read_split, write_prepared
from latentlab.data.settings import DataSettings
from latentlab.data.sources import Images, Source
from latentlab.utils.errors import LatentlabError

# Lightning uses a deprecated function of torch. Every other warning is an error.
pytestmark = pytest.mark.filterwarnings("ignore:.*LeafSpec.*:FutureWarning")

BATCHES = 4  # in an epoch: 70 training images, 16 in a batch


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """100 images whose grey value is the label."""
    pixels = np.arange(100, dtype=np.uint8)[:, None, None, None].repeat(2, 2).repeat(2, 3)
    source = Source("toy", Images(pixels, np.arange(100), range(100)), None, ("many",))
    folder = tmp_path_factory.mktemp("data") / "prepared"
    write_prepared(source, DataSettings(), 0, folder)
    return folder


class Toy(LightningModule):
    """A model that records its batches."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(()))
        self.trained: list[list[int]] = []
        self.validated: list[list[int]] = []

    def training_step(self, batch, batch_idx):
        x, y = batch
        assert x.dtype == torch.float32
        torch.testing.assert_close(x[:, 0, 0, 0], y / 255)
        self.trained.append(y.tolist())
        return self.weight * x.mean()

    def validation_step(self, batch, batch_idx):
        self.validated.append(batch[1].tolist())

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), 0.1)


class Save(Callback):
    """Save a checkpoint in every hook in which callbacks save."""

    def __init__(self, where) -> None:
        self.where = where
        self.saved = {}

    def _save(self, trainer, hook) -> None:
        path = self.where / f"{hook}-{trainer.fit_loop.total_batch_idx + 1}.ckpt"
        self.saved[path] = len(trainer.lightning_module.trained)
        trainer.save_checkpoint(path)

    def on_train_batch_end(self, trainer, *_args) -> None:
        self._save(trainer, "batch")

    def on_train_epoch_end(self, trainer, *_args) -> None:
        self._save(trainer, "epoch")

    def on_validation_end(self, trainer, *_args) -> None:
        self._save(trainer, "validation")


def train(folder, epochs, callbacks=(), ckpt=None, **options) -> Toy:
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    model = Toy()
    trainer = Trainer(
        accelerator="cpu",
        devices=1,
        max_epochs=epochs,
        logger=False,
        callbacks=list(callbacks),
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
    )
    data = ImageDataModule(folder, batch_size=16, seed=9, **options)
    trainer.fit(model, datamodule=data, ckpt_path=ckpt, weights_only=True)
    return model


@pytest.mark.parametrize("loader", ["memory", "stream"])
def test_each_epoch_of_a_fit_has_its_own_order(folder, loader) -> None:
    labels = read_split(folder, "train").labels
    assert labels is not None
    expected = [
        labels[index].tolist()
        for epoch in range(3)
        for index in epoch_batches(70, 16, seed=9, epoch=epoch)
    ]
    model = train(folder, 3, loader=loader)
    assert model.trained == expected
    validation = read_split(folder, "val").labels
    assert validation is not None
    assert list(chain.from_iterable(model.validated)) == validation.tolist() * 3


def test_a_fit_resumed_from_any_checkpoint_gets_the_remaining_batches(folder, tmp_path) -> None:
    save = Save(tmp_path)
    whole = train(folder, 3, [save]).trained
    assert len(whole) == 3 * BATCHES
    assert len(save.saved) == 3 * (BATCHES + 2)
    for path, already in save.saved.items():
        if already < len(whole):
            resumed = train(folder, 3, ckpt=path).trained
            assert resumed == whole[already:], path.name


def test_the_loader_is_chosen_by_size_or_by_name(folder, monkeypatch) -> None:
    def made(**options):
        return ImageDataModule(folder, batch_size=16, seed=0, **options).train_dataloader()

    assert isinstance(made(), MemoryLoader)
    assert isinstance(made(loader="stream"), StreamLoader)
    monkeypatch.setattr("latentlab.data.datamodule.fits_memory", lambda size: size < 70 * 4)
    assert isinstance(made(), StreamLoader)
    assert isinstance(made(loader="memory"), MemoryLoader)


def test_the_attributes_for_the_trainer(folder) -> None:
    data = ImageDataModule(folder, batch_size=16, seed=0)
    data.setup("fit")
    assert (data.num_train_images, data.steps_per_epoch) == (70, BATCHES)
    assert data.split("train") is data.split("train")
    assert len(data.split("val")) == 10
    with pytest.raises(
        LatentlabError, match=r"'test' is not a split for training\. Choose train or val"
    ):
        data.split("test")


def test_arguments_that_are_not_valid_are_an_error(folder, tmp_path) -> None:
    with pytest.raises(
        LatentlabError, match=r"hardware.loader is 'disk'\. Choose one of: auto, memory, stream"
    ):
        ImageDataModule(folder, batch_size=16, seed=0, loader="disk")
    with pytest.raises(LatentlabError, match=r"hardware.num_workers is -1\. It must be 0 or more"):
        ImageDataModule(folder, batch_size=16, seed=0, num_workers=-1)
    with pytest.raises(LatentlabError, match="Run `dvc repro prepare`"):
        ImageDataModule(tmp_path / "absent", batch_size=16, seed=0)
    with pytest.raises(
        LatentlabError, match="batch_size 128 is larger than the 70 training images"
    ):
        ImageDataModule(folder, batch_size=128, seed=0)
