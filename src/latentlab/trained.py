"""A trained model, ready for use: what `latentlab.load` returns."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from latentlab.config import EvaluationSettings, allowed_packages, find_root
from latentlab.contracts import Autoencoder, LatentlabError
from latentlab.runs import find_run, rebuild
from latentlab.spread import Spread, devices_of


@dataclass(frozen=True)
class Trained:
    """One trained model. Images are (N, C, H, W) float32 in [0, 1]; codes are (N, D)."""

    name: str
    folder: Path
    module: Any  # contracts.Model, a LightningModule in eval mode
    sampler: Any  # contracts.Sampler
    image_shape: tuple[int, int, int]
    evaluation: EvaluationSettings
    card: dict[str, Any]
    device: str = "cpu"  # auto: every GPU there is

    @cached_property
    def spread(self) -> Spread:
        """The module on its device or devices."""
        return Spread(self.module, devices_of(self.device))

    @property
    def has_encoder(self) -> bool:
        return isinstance(self.module, Autoencoder)

    def encode(self, x: Tensor) -> Tensor:
        """Codes of images. A model without an encoder searches them: see metrics.inversion."""
        x = self._checked(x)
        if self.has_encoder:
            return self._batched("encode", x)
        from latentlab.metrics.inversion import invert

        budget = self.evaluation
        draws = self.draw(budget.inversion_draws, seed=budget.seed)
        first = self.spread.devices[0]
        return invert(
            self.module.decode,
            x.to(first),
            prior_draws=draws.to(first),
            steps=budget.inversion_steps,
            lr=budget.inversion_lr,
        ).cpu()

    def decode(self, z: Tensor) -> Tensor:
        """Images of codes (N, D)."""
        if z.ndim != 2 or z.shape[1] != self.module.latent_dim:
            raise LatentlabError(
                f"codes of shape {tuple(z.shape)} do not fit {self.name}:"
                f" it needs (N, {self.module.latent_dim})"
            )
        return self._batched("decode", z)

    def features(self, x: Tensor) -> Tensor:
        """What a linear probe reads, (N, F)."""
        return self._batched("features", self._checked(x))

    def reconstruct(self, x: Tensor) -> Tensor:
        """decode(encode(x))."""
        return self.decode(self.encode(x))

    def draw(self, count: int, *, seed: int = 0) -> Tensor:
        """Codes (count, D) from the model's latent sampler."""
        if self.sampler is None:
            raise LatentlabError(
                f"{self.name} has no latent sampler, so it neither draws nor searches codes:"
                " only features() is there, until its YAML names a sampler"
            )
        if count < 1:
            raise LatentlabError(f"{count} codes cannot be drawn: ask for 1 or more")
        generator = torch.Generator().manual_seed(seed)
        return self.sampler.sample((count, self.module.latent_dim), generator)

    def sample(self, count: int, *, seed: int = 0) -> Tensor:
        """New images: the sampler draws, the model decodes."""
        return self.decode(self.draw(count, seed=seed))

    def _checked(self, x: Tensor) -> Tensor:
        if x.ndim != 4 or tuple(x.shape[1:]) != self.image_shape:
            raise LatentlabError(
                f"images of shape {tuple(x.shape)} do not fit {self.name}:"
                f" it needs (N, {', '.join(map(str, self.image_shape))})"
            )
        if not x.is_floating_point() or (x.numel() and not (x.min() >= 0 and x.max() <= 1)):
            # so written, NaN fails as well
            raise LatentlabError(f"images must be float in [0, 1], got {x.dtype} outside of it")
        return x

    def _batched(self, method: str, inputs: Tensor, size: int = 500) -> Tensor:
        return torch.cat(list(self.spread.map(method, inputs.split(size))))


def load_trained(
    name: str | Path, *, project: str | Path | None = None, device: str = "cpu"
) -> Trained:
    """See `latentlab.load`."""
    folder = Path(name)
    if not (folder / "experiment.json").is_file():
        folder = find_run(str(name), find_root(Path(project) if project else None))
    allow = allowed_packages(Path(project) if project else None)
    experiment, card = rebuild(folder, allow=allow)
    try:
        module = experiment.model.eval().to(devices_of(device)[0])
    except (RuntimeError, AssertionError) as error:  # torch built without CUDA asserts
        reason = str(error).splitlines()[0]
        raise LatentlabError(f"device {device!r} cannot be used ({reason}): try cpu") from None
    return Trained(
        card["name"],
        folder,
        module,
        experiment.sampler,
        tuple(card["facts"]["image_shape"]),
        experiment.project.evaluation,
        card,
        device,
    )
