"""One module on one or several devices: each batch goes to a free device, results keep the order.

For sampling and scoring of many images. Rows of a batch are independent, so the result does not
depend on the number of devices, except for rounding.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from copy import deepcopy
from queue import SimpleQueue

import torch
from torch import Tensor, nn


def resolve_devices(name: str) -> list[str]:
    """`auto` → every GPU, or the CPU if there is none. Another name → that device."""
    if name != "auto":
        return [name]
    return [f"cuda:{index}" for index in range(torch.cuda.device_count())] or ["cpu"]


class Replicas:
    """`module` on each of `devices`: the module itself on the first, copies on the others."""

    def __init__(self, module: nn.Module, devices: Sequence[str]) -> None:
        if not devices:
            raise ValueError("The list of devices is empty. Give at least one, such as cpu.")
        self.devices = list(devices)
        copies = [deepcopy(module) for _ in self.devices[1:]]
        placed = zip([module, *copies], self.devices, strict=True)
        # an object with the same methods that is no nn.Module stays on its device
        self.modules = [m.to(d) if isinstance(m, nn.Module) else m for m, d in placed]

    def map(self, method: str, batches: Iterable[Tensor]) -> Iterator[Tensor]:
        """Yield method(batch), on the CPU, for every batch in order.

        At most 2 batches per device are read ahead.
        """
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
        function: Callable[[Tensor], Tensor] = getattr(self.modules[index], method)
        with torch.inference_mode():  # the mode is per thread, so each thread must set it
            return function(batch.to(self.devices[index])).cpu()

    def method(self, name: str) -> Method:
        """Return a method of the module as a function of one batch or, with `map`, of many."""
        return Method(self, name)


class Method:
    """`replicas.method("features")(x)`, or `.map(batches)`. Results are on the CPU."""

    def __init__(self, replicas: Replicas, name: str) -> None:
        self.replicas, self.name = replicas, name

    def __call__(self, x: Tensor) -> Tensor:
        return next(self.map([x]))

    def map(self, batches: Iterable[Tensor]) -> Iterator[Tensor]:
        return self.replicas.map(self.name, batches)
