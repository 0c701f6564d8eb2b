"""Several trainings of one model, each with a seed of its own.

`vae` is the first training, with `seed` of params.yaml. `vae@1` is another one, with the seed 1 of
`more_seeds`: runs/vae@1, results/vae@1, and the stages train_seed@vae-1 and evaluate_seed@vae-1.
All trainings share the split of the data and the classifier.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from latentlab.utils.errors import LatentlabError

SEPARATOR = "@"  # no name of a config has it
MAX_SEED = 2**32 - 1  # NumPy's limit


@dataclass(frozen=True)
class Training:
    """`model`: name of a config. `seed`: one of `more_seeds`; None for the first training."""

    model: str
    seed: int | None = None

    @classmethod
    def parse(cls, name: str) -> Training:
        """Return the training with this name, such as `vae` or `vae@1`."""
        found = re.fullmatch(rf"(.+){SEPARATOR}(0|[1-9]\d*)", name)
        return cls(found[1], int(found[2])) if found else cls(name)

    @classmethod
    def of_stage(cls, stage: str) -> Training:
        """Return the training that a stage such as train@vae or evaluate_seed@vae-1 is about."""
        kind, _, item = stage.partition("@")
        if not kind.endswith("_seed"):
            return cls(item)
        model, _, seed = item.rpartition("-")
        return cls(model, int(seed))

    @property
    def name(self) -> str:
        """The name of its folders in runs/ and results/."""
        return self.model if self.seed is None else f"{self.model}{SEPARATOR}{self.seed}"

    def stage(self, kind: str) -> str:
        """Return its stage of dvc.yaml. `kind`: train or evaluate."""
        if self.seed is None:
            return f"{kind}@{self.model}"
        return f"{kind}_seed@{self.model}-{self.seed}"


def stage_of(kind: str, name: str) -> str:
    """Return the stage that trains or evaluates `name`, such as train@vae or train_seed@vae-1."""
    return Training.parse(name).stage(kind)


def check_seeds(first: int, more: Sequence[int], files: str) -> None:
    """Raise LatentlabError for a seed that is not allowed, or that is listed twice."""
    for key, seed in [("seed", first), *(("more_seeds", seed) for seed in more)]:
        if not 0 <= seed <= MAX_SEED:
            raise LatentlabError(f"{files}: {key} is {seed}; it must be >= 0 and < 2^32")
    if first in more:
        raise LatentlabError(
            f"{files}: more_seeds has {first}, which is `seed`, that of the first training: remove"
            " it from more_seeds"
        )
    if twice := sorted(seed for seed in set(more) if list(more).count(seed) > 1):
        raise LatentlabError(f"{files}: more_seeds has {twice[0]} twice: write each seed once")
