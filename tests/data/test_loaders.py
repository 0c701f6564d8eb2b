"""Whole batches: a seeded partition, shared by processes, resumable, from memory or disk."""

import itertools

import numpy as np
import pytest
import torch

from latentlab.contracts import LatentlabError, Split
from latentlab.data.loaders import (
    EpochOrder,
    MemoryLoader,
    StreamLoader,
    epoch_batches,
    fits_memory,
)
from latentlab.data.prepared import read_split, write_prepared
from latentlab.data.settings import DataSettings
from latentlab.data.sources import Images, Source

COUNT = 103


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A prepared folder of 103 training images, each of its own grey."""
    pixels = np.arange(147, dtype=np.uint8)[:, None, None, None].repeat(4, 2).repeat(4, 3)
    source = Source("toy", Images(pixels, np.arange(147), range(147)), None, ("many",))
    folder = tmp_path_factory.mktemp("data") / "prepared"
    meta = write_prepared(source, DataSettings(), 0, folder)
    assert meta.counts["train"] == COUNT
    return folder


def make(folder, kind, **order):
    order = EpochOrder(COUNT, 16, **{"seed": 5, **order})
    if kind == "memory":
        return MemoryLoader(read_split(folder, "train"), order)
    return StreamLoader(folder, "train", order, num_workers=int(kind))


def labels(loader) -> list[list[int]]:
    return [y.tolist() for _, y in loader]


def test_an_epoch_is_a_permutation_cut_into_whole_batches() -> None:
    batches = epoch_batches(COUNT, 16, seed=0, epoch=0)
    assert [len(batch) for batch in batches] == [16] * 6
    assert len(set(torch.cat(batches).tolist())) == 96
    every = epoch_batches(COUNT, 16, seed=0, epoch=0, drop_last=False)
    assert sorted(torch.cat(every).tolist()) == list(range(COUNT))
    plain = epoch_batches(COUNT, 16, seed=0, epoch=0, shuffle=False, drop_last=False)
    assert torch.cat(plain).tolist() == list(range(COUNT))


def test_seed_and_epoch_decide_the_order_and_do_not_mix_up() -> None:
    def order(seed, epoch):
        return tuple(torch.cat(epoch_batches(64, 8, seed=seed, epoch=epoch)).tolist())

    assert order(3, 4) == order(3, 4)
    pairs = list(itertools.product(range(6), range(6)))
    assert len({order(*pair) for pair in pairs}) == len(pairs)


def test_every_image_is_equally_likely_at_every_place() -> None:
    first = [int(epoch_batches(5, 5, seed=1, epoch=epoch)[0][0]) for epoch in range(2000)]
    assert np.abs(np.bincount(first, minlength=5) - 400).max() < 5 * np.sqrt(2000 * 0.2 * 0.8)


@pytest.mark.parametrize("world_size", [2, 4])
def test_processes_share_each_global_batch(world_size) -> None:
    whole = epoch_batches(COUNT, 16, seed=0, epoch=2)
    shares = [
        epoch_batches(COUNT, 16, seed=0, epoch=2, rank=rank, world_size=world_size)
        for rank in range(world_size)
    ]
    for batch, *parts in zip(whole, *shares, strict=True):
        assert sorted(torch.cat(parts).tolist()) == sorted(batch.tolist())
        assert {len(part) for part in parts} == {16 // world_size}


def test_no_process_comes_away_empty_from_the_last_batch() -> None:
    shares = [
        epoch_batches(
            9, 4, seed=0, epoch=0, rank=rank, world_size=4, shuffle=False, drop_last=False
        )
        for rank in range(4)
    ]
    assert [share[-1].tolist() for share in shares] == [[8]] * 4


def test_impossible_batches_are_refused() -> None:
    with pytest.raises(LatentlabError, match="batch_size 128 is larger than the 100 images"):
        epoch_batches(100, 128, seed=0, epoch=0)
    with pytest.raises(LatentlabError, match=r"batch_size 10 cannot be shared by 4 process\(es\)"):
        epoch_batches(100, 10, seed=0, epoch=0, world_size=4)
    with pytest.raises(LatentlabError, match="batch_size 0"):
        epoch_batches(100, 0, seed=0, epoch=0)
    with pytest.raises(LatentlabError, match="batch_size 128 is larger"):
        EpochOrder(100, 128)
    assert len(EpochOrder(100, 128, train=False)) == 1


def test_batches_are_the_rows_the_order_names(folder) -> None:
    split = read_split(folder, "train")
    expected = epoch_batches(COUNT, 16, seed=5, epoch=0)
    loader = make(folder, "memory")
    assert len(loader) == len(expected) == 6
    for (x, y), index in zip(loader, expected, strict=True):
        assert x.dtype == torch.uint8
        assert torch.equal(x, split.images[index])
        assert torch.equal(y, split.labels[index])
        assert torch.equal(x[:, 0, 0, 0].long(), y)


def test_unknown_labels_are_minus_one() -> None:
    loader = MemoryLoader(Split(torch.zeros(4, 1, 2, 2, dtype=torch.uint8)), EpochOrder(4, 2))
    assert labels(loader) == [[-1, -1]] * 2
    assert next(iter(loader))[1].dtype == torch.int64


@pytest.mark.filterwarnings("default:.*fork.*:DeprecationWarning")
@pytest.mark.parametrize("workers", [0, 2])
def test_streaming_gives_the_same_batches_in_the_same_order(folder, workers) -> None:
    memory, stream = make(folder, "memory"), make(folder, str(workers))
    state = torch.get_rng_state()
    for _ in range(3):
        for (x, y), (x_stream, y_stream) in zip(memory, stream, strict=True):
            assert torch.equal(x, x_stream)
            assert torch.equal(y, y_stream)
    assert memory.state_dict() == stream.state_dict()
    assert torch.equal(state, torch.get_rng_state())  # else training would depend on the loader
    stream.set_epoch(7)
    next(iter(stream))  # abandoned while the workers are reading ahead
    stream.set_epoch(8)
    memory.set_epoch(8)
    assert labels(memory) == labels(stream)


@pytest.mark.parametrize("kind", ["memory", "0"])
def test_a_resumed_pass_continues_inside_the_epoch(folder, kind) -> None:
    loader = make(folder, kind)
    uninterrupted = labels(loader) + labels(loader) + labels(loader)
    assert len({tuple(batch) for batch in uninterrupted}) == 18
    for stop in range(1, 13):
        loader = make(folder, kind)
        passes = itertools.chain.from_iterable(iter(loader) for _ in range(3))
        seen = [y.tolist() for _, y in itertools.islice(passes, stop)]
        fresh = make(folder, kind)
        fresh.load_state_dict(loader.state_dict())
        assert len(fresh) == 6
        seen += labels(fresh) + labels(fresh) + labels(fresh)
        assert seen[:18] == uninterrupted, stop


def test_an_abandoned_pass_starts_over_and_a_new_epoch_forgets_the_place(folder) -> None:
    loader = make(folder, "memory")
    first = labels(itertools.islice(loader, 2))
    assert labels(loader)[:2] == first
    loader.load_state_dict({"epoch": 0, "position": 4})
    loader.set_epoch(1)
    assert len(labels(loader)) == 6


def test_the_iterator_waits_for_the_epoch(folder) -> None:
    """Lightning makes the iterator first and calls set_epoch on `.sampler` afterwards."""
    loader = make(folder, "memory")
    iterator = iter(loader)
    loader.sampler.set_epoch(3)
    expected = epoch_batches(COUNT, 16, seed=5, epoch=3)[0]
    assert torch.equal(next(iterator)[1], read_split(folder, "train").labels[expected])


def test_validation_is_in_order_and_complete(folder) -> None:
    loader = make(folder, "memory", train=False)
    truth = read_split(folder, "train").labels.tolist()
    assert list(itertools.chain.from_iterable(labels(loader))) == truth
    assert list(itertools.chain.from_iterable(labels(loader))) == truth


def test_what_fits_memory() -> None:
    assert fits_memory(10_000)
    assert not fits_memory(1 << 60)
