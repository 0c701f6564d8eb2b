"""One trained module on one device or several: batches go to whichever is free, results in order.

For sampling and scoring large numbers of images. Every row of a batch is treated apart, so the
result does not depend on how many devices share the work, beyond their rounding.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from copy import deepcopy
from queue import SimpleQueue

import torch
from torch import Tensor, nn


def devices_of(name: str) -> list[str]:
    """`auto`: every GPU, or the CPU where there is none; else the device that is named."""
    if name != "auto":
        return [name]
    return [f"cuda:{index}" for index in range(torch.cuda.device_count())] or ["cpu"]


class Spread:
    """`module` on each of `devices`; the first holds the module itself, the others copies of it."""

    def __init__(self, module: nn.Module, devices: Sequence[str]) -> None:
        if not devices:
            raise ValueError("no device to work on: name at least one, such as cpu")
        self.devices = list(devices)
        copies = [deepcopy(module) for _ in self.devices[1:]]
        placed = zip([module, *copies], self.devices, strict=True)
        # whatever has the methods will do where nothing needs to move
        self.replicas = [m.to(d) if isinstance(m, nn.Module) else m for m, d in placed]

    def map(self, method: str, batches: Iterable[Tensor]) -> Iterator[Tensor]:
        """Yield method(batch), on the CPU, for every batch in order; at most 2 a device wait."""
        if len(self.devices) == 1:
            for batch in batches:
                yield self._call(0, method, batch)
            return
        free: SimpleQueue[int] = SimpleQueue()
        for index in range(len(self.devices)):
            free.put(index)

        def work(batch: Tensor) -> Tensor:
            index = free.get()
            try:
                return self._call(index, method, batch)
            finally:
                free.put(index)

        with ThreadPoolExecutor(len(self.devices)) as pool:
            waiting: deque[Future[Tensor]] = deque()
            for batch in batches:
                waiting.append(pool.submit(work, batch))
                if len(waiting) > 2 * len(self.devices):
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()

    def _call(self, index: int, method: str, batch: Tensor) -> Tensor:
        function: Callable[[Tensor], Tensor] = getattr(self.replicas[index], method)
        with torch.inference_mode():  # known to a thread, not to a process
            return function(batch.to(self.devices[index])).cpu()

    def method(self, name: str) -> Method:
        """A function of the module, for one batch or, with `map`, for many."""
        return Method(self, name)


class Method:
    """`spread.method("features")(x)`, or `.map(batches)`; results are on the CPU."""

    def __init__(self, spread: Spread, name: str) -> None:
        self.spread, self.name = spread, name

    def __call__(self, x: Tensor) -> Tensor:
        return next(self.map([x]))

    def map(self, batches: Iterable[Tensor]) -> Iterator[Tensor]:
        return self.spread.map(self.name, batches)
