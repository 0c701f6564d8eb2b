"""The LightningDataModule of a prepared folder: training and validation batches."""

from __future__ import annotations

import math
from pathlib import Path

from lightning.pytorch import LightningDataModule
from torch import Tensor

from latentlab.contracts import Split, to_float
from latentlab.data.batch_sampler import EpochBatchSampler
from latentlab.data.loaders import MemoryLoader, StreamLoader
from latentlab.data.prepared import read_meta, read_split
from latentlab.utils.errors import LatentlabError
from latentlab.utils.memory import fits_memory

LOADERS = ("auto", "memory", "stream")


class ImageDataModule(LightningDataModule):
    """Batches (x, y): x float32 (B, C, H, W) in [0, 1], y int64 (B,), −1 without labels.

    Training batches are shuffled by (seed, epoch), without a short last batch. Validation batches
    are in order, with it. `batch_size` is the global batch size of all processes. Images are copied
    to the device as uint8 and become float32 there. Training can be resumed inside an epoch,
    because the checkpoint contains the position.

    `loader`: "memory" (all images in memory), "stream" (each batch is read from disk; `num_workers`
    threads read ahead) or "auto" (memory if the training images take less than a quarter of the
    memory of the machine or its control group). The batches are the same.

    Raises:
        LatentlabError: the prepared folder is not complete, unknown `loader`, `num_workers` < 0, or
            a `batch_size` that is larger than the training split or that cannot be divided among
            the processes.
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
            raise LatentlabError(
                f"hardware.loader is {loader!r}. Choose one of: {', '.join(LOADERS)}."
            )
        if num_workers < 0:
            raise LatentlabError(
                f"hardware.num_workers is {num_workers}. It must be 0 or more. Use 0 or 1."
            )
        self.folder = Path(folder)
        self.dataset = read_meta(self.folder)
        self.batch_size, self.seed, self.num_workers = batch_size, seed, num_workers
        train_bytes = self.dataset.counts["train"] * math.prod(self.dataset.image_shape)
        automatic = "memory" if fits_memory(train_bytes) else "stream"
        self.loader = automatic if loader == "auto" else loader
        self._sampler("train")  # validates batch_size now
        self._splits: dict[str, Split] = {}
        self._train: MemoryLoader | StreamLoader | None = None
        self._position: dict[str, int] | None = None  # from a checkpoint

    @property
    def num_train_images(self) -> int:
        return self.dataset.counts["train"]

    @property
    def steps_per_epoch(self) -> int:
        """Number of global batches in one epoch, ≥ 1."""
        return len(self._sampler("train"))

    def split(self, name: str) -> Split:
        """Return the split "train" or "val". The test split is not available during training.

        Raises:
            LatentlabError: another name.
        """
        if name not in ("train", "val"):
            raise LatentlabError(f"{name!r} is not a split for training. Choose train or val.")
        if name not in self._splits:
            self._splits[name] = read_split(self.folder, name, mmap=self.loader == "stream")
        return self._splits[name]

    def train_dataloader(self) -> MemoryLoader | StreamLoader:
        self._train = self._loader("train")
        if self._position is not None:
            self._train.load_state_dict(self._position)
        return self._train

    def val_dataloader(self) -> MemoryLoader | StreamLoader:
        return self._loader("val")

    def state_dict(self) -> dict[str, int]:
        """Return the position in the training data, which every checkpoint contains."""
        # Lightning 2.6 also saves the state of the loaders, but it does not load that state for a
        # model that has used `estimated_stepping_batches`.
        return self._train.state_dict() if self._train else {}

    def load_state_dict(self, state_dict: dict[str, int]) -> None:
        self._position = state_dict
        if self._train is not None:
            self._train.load_state_dict(state_dict)

    def on_after_batch_transfer(
        self, batch: tuple[Tensor, Tensor], dataloader_idx: int
    ) -> tuple[Tensor, Tensor]:
        x, y = batch
        x = to_float(x)
        return (self.trainer.precision_plugin.convert_input(x) if self.trainer else x), y

    def _loader(self, split: str) -> MemoryLoader | StreamLoader:
        sampler = self._sampler(split)
        if self.loader == "memory":
            return MemoryLoader(self.split(split), sampler)
        return StreamLoader(self.folder, split, sampler, self.num_workers)

    def _sampler(self, split: str) -> EpochBatchSampler:
        return EpochBatchSampler(
            self.dataset.counts[split],
            self.batch_size,
            seed=self.seed,
            rank=self.trainer.global_rank if self.trainer else 0,
            world_size=self.trainer.world_size if self.trainer else 1,
            train=split == "train",
        )
