"""A trained model that is ready to use. `latentlab.load` returns it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from latentlab.config import EvaluationSettings, allowed_packages, find_root
from latentlab.config.run_folder import find_run, is_run_folder, rebuild
from latentlab.config.seeds import Training
from latentlab.contracts import ClassConditionalModel, Encoder, ImageShape, Model
from latentlab.data.pixels.settings import PixelSettings
from latentlab.inference.arguments import CodeInput, as_codes, as_path, whole_number, whole_seed
from latentlab.inference.blocks import sample_blocks
from latentlab.inference.classes import Classes, class_indices, cycled
from latentlab.inference.images import ImageInput, as_images
from latentlab.inference.replicas import Replicas, resolve_devices
from latentlab.utils.errors import LatentlabError


@dataclass(frozen=True, repr=False)
class TrainedModel:
    """One trained model. Images are float32 (N, C, H, W) in [0, 1], codes are (N, D).

    All methods return tensors on the CPU, without gradients. Images can be given as a tensor, a
    NumPy array, Pillow images or paths: see `latentlab.inference.images.as_images`.

    Attributes:
        name: name of the model's config, or such as `vae@1` for another seed.
        folder: the run folder, `runs/<name>`.
        module: the model itself (contracts.Model), a LightningModule in eval mode.
        sampler: the fitted contracts.LatentSampler; None for the classifier.
        image_shape: (C, H, W) of the training images.
        evaluation: the evaluation settings; latent inversion uses its budget.
        metadata: the content of experiment.json.
        device: cpu, cuda, cuda:1, … or auto for every GPU.
        classes: classes[label] is the name of a class; None if the names are not known.
        pixel_settings: how the files of the training images were read.
    """

    name: str
    folder: Path
    module: Any
    sampler: Any
    image_shape: ImageShape
    evaluation: EvaluationSettings
    metadata: dict[str, Any]
    device: str = "cpu"
    classes: tuple[str, ...] | None = None
    pixel_settings: PixelSettings | None = None

    def __repr__(self) -> str:
        from latentlab.inference.display import one_line

        return one_line(self)

    def _repr_html_(self) -> str:
        """A card for a notebook: title, objective, samples, and the main metrics if measured."""
        from latentlab.inference.display import html_card

        return html_card(self)

    @cached_property
    def replicas(self) -> Replicas:
        """The module on each of its devices."""
        return Replicas(self.module, resolve_devices(self.device))

    @property
    def has_encoder(self) -> bool:
        return isinstance(self.module, Encoder)

    @property
    def is_conditional(self) -> bool:
        """True if images of a requested class can be sampled."""
        return isinstance(self.module, ClassConditionalModel) and self.sampler is not None

    def encode(self, x: ImageInput, *, within_prior: bool = True) -> Tensor:
        """Images (N, C, H, W) → codes (N, D).

        Without an encoder, codes are found by latent inversion (metrics.inversion) with the budget
        in `evaluation`. The codes are such that the sampler can give them. `within_prior` False
        searches all codes, also those that the model never decoded in training: the error is
        smaller, but says less about the images that the model samples. An encoder ignores it.

        Raises:
            LatentlabError: images of another shape or range, or a model without codes.
        """
        x = self.as_images(x)
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
            sampler=self.sampler if within_prior else None,
        ).cpu()

    def decode(self, z: CodeInput) -> Tensor:
        """Codes (N, D), a tensor or an array → images (N, C, H, W).

        Without gradients. For an objective of your own, differentiate `module.decode(z)`.

        Raises:
            LatentlabError: codes of another type or size, or a model without codes.
        """
        self.require_generative()
        return self._batched("decode", as_codes(z, self.module.latent_dim, name=self.name))

    def features(self, x: ImageInput) -> Tensor:
        """Images (N, C, H, W) → features (N, F), the input of the linear probe.

        Raises:
            LatentlabError: images of another shape or range.
        """
        return self._batched("features", self.as_images(x))

    def reconstruct(self, x: ImageInput) -> Tensor:
        """Images (N, C, H, W) → decode(encode(x)), (N, C, H, W)."""
        return self.decode(self.encode(x))

    def sample_latents(
        self, count: int, *, seed: int = 0, classes: Classes | None = None
    ) -> Tensor:
        """Sample codes (count, D) from the latent sampler. The same seed gives the same codes.

        Code i depends on the seed and on i, not on `count`: fewer codes are the first of more.

        `classes`: a class or a list of them, by name or index, for a class-conditional model. A
        list is used in turn: code i gets the class classes[i % len(classes)]. The rest of the codes
        is the same with other classes. None: classes as frequent as in the training data.

        Raises:
            LatentlabError: a count < 1 or a seed < 0, a model without codes, a class that it
                does not have, or classes for a model that is not class-conditional.
        """
        self.require_generative()
        count, seed = whole_number(count, "The number of codes", least=1), whole_seed(seed)
        indices = None if classes is None else self._class_indices(classes)
        generator = torch.Generator().manual_seed(seed)
        z = sample_blocks(self.sampler, count, self.module.latent_dim, generator)
        return z if indices is None else self.module.condition(z, cycled(indices, count))

    def sample(self, count: int, *, seed: int = 0, classes: Classes | None = None) -> Tensor:
        """Sample new images (count, C, H, W): decode(sample_latents(count))."""
        return self.decode(self.sample_latents(count, seed=seed, classes=classes))

    def as_images(self, x: ImageInput) -> Tensor:
        """Return `x` as images (N, C, H, W) of this model.

        Raises:
            LatentlabError: images of another type, shape or range.
        """
        return as_images(x, self.image_shape, name=self.name, settings=self.pixel_settings)

    def require_generative(self) -> None:
        """Raise LatentlabError for the classifier, which has no codes."""
        if not isinstance(self.module, Model):
            from latentlab.inference.catalogue import not_generative

            raise not_generative(self.name, self.folder.resolve().parents[1])

    def _class_indices(self, classes: Classes) -> list[int]:
        if self.is_conditional:
            return class_indices(classes, self.module.num_classes, self.classes)
        from latentlab.inference.catalogue import conditional_models

        listed = ", ".join(conditional_models(self.folder.resolve().parents[1]))
        raise LatentlabError(
            f"{self.name} is not class-conditional, so no class can be requested. Leave the class"
            f" out, or use a class-conditional model{f': {listed}' if listed else ''}."
        )

    def _batched(self, method: str, inputs: Tensor, size: int = 500) -> Tensor:
        return torch.cat(list(self.replicas.map(method, inputs.split(size))))


def load_trained(
    name: str | Path,
    *,
    seed: int | None = None,
    project: str | Path | None = None,
    device: str = "cpu",
) -> TrainedModel:
    """See `latentlab.load`."""
    folder, seed = as_path(name, "The model"), None if seed is None else whole_seed(seed)
    project = None if project is None else as_path(project, "The project")
    if seed is not None or not is_run_folder(folder):
        wanted = str(name) if seed is None else _with_seed(str(name), seed)
        folder = find_run(wanted, find_root(project))
    allow = allowed_packages(project)
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
        _class_names(folder, metadata),
        replace(experiment.project.data.pixels, known_whites=tuple(metadata.get("whites", ()))),
    )


def _with_seed(name: str, seed: int) -> str:
    if is_run_folder(Path(name)) or Training.parse(name).seed is not None:
        raise LatentlabError(
            f"{name!r} is one training, so `seed` ({seed}) cannot be chosen: give the name of a"
            " config with it, or leave `seed` out"
        )
    return Training(name, seed).name


def _class_names(folder: Path, metadata: Mapping[str, Any]) -> tuple[str, ...] | None:
    """The names of the classes: of experiment.json, else of the prepared data of the project."""
    if "classes" in metadata:
        return tuple(metadata["classes"]) if metadata["classes"] else None
    try:
        path = folder.resolve().parents[1] / "data" / "prepared" / "meta.json"
        meta = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, IndexError):
        return None
    same = meta.get("sha256") == metadata.get("data_sha256")
    return tuple(meta["classes"]) if same and meta.get("classes") else None
