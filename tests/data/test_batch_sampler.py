"""Batches of an epoch: a seeded permutation, divided among processes."""

import itertools
import tracemalloc

import numpy as np
import pytest
import torch

from latentlab.data.batch_sampler import EpochBatchSampler, epoch_batches
from latentlab.utils.errors import LatentlabError

COUNT = 103


def test_an_epoch_is_a_permutation_in_batches() -> None:
    batches = list(epoch_batches(COUNT, 16, seed=0, epoch=0))
    assert [len(batch) for batch in batches] == [16] * 6
    assert len(set(torch.cat(batches).tolist())) == 96
    every = list(epoch_batches(COUNT, 16, seed=0, epoch=0, drop_last=False))
    assert sorted(torch.cat(every).tolist()) == list(range(COUNT))
    plain = list(epoch_batches(COUNT, 16, seed=0, epoch=0, shuffle=False, drop_last=False))
    assert torch.cat(plain).tolist() == list(range(COUNT))


def test_every_seed_and_epoch_has_its_own_order() -> None:
    def order(seed, epoch):
        return tuple(torch.cat(list(epoch_batches(64, 8, seed=seed, epoch=epoch))).tolist())

    assert order(3, 4) == order(3, 4)
    pairs = list(itertools.product(range(6), range(6)))
    assert len({order(*pair) for pair in pairs}) == len(pairs)


def test_every_image_is_equally_likely_at_every_position() -> None:
    first = [int(next(epoch_batches(5, 5, seed=1, epoch=epoch))[0]) for epoch in range(2000)]
    assert np.abs(np.bincount(first, minlength=5) - 400).max() < 5 * np.sqrt(2000 * 0.2 * 0.8)


@pytest.mark.parametrize("world_size", [2, 4])
def test_each_global_batch_is_divided_among_the_processes(world_size) -> None:
    whole = epoch_batches(COUNT, 16, seed=0, epoch=2)
    parts_of = [
        epoch_batches(COUNT, 16, seed=0, epoch=2, rank=rank, world_size=world_size)
        for rank in range(world_size)
    ]
    for batch, *parts in zip(whole, *parts_of, strict=True):
        assert sorted(torch.cat(parts).tolist()) == sorted(batch.tolist())
        assert {len(part) for part in parts} == {16 // world_size}


def test_every_process_gets_an_image_of_the_last_batch() -> None:
    parts_of = [
        epoch_batches(
            9, 4, seed=0, epoch=0, rank=rank, world_size=4, shuffle=False, drop_last=False
        )
        for rank in range(4)
    ]
    assert [list(part)[-1].tolist() for part in parts_of] == [[8]] * 4


def test_batch_sizes_that_are_not_possible_are_an_error() -> None:
    with pytest.raises(
        LatentlabError, match="batch_size 128 is larger than the 100 training images"
    ):
        epoch_batches(100, 128, seed=0, epoch=0)
    with pytest.raises(
        LatentlabError, match=r"batch_size 10 cannot be divided among 4 process\(es\)"
    ):
        epoch_batches(100, 10, seed=0, epoch=0, world_size=4)
    with pytest.raises(LatentlabError, match="batch_size 0"):
        epoch_batches(100, 0, seed=0, epoch=0)
    with pytest.raises(LatentlabError, match="batch_size 128 is larger"):
        EpochBatchSampler(100, 128)
    assert len(EpochBatchSampler(100, 128, train=False)) == 1


def test_an_epoch_of_ten_million_images_takes_only_its_permutation() -> None:
    """Only the current batch of its 78,125 batches is a separate tensor."""
    tracemalloc.start()
    batches = epoch_batches(10**7, 128, seed=0, epoch=0)
    total = sum(len(batch) for batch in batches)
    assert tracemalloc.get_traced_memory()[1] < 2**20
    tracemalloc.stop()
    assert total == 10**7 // 128 * 128
