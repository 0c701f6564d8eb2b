"""Whole batches: a seeded partition, shared by processes, resumable, from memory or disk."""

import itertools
import os
import shutil
import threading
import time
import tracemalloc

import numpy as np
import pytest
import torch

from latentlab.contracts import LatentlabError, Split
from latentlab.data.limits import fits_memory, memory_limit
from latentlab.data.loaders import MemoryLoader, StreamLoader
from latentlab.data.order import EpochOrder, epoch_batches
from latentlab.data.prepared import read_split, write_prepared
from latentlab.data.rows import ImageRows
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
    batches = list(epoch_batches(COUNT, 16, seed=0, epoch=0))
    assert [len(batch) for batch in batches] == [16] * 6
    assert len(set(torch.cat(batches).tolist())) == 96
    every = list(epoch_batches(COUNT, 16, seed=0, epoch=0, drop_last=False))
    assert sorted(torch.cat(every).tolist()) == list(range(COUNT))
    plain = list(epoch_batches(COUNT, 16, seed=0, epoch=0, shuffle=False, drop_last=False))
    assert torch.cat(plain).tolist() == list(range(COUNT))


def test_seed_and_epoch_decide_the_order_and_do_not_mix_up() -> None:
    def order(seed, epoch):
        return tuple(torch.cat(list(epoch_batches(64, 8, seed=seed, epoch=epoch))).tolist())

    assert order(3, 4) == order(3, 4)
    pairs = list(itertools.product(range(6), range(6)))
    assert len({order(*pair) for pair in pairs}) == len(pairs)


def test_every_image_is_equally_likely_at_every_place() -> None:
    first = [int(next(epoch_batches(5, 5, seed=1, epoch=epoch))[0]) for epoch in range(2000)]
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
    assert [list(share)[-1].tolist() for share in shares] == [[8]] * 4


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
    expected = list(epoch_batches(COUNT, 16, seed=5, epoch=0))
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


@pytest.mark.parametrize("kind", ["memory", "0", "3"])
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
    expected = next(epoch_batches(COUNT, 16, seed=5, epoch=3))
    assert torch.equal(next(iterator)[1], read_split(folder, "train").labels[expected])


def test_validation_is_in_order_and_complete(folder) -> None:
    loader = make(folder, "memory", train=False)
    truth = read_split(folder, "train").labels.tolist()
    assert list(itertools.chain.from_iterable(labels(loader))) == truth
    assert list(itertools.chain.from_iterable(labels(loader))) == truth


@pytest.mark.parametrize("workers", [0, 1, 3])
def test_reading_ahead_is_bounded_and_ends_with_the_pass(folder, workers, monkeypatch) -> None:
    stream = make(folder, str(workers))
    read = []
    whole = stream._split.read
    monkeypatch.setattr(
        stream._split, "read", lambda rows: (read.append(len(rows)), whole(rows))[1]
    )
    before = threading.active_count()
    iterator = iter(stream)
    next(iterator)
    assert stream.state_dict() == {"epoch": 0, "position": 1}
    iterator.close()
    assert len(read) <= 1 + (workers + 1 if workers else 0)
    assert threading.active_count() == before


def test_rows_are_read_as_an_array_would_give_them(tmp_path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (9, 3, 4, 5), dtype=np.uint8)
    (tmp_path / "x").write_bytes(b"head" + pixels.tobytes())
    with (tmp_path / "x").open("rb") as file:
        rows = ImageRows(file.fileno(), pixels.shape, 4)
    assert len(rows) == 9
    for index in (3, slice(2, 7), slice(None), np.array([5, 0, 5, 8]), np.array([], int)):
        np.testing.assert_array_equal(rows[index], pixels[index])
    np.testing.assert_array_equal(rows.first(2)[:], pixels[:2])
    for outside in (9, -1):
        with pytest.raises(IndexError, match=rf"row {outside} of 9"):
            rows[np.array([0, outside])]
    (tmp_path / "x").write_bytes(b"short")
    with pytest.raises(OSError, match="the file ends before image 1 does"):
        rows[1]


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("harm", ["cut", "replace", "overwrite", "remove"])
def test_a_file_that_changes_while_it_is_read_is_named(folder, tmp_path, harm, workers) -> None:
    """A memory map would end the process (cut) or go on with other images (overwrite)."""
    copy = tmp_path / "prepared"
    shutil.copytree(folder, copy)
    path = copy / "train_images.npy"
    passing = iter(make(copy, str(workers)))
    next(passing)
    if harm == "cut":
        os.truncate(path, 200)
    elif harm == "replace":
        shutil.copy(path, copy / "new")
        os.replace(copy / "new", path)
    elif harm == "overwrite":
        time.sleep(0.02)  # a file system's clock ticks
        path.write_bytes(path.read_bytes())
    else:
        path.unlink()
    with pytest.raises(LatentlabError, match=r"train_images.npy changed while .*`dvc repro` again"):
        list(passing)


def test_an_epoch_of_ten_million_costs_its_permutation() -> None:
    """Of its 78,125 batches only the one in hand is a tensor of its own."""
    tracemalloc.start()
    batches = epoch_batches(10**7, 128, seed=0, epoch=0)
    total = sum(len(batch) for batch in batches)
    assert tracemalloc.get_traced_memory()[1] < 2**20
    tracemalloc.stop()
    assert total == 10**7 // 128 * 128


def test_what_fits_memory() -> None:
    assert fits_memory(10_000)
    assert not fits_memory(1 << 60)


@pytest.mark.parametrize(
    ("own", "files", "limit"),
    [
        ("0::/a/b", {"a/memory.max": "5000", "a/b/memory.max": "max"}, 5000),
        ("0::/a/b", {"a/memory.max": "5000", "a/b/memory.max": "3000"}, 3000),
        ("0::/elsewhere/on/the/host", {"memory.max": "7000"}, 7000),
        ("5:cpu,memory:/a\n0::/", {"memory/a/memory.limit_in_bytes": "9000"}, 9000),
        ("5:cpu:/a", {"memory/a/memory.limit_in_bytes": "9000"}, None),
        (None, {"memory.max": "7000"}, None),
    ],
)
def test_a_control_group_may_allow_less_than_the_machine_has(tmp_path, own, files, limit) -> None:
    for name, text in files.items():
        (tmp_path / "cgroup" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "cgroup" / name).write_text(text + "\n")
    if own:
        (tmp_path / "own").write_text(own + "\n")
    found = memory_limit(tmp_path / "cgroup", tmp_path / "own")
    assert found == (limit or os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
