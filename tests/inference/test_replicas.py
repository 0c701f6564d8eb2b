"""Several replicas give the results of one module, in order."""

import threading

import pytest
import torch
from torch import nn

from latentlab.inference.replicas import Replicas, resolve_devices
from latentlab.metrics.fid.features import extract


class Slow(nn.Module):
    """Every other batch is slow, so that a wrong queue returns the results out of order."""

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


@pytest.mark.parametrize("count", [1, 3])
def test_results_are_those_of_the_module_in_order(count):
    module = Slow()
    replicas = Replicas(module, ["cpu"] * count)
    assert len({id(replica) for replica in replicas.modules}) == count
    assert replicas.modules[0] is module
    found = torch.cat(list(replicas.map("features", batches(12))))
    torch.testing.assert_close(found, module.linear(torch.cat(batches(12))).detach())


def test_several_replicaswork_at_the_same_time():
    replicas = Replicas(Slow(), ["cpu"] * 2)
    list(replicas.map("features", batches(8)))
    assert len(set().union(*(replica.threads for replica in replicas.modules))) == 2


def test_few_batches_are_read_ahead():
    read = []

    def endless():
        for batch in batches(1000):
            read.append(batch)
            yield batch

    results = Replicas(Slow(), ["cpu"] * 2).map("features", endless())
    next(results)
    results.close()
    assert len(read) < 10


def test_an_error_in_a_replica_is_raised_in_the_caller():
    for count in (1, 2):
        with pytest.raises(ValueError, match="no batch 0"):
            list(Replicas(Slow(), ["cpu"] * count).map("broken", batches(3)))
    with pytest.raises(ValueError, match="Give at least one, such as cpu"):
        Replicas(Slow(), [])


def test_features_are_extracted_through_replicas():
    replicas = Replicas(nn.Sequential(nn.Flatten(), nn.Linear(12, 5)), ["cpu", "cpu"])
    images = torch.rand(25, 3, 2, 2)
    found = extract(replicas.method("forward"), images, batch_size=4)
    expected = extract(replicas.modules[0], images, batch_size=25)
    torch.testing.assert_close(found, expected)
    torch.testing.assert_close(replicas.method("forward")(images), expected)


def test_auto_means_every_gpu_or_the_cpu(monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    assert resolve_devices("auto") == ["cpu"]
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert resolve_devices("auto") == ["cuda:0", "cuda:1"]
    assert resolve_devices("cpu") == ["cpu"]
