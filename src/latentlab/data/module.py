"""The LightningDataModule over a prepared folder: train and validation batches, never the test."""

from __future__ import annotations

import math
from pathlib import Path

from lightning.pytorch import LightningDataModule
from torch import Tensor

from latentlab.contracts import LatentlabError, Split, to_float
from latentlab.data.limits import fits_memory
from latentlab.data.loaders import MemoryLoader, StreamLoader
from latentlab.data.order import EpochOrder
from latentlab.data.prepared import read_meta, read_split

LOADERS = ("auto", "memory", "stream")


class ImageDataModule(LightningDataModule):
    """Batches (x, y): x float32 (B, C, H, W) in [0, 1], y int64 (B,), −1 without labels.

    Training batches are shuffled by (seed, epoch) and whole; validation runs in order to the last
    image. `batch_size` is shared by all processes. Images travel to the device as uint8 and become
    float32 there. Training resumes inside an epoch, for Lightning's checkpoint holds the place.

    `loader`: "memory" (all images in RAM), "stream" (read from disk batch by batch, ahead of the
    training by `num_workers` threads) or "auto" (memory if the training images take less than a
    quarter of the machine's or the control group's). The batches are the same.

    Raises:
        LatentlabError: no complete prepared folder, an unknown loader, num_workers < 0; when the
            batches are asked for: a batch_size that is larger than the training split or cannot be
            shared by the processes.
    """

    def __init__(
        self,
        folder: str | Path,
        *,
        batch_size: int,
        seed: int,
        loader: str = "auto",
        num_workers: int = 0,
    ) -> None:
        super().__init__()
        if loader not in LOADERS:
            raise LatentlabError(f"loader is {loader!r}; choose one of: {', '.join(LOADERS)}.")
        if num_workers < 0:
            raise LatentlabError(f"num_workers is {num_workers}; it must be 0 or more.")
        self.folder = Path(folder)
        self.meta = read_meta(self.folder)
        self.batch_size, self.seed, self.num_workers = batch_size, seed, num_workers
        train_bytes = self.meta.counts["train"] * math.prod(self.meta.image_shape)
        automatic = "memory" if fits_memory(train_bytes) else "stream"
        self.loader = automatic if loader == "auto" else loader
        self._order("train")  # refuses a batch that the images cannot fill, before anything starts
        self._splits: dict[str, Split] = {}
        self._train: MemoryLoader | StreamLoader | None = None
        self._place: dict[str, int] | None = None  # where a checkpoint says training stood

    @property
    def num_train_images(self) -> int:
        return self.meta.counts["train"]

    @property
    def steps_per_epoch(self) -> int:
        """Whole global batches in one epoch; raises LatentlabError if there is not one."""
        return len(self._order("train"))

    def split(self, name: str) -> Split:
        """The "train" or "val" split, as the loaders see it; the test is not for training to see.

        Raises:
            LatentlabError: any other name.
        """
        if name not in ("train", "val"):
            raise LatentlabError(f"{name!r} is no split for training; choose train or val.")
        if name not in self._splits:
            self._splits[name] = read_split(self.folder, name, mmap=self.loader == "stream")
        return self._splits[name]

    def train_dataloader(self) -> MemoryLoader | StreamLoader:
        self._train = self._loader("train")
        if self._place is not None:
            self._train.load_state_dict(self._place)
        return self._train

    def val_dataloader(self) -> MemoryLoader | StreamLoader:
        return self._loader("val")

    def state_dict(self) -> dict[str, int]:
        """The place in the training data, saved with every checkpoint."""
        # Lightning 2.6 saves the loaders' own, but does not load it for a model that has asked
        # for `estimated_stepping_batches`
        return self._train.state_dict() if self._train else {}

    def load_state_dict(self, state_dict: dict[str, int]) -> None:
        self._place = state_dict
        if self._train is not None:
            self._train.load_state_dict(state_dict)

    def on_after_batch_transfer(
        self, batch: tuple[Tensor, Tensor], dataloader_idx: int
    ) -> tuple[Tensor, Tensor]:
        x, y = batch
        x = to_float(x)
        return (self.trainer.precision_plugin.convert_input(x) if self.trainer else x), y

    def _loader(self, split: str) -> MemoryLoader | StreamLoader:
        order = self._order(split)
        if self.loader == "memory":
            return MemoryLoader(self.split(split), order)
        return StreamLoader(self.folder, split, order, self.num_workers)

    def _order(self, split: str) -> EpochOrder:
        return EpochOrder(
            self.meta.counts[split],
            self.batch_size,
            seed=self.seed,
            rank=self.trainer.global_rank if self.trainer else 0,
            world_size=self.trainer.world_size if self.trainer else 1,
            train=split == "train",
        )
