"""A trained model that is ready to use. `latentlab.load` returns it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from latentlab.config import EvaluationSettings, allowed_packages, find_root
from latentlab.config.run_folder import find_run, rebuild
from latentlab.contracts import Encoder, ImageShape, Model
from latentlab.inference.replicas import Replicas, resolve_devices
from latentlab.utils.errors import LatentlabError


@dataclass(frozen=True)
class TrainedModel:
    """One trained model. Images are float32 (N, C, H, W) in [0, 1], codes are (N, D).

    All methods return tensors on the CPU, without gradients.

    Attributes:
        name: name of the model's config.
        folder: the run folder, `runs/<name>`.
        module: the model itself (contracts.Model), a LightningModule in eval mode.
        sampler: the fitted contracts.LatentSampler; None for the classifier.
        image_shape: (C, H, W) of the training images.
        evaluation: the evaluation settings; latent inversion uses its budget.
        metadata: the content of experiment.json.
        device: cpu, cuda, cuda:1, … or auto for every GPU.
    """

    name: str
    folder: Path
    module: Any
    sampler: Any
    image_shape: ImageShape
    evaluation: EvaluationSettings
    metadata: dict[str, Any]
    device: str = "cpu"

    @cached_property
    def replicas(self) -> Replicas:
        """The module on each of its devices."""
        return Replicas(self.module, resolve_devices(self.device))

    @property
    def has_encoder(self) -> bool:
        return isinstance(self.module, Encoder)

    def encode(self, x: Tensor) -> Tensor:
        """Images (N, C, H, W) → codes (N, D).

        Without an encoder, codes are found by latent inversion (metrics.inversion) with the budget
        in `evaluation`.

        Raises:
            LatentlabError: images of another shape or range, or a model without codes.
        """
        x = self._checked(x)
        if self.has_encoder:
            return self._batched("encode", x)
        from latentlab.metrics.inversion import invert

        budget = self.evaluation
        starts = self.sample_latents(budget.inversion_num_starts, seed=budget.seed)
        first = self.replicas.devices[0]
        return invert(
            self.module.decode,
            x.to(first),
            prior_samples=starts.to(first),
            steps=budget.inversion_steps,
            lr=budget.inversion_lr,
        ).cpu()

    def decode(self, z: Tensor) -> Tensor:
        """Codes (N, D) → images (N, C, H, W).

        Raises:
            LatentlabError: codes of another size.
        """
        if not isinstance(self.module, Model):
            raise LatentlabError(f"{self.name} has no codes and no decoder. Use features().")
        if z.ndim != 2 or z.shape[1] != self.module.latent_dim:
            raise LatentlabError(
                f"Codes have shape {tuple(z.shape)}. {self.name} needs"
                f" (N, {self.module.latent_dim}). Use codes of this model."
            )
        return self._batched("decode", z.to(torch.float32))

    def features(self, x: Tensor) -> Tensor:
        """Images (N, C, H, W) → features (N, F), the input of the linear probe.

        Raises:
            LatentlabError: images of another shape or range.
        """
        return self._batched("features", self._checked(x))

    def reconstruct(self, x: Tensor) -> Tensor:
        """Images (N, C, H, W) → decode(encode(x)), (N, C, H, W)."""
        return self.decode(self.encode(x))

    def sample_latents(self, count: int, *, seed: int = 0) -> Tensor:
        """Sample codes (count, D) from the latent sampler. The same seed gives the same codes.

        Raises:
            LatentlabError: `count` < 1, or the model has no sampler.
        """
        if self.sampler is None:
            raise LatentlabError(
                f"{self.name} has no latent sampler, so it cannot sample or encode. Use features(),"
                " or add a sampler to its config."
            )
        if count < 1:
            raise LatentlabError(f"The number of codes is {count}. It must be 1 or more.")
        generator = torch.Generator().manual_seed(seed)
        return self.sampler.sample((count, self.module.latent_dim), generator)

    def sample(self, count: int, *, seed: int = 0) -> Tensor:
        """Sample new images (count, C, H, W): decode(sample_latents(count))."""
        return self.decode(self.sample_latents(count, seed=seed))

    def _checked(self, x: Tensor) -> Tensor:
        if x.ndim != 4 or tuple(x.shape[1:]) != self.image_shape:
            raise LatentlabError(
                f"Images have shape {tuple(x.shape)}. {self.name} needs"
                f" (N, {', '.join(map(str, self.image_shape))}). Resize the images, or give one"
                " image as x[None]."
            )
        if not x.is_floating_point():
            raise LatentlabError(
                f"Images are {x.dtype}. They must be float in [0, 1]. Divide uint8 images by 255."
            )
        # so written, NaN fails as well
        if x.numel() and not (x.min() >= 0 and x.max() <= 1):
            raise LatentlabError(
                f"Images have values from {x.min():g} to {x.max():g}. They must be in [0, 1]."
            )
        return x.to(torch.float32)

    def _batched(self, method: str, inputs: Tensor, size: int = 500) -> Tensor:
        return torch.cat(list(self.replicas.map(method, inputs.split(size))))


def load_trained(
    name: str | Path, *, project: str | Path | None = None, device: str = "cpu"
) -> TrainedModel:
    """See `latentlab.load`."""
    folder = Path(name)
    if not (folder / "experiment.json").is_file():
        folder = find_run(str(name), find_root(Path(project) if project else None))
    allow = allowed_packages(Path(project) if project else None)
    experiment, metadata = rebuild(folder, allow=allow)
    try:
        module = experiment.model.eval().to(resolve_devices(device)[0])
    except (RuntimeError, AssertionError) as error:  # torch built without CUDA asserts
        reason = str(error).splitlines()[0]
        raise LatentlabError(
            f"The device {device!r} cannot be used ({reason}). Use a device of this machine, such"
            " as cpu."
        ) from None
    return TrainedModel(
        metadata["name"],
        folder,
        module,
        experiment.sampler,
        tuple(metadata["data_spec"]["image_shape"]),
        experiment.project.evaluation,
        metadata,
        device,
    )
