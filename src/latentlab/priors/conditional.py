"""A prior over codes that end in a class: noise, then one-hot."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from latentlab.priors.base import Prior, device_of


class ConditionalNormal(Prior):
    """z = (eps, onehot(y)), eps ~ N(0, I), y as often as among the training codes.

    `fit` finds the classes by itself: they are the trailing columns that hold only 0 and 1.
    """

    frequencies: Tensor  # (K,)

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("frequencies", torch.empty(0, dtype=torch.float64))

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *rest: Any) -> None:
        if prefix + "frequencies" in state_dict:
            self.frequencies = torch.empty_like(state_dict[prefix + "frequencies"])
        super()._load_from_state_dict(state_dict, prefix, *rest)

    def fit(self, codes: Tensor) -> None:
        """Raises ValueError where codes (N, D) do not end in a one-hot class."""
        binary = ((codes == 0) | (codes == 1)).all(0)
        classes = int(binary.flip(0).long().cumprod(0).sum())
        onehot = codes[:, codes.shape[1] - classes :].double()
        if classes < 2 or not bool((onehot.sum(1) == 1).all()):
            raise ValueError(
                "the codes do not end in a one-hot class: ConditionalNormal is for conditional"
                " models; take latentlab.priors.StandardNormal"
            )
        self.frequencies = onehot.mean(0)

    def sample(self, shape: tuple[int, int], generator: torch.Generator | None = None) -> Tensor:
        """Raises ValueError if not fitted, or if the classes leave no room for noise."""
        count, dim = shape
        classes = len(self.frequencies)
        if not 0 < classes < dim:
            raise ValueError(f"asked for {dim}-d codes, of which {classes} are known as classes")
        device = device_of(generator)
        eps = torch.randn(count, dim - classes, generator=generator, device=device)
        y = torch.multinomial(
            self.frequencies.to(device), count, replacement=True, generator=generator
        )
        return torch.cat([eps, torch.nn.functional.one_hot(y, classes).float()], 1)
