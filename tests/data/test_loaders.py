"""Loaders: the same batches from memory and from disk, resumable inside an epoch."""

import itertools
import os
import shutil
import threading
import time

import numpy as np
import pytest
import torch

from latentlab.contracts import Split
from latentlab.data.batch_sampler import EpochBatchSampler, epoch_batches
from latentlab.data.loaders import MemoryLoader, StreamLoader
from latentlab.data.prepared import read_split, write_prepared
from latentlab.data.settings import DataSettings
from latentlab.data.sources import Images, Source
from latentlab.utils.errors import LatentlabError

COUNT = 103


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A prepared folder of 103 training images, each with another grey."""
    pixels = np.arange(147, dtype=np.uint8)[:, None, None, None].repeat(4, 2).repeat(4, 3)
    source = Source("toy", Images(pixels, np.arange(147), range(147)), None, ("many",))
    folder = tmp_path_factory.mktemp("data") / "prepared"
    info = write_prepared(source, DataSettings(), 0, folder)
    assert info.counts["train"] == COUNT
    return folder


def make(folder, loader, **settings):
    """`loader`: "memory", or the number of threads of a StreamLoader."""
    sampler = EpochBatchSampler(COUNT, 16, **{"seed": 5, **settings})
    if loader == "memory":
        return MemoryLoader(read_split(folder, "train"), sampler)
    return StreamLoader(folder, "train", sampler, num_workers=int(loader))


def labels(loader) -> list[list[int]]:
    return [y.tolist() for _, y in loader]


def test_batches_are_the_images_of_the_sampler(folder) -> None:
    split = read_split(folder, "train")
    expected = list(epoch_batches(COUNT, 16, seed=5, epoch=0))
    loader = make(folder, "memory")
    assert len(loader) == len(expected) == 6
    for (x, y), index in zip(loader, expected, strict=True):
        assert x.dtype == torch.uint8
        assert torch.equal(x, split.images[index])
        assert torch.equal(y, split.labels[index])
        assert torch.equal(x[:, 0, 0, 0].long(), y)


def test_missing_labels_are_minus_one() -> None:
    loader = MemoryLoader(
        Split(torch.zeros(4, 1, 2, 2, dtype=torch.uint8)), EpochBatchSampler(4, 2)
    )
    assert labels(loader) == [[-1, -1]] * 2
    assert next(iter(loader))[1].dtype == torch.int64


@pytest.mark.parametrize("workers", [0, 2])
def test_streaming_gives_the_same_batches_in_the_same_order(folder, workers) -> None:
    memory, stream = make(folder, "memory"), make(folder, str(workers))
    state = torch.get_rng_state()
    for _ in range(3):
        for (x, y), (x_stream, y_stream) in zip(memory, stream, strict=True):
            assert torch.equal(x, x_stream)
            assert torch.equal(y, y_stream)
    assert memory.state_dict() == stream.state_dict()
    assert torch.equal(
        state, torch.get_rng_state()
    )  # otherwise training would depend on the loader
    stream.set_epoch(7)
    next(iter(stream))  # left while the threads read ahead
    stream.set_epoch(8)
    memory.set_epoch(8)
    assert labels(memory) == labels(stream)


@pytest.mark.parametrize("name", ["memory", "0", "3"])
def test_a_resumed_loop_continues_inside_the_epoch(folder, name) -> None:
    loader = make(folder, name)
    uninterrupted = labels(loader) + labels(loader) + labels(loader)
    assert len({tuple(batch) for batch in uninterrupted}) == 18
    for stop in range(1, 13):
        loader = make(folder, name)
        loops = itertools.chain.from_iterable(iter(loader) for _ in range(3))
        batches = [y.tolist() for _, y in itertools.islice(loops, stop)]
        fresh = make(folder, name)
        fresh.load_state_dict(loader.state_dict())
        assert len(fresh) == 6
        batches += labels(fresh) + labels(fresh) + labels(fresh)
        assert batches[:18] == uninterrupted, stop


def test_a_loop_that_was_left_starts_again_and_a_new_epoch_starts_at_its_first_batch(
    folder,
) -> None:
    loader = make(folder, "memory")
    first = labels(itertools.islice(loader, 2))
    assert labels(loader)[:2] == first
    loader.load_state_dict({"epoch": 0, "position": 4})
    loader.set_epoch(1)
    assert len(labels(loader)) == 6


def test_the_epoch_can_be_set_after_the_iterator_is_created(folder) -> None:
    """Lightning creates the iterator first and then calls set_epoch on `.sampler`."""
    loader = make(folder, "memory")
    iterator = iter(loader)
    loader.sampler.set_epoch(3)
    expected = next(epoch_batches(COUNT, 16, seed=5, epoch=3))
    assert torch.equal(next(iterator)[1], read_split(folder, "train").labels[expected])


def test_validation_is_in_order_and_complete(folder) -> None:
    loader = make(folder, "memory", train=False)
    expected = read_split(folder, "train").labels.tolist()
    assert list(itertools.chain.from_iterable(labels(loader))) == expected
    assert list(itertools.chain.from_iterable(labels(loader))) == expected


@pytest.mark.parametrize("workers", [0, 1, 3])
def test_reading_ahead_is_bounded_and_ends_with_the_loop(folder, workers, monkeypatch) -> None:
    stream = make(folder, str(workers))
    read = []
    original = stream._split.read
    monkeypatch.setattr(
        stream._split, "read", lambda rows: (read.append(len(rows)), original(rows))[1]
    )
    before = threading.active_count()
    iterator = iter(stream)
    next(iterator)
    assert stream.state_dict() == {"epoch": 0, "position": 1}
    iterator.close()
    assert len(read) <= 1 + (workers + 1 if workers else 0)
    assert threading.active_count() == before


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("change", ["cut", "replace", "overwrite", "remove"])
def test_a_file_that_changes_during_a_loop_is_an_error(folder, tmp_path, change, workers) -> None:
    """With a memory map, the process dies (cut) or continues with other images (overwrite)."""
    copy = tmp_path / "prepared"
    shutil.copytree(folder, copy)
    path = copy / "train_images.npy"
    batches = iter(make(copy, str(workers)))
    next(batches)
    if change == "cut":
        os.truncate(path, 200)
    elif change == "replace":
        shutil.copy(path, copy / "new")
        os.replace(copy / "new", path)
    elif change == "overwrite":
        time.sleep(0.02)  # the clock of the file system is coarse
        path.write_bytes(path.read_bytes())
    else:
        path.unlink()
    with pytest.raises(LatentlabError, match=r"train_images.npy changed while .*`dvc repro` again"):
        list(batches)
