"""Work spread over several replicas is the work of one, in order."""

import threading

import pytest
import torch
from torch import nn

from latentlab.metrics.features import extract
from latentlab.spread import Spread, devices_of


class Slow(nn.Module):
    """Every other batch takes its time, so that a careless queue would disorder the results."""

    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(3, 2)
        self.threads = set()

    def features(self, x):
        self.threads.add(threading.get_ident())
        if int(x[0, 0]) % 2 == 0:
            threading.Event().wait(0.02)
        assert torch.is_inference_mode_enabled()
        return self.linear(x)

    def broken(self, x):
        raise ValueError(f"no batch {int(x[0, 0])}")


def batches(count):
    return [torch.full((4, 3), float(index)) for index in range(count)]


@pytest.mark.parametrize("replicas", [1, 3])
def test_results_come_in_order_and_are_those_of_the_module(replicas):
    module = Slow()
    spread = Spread(module, ["cpu"] * replicas)
    assert len({id(replica) for replica in spread.replicas}) == replicas
    assert spread.replicas[0] is module
    found = torch.cat(list(spread.map("features", batches(12))))
    torch.testing.assert_close(found, module.linear(torch.cat(batches(12))).detach())


def test_several_replicas_work_at_the_same_time():
    spread = Spread(Slow(), ["cpu"] * 2)
    list(spread.map("features", batches(8)))
    assert len(set().union(*(replica.threads for replica in spread.replicas))) == 2


def test_no_more_is_read_than_can_be_worked_on():
    read = []

    def endless():
        for batch in batches(1000):
            read.append(batch)
            yield batch

    results = Spread(Slow(), ["cpu"] * 2).map("features", endless())
    next(results)
    results.close()
    assert len(read) < 10


def test_an_error_in_a_replica_is_the_callers():
    for replicas in (1, 2):
        with pytest.raises(ValueError, match="no batch 0"):
            list(Spread(Slow(), ["cpu"] * replicas).map("broken", batches(3)))
    with pytest.raises(ValueError, match="name at least one"):
        Spread(Slow(), [])


def test_features_are_extracted_through_it():
    spread = Spread(nn.Sequential(nn.Flatten(), nn.Linear(12, 5)), ["cpu", "cpu"])
    images = torch.rand(25, 3, 2, 2)
    found = extract(spread.method("forward"), images, batch_size=4)
    expected = extract(spread.replicas[0], images, batch_size=25)
    torch.testing.assert_close(found, expected)
    torch.testing.assert_close(spread.method("forward")(images), expected)


def test_auto_is_every_gpu_or_the_cpu(monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    assert devices_of("auto") == ["cpu"]
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert devices_of("auto") == ["cuda:0", "cuda:1"]
    assert devices_of("cpu") == ["cpu"]
