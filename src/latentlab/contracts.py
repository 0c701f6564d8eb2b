"""The contract between models and the rest of latentlab: images, data splits, models, samplers.

Images are float32 tensors (B, C, H, W) in [0, 1]. On disk and in memory they are stored as uint8;
only `to_float` and `to_uint8` convert between the two.

A model implements `Model`, and `Encoder` if it has an encoder. Every other Protocol is optional:
a model that implements it gets the diagnostic named in the Protocol's docstring. There is no list
to keep. docs/new-model.md has the table.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, Protocol, runtime_checkable

import torch
from torch import Tensor, nn

ImageShape = tuple[int, int, int]  # (C, H, W)


def to_float(images: Tensor) -> Tensor:
    """uint8 images 0…255 → float32 in [0, 1], of any shape, on any device."""
    return images.to(torch.float32).div_(255.0)


def to_uint8(images: Tensor) -> Tensor:
    """Float images → uint8 0…255. Values are clipped to [0, 1] and rounded to the nearest level."""
    return images.clamp(0, 1).mul(255.0).round_().to(torch.uint8)


@dataclass(frozen=True)
class Split:
    """One part of a data set: `images` uint8 (N, C, H, W), `labels` int64 (N,) or None.

    `images` may be a memory map larger than memory: read it through `batches`.
    """

    images: Tensor
    labels: Tensor | None = None

    def __len__(self) -> int:
        return len(self.images)

    def first(self, count: int) -> Split:
        """Return the first `count` images as a view; all images if there are fewer."""
        return Split(self.images[:count], None if self.labels is None else self.labels[:count])

    def some(self, count: int, *, seed: int) -> Split:
        """Return `count` random images in their order; all, as a view, if there are fewer."""
        if len(self) <= count:
            return self
        generator = torch.Generator().manual_seed(seed)
        rows = torch.randperm(len(self), generator=generator)[:count].sort().values
        return Split(self.images[rows], None if self.labels is None else self.labels[rows])

    def balanced(self, count: int, *, seed: int) -> Split:
        """Return `count` random labelled images. Class counts are as equal as the data allow."""
        assert self.labels is not None
        order = torch.randperm(len(self), generator=torch.Generator().manual_seed(seed))
        rank = torch.empty(len(self), dtype=torch.int64)  # of an image among those of its class
        for label in self.labels.unique():
            own = (self.labels[order] == label).nonzero().flatten()
            rank[own] = torch.arange(len(own))
        rows = order[rank.argsort(stable=True)[:count]]
        return Split(self.images[rows], self.labels[rows])

    def batches(self, size: int = 500) -> Iterator[Tensor]:
        """Yield the images in order as float32 (≤ size, C, H, W) in [0, 1]."""
        for start in range(0, len(self.images), size):
            yield to_float(self.images[start : start + size])


Family = Literal["AE", "VAE", "GAN", "Diffusion"]


@runtime_checkable
class Model(Protocol):
    """Every model: a family, a latent dimension D, a decoder, and features.

    `decode`: codes (B, D) → images (B, C, H, W) in [0, 1]. `features`: images (B, C, H, W) →
    (B, F), the input of the linear probe: an autoencoder's code, or the last feature maps of a
    GAN's discriminator.
    """

    family: Family
    latent_dim: int

    def decode(self, z: Tensor) -> Tensor: ...

    def features(self, x: Tensor) -> Tensor: ...


@runtime_checkable
class Encoder(Model, Protocol):
    """A model that also encodes: images (B, C, H, W) → codes (B, D); a VAE's posterior mean.

    A model without an encoder is reconstructed by latent inversion (metrics/inversion.py).
    """

    def encode(self, x: Tensor) -> Tensor: ...


@runtime_checkable
class LatentSampler(Protocol):
    """A distribution over codes (N, D). `fit` gets the training codes; a fixed prior ignores them.

    `learns`: True if `fit` changes the sampler.
    """

    learns: bool

    def fit(self, codes: Tensor) -> None: ...

    def sample(self, shape: tuple[int, int], generator: torch.Generator | None = None) -> Tensor:
        """Sample codes of shape (N, D)."""
        ...


@runtime_checkable
class ClassSampler(LatentSampler, Protocol):
    """A sampler whose codes contain a class. `fit_classes` reads the class frequencies.

    `labels`: int64 (N,), the labels of the training images.
    """

    def fit_classes(self, labels: Tensor) -> None: ...


PartDistribution = Literal["gaussian", "uniform", "one_hot", "fitted", "indices"]


@dataclass(frozen=True)
class CodePart:
    """`size` neighbouring values of a code, and their distribution.

    gaussian: N(0, I). uniform: on [−1, 1]. one_hot: a category. fitted: a density that was fitted
    to codes. indices: whole numbers ≥ 0, for which no gradient exists.
    """

    distribution: PartDistribution
    size: int


@runtime_checkable
class StructuredSampler(LatentSampler, Protocol):
    """A sampler that says of which parts its codes consist. Latent inversion stays inside them.

    `parts`: the parts of a code of `dim` values, in their order. `project`: codes (N, D) → codes
    (N, D) that the sampler can give. A code that is inside stays as it is. A Gaussian or fitted
    part is inside up to the norm that holds 99 % of the samples.
    """

    def parts(self, dim: int) -> tuple[CodePart, ...]: ...

    def project(self, z: Tensor) -> Tensor: ...


@runtime_checkable
class LinearDecoder(Protocol):
    """The decoder is affine before clipping: x̂ = basis · z + offset. Metric: principal_angle."""

    def decoder_basis(self) -> tuple[Tensor, Tensor]:
        """Return basis (C·H·W, D) and offset (C·H·W,)."""
        ...


@runtime_checkable
class LatentInterpolation(Protocol):
    """The model interpolates codes itself, because its codes are not points of a vector space.

    Figure: interpolations.
    """

    def interpolate(self, a: Tensor, b: Tensor, fraction: float) -> Tensor:
        """Codes (B, D) → codes (B, D): a at fraction 0, b at fraction 1."""
        ...


@runtime_checkable
class GaussianPosterior(Protocol):
    """q(z|x) is a diagonal Gaussian.

    Diagnostics: interpolation, latent_arithmetic, active_units.
    """

    def posterior(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Images (B, C, H, W) → (mu, logvar), (B, D) each."""
        ...


@runtime_checkable
class StandardNormalPrior(Protocol):
    """`standard_normal_prior` = True: the prior is N(0, I). Diagnostic: sampler_comparison."""

    family: Family
    standard_normal_prior: bool


class LikelihoodSettings(Protocol):
    """The attributes of losses.pixel_likelihood.PixelLikelihood that a diagnostic reads.

    `name`: the distribution. `binary`: the image is sampled as 0 or 1 before it is scored.
    `outputs`: outputs of the decoder for each value of the image.
    """

    name: str
    binary: bool
    outputs: int


@runtime_checkable
class LikelihoodModel(Protocol):
    """log p(x) can be estimated by importance sampling. Diagnostic: likelihood.

    A class-conditional model also has `num_classes`: the estimate is then of log p(x|y).
    """

    likelihood: LikelihoodSettings

    def log_weights(self, x: Tensor, y: Tensor, num_samples: int) -> Tensor:
        """log p(x, z) − log q(z|x) of S codes for each image, nats, (S, B)."""
        ...


@runtime_checkable
class ClassConditionalModel(Protocol):
    """Codes contain a class. Diagnostic: class_conditioning.

    `condition` writes the classes y (B,), int64, into codes z (B, D).
    """

    num_classes: int

    def condition(self, z: Tensor, y: Tensor) -> Tensor: ...


@runtime_checkable
class PartlyLabelled(Protocol):
    """The model is given the labels of `num_labelled` training images. Metric: num_labels."""

    @property
    def num_labelled(self) -> int: ...


@runtime_checkable
class Adversarial(Protocol):
    """A generator against a discriminator. Diagnostic: gan_training.

    The logits are of images x (B, C, H, W) in [0, 1] with labels y (B,), int64, which only a
    class-conditional discriminator uses, and of the images generated from codes z (B, D). As in
    training, a discriminator with batch normalization uses the statistics of this batch, which is
    all real or all generated (networks.batch_norm.batch_statistics).
    `decision_threshold`: the logit that separates real from generated images; None for a critic,
    whose scores are known up to a constant. `adversarial_losses`: the losses of the discriminator
    and of the generator, without penalties.
    """

    generator: nn.Module
    discriminator: nn.Module
    decision_threshold: float | None

    def real_logits(self, x: Tensor, y: Tensor) -> Tensor: ...

    def fake_logits(self, z: Tensor) -> Tensor: ...

    def adversarial_losses(self, x: Tensor, y: Tensor, z: Tensor) -> tuple[Tensor, Tensor]: ...


@runtime_checkable
class DoubleBackward(Protocol):
    """`needs_double_backward`: True if a loss contains a gradient, such as a gradient penalty.

    torch.compile cannot differentiate a gradient: `trainer.compile` is then refused.
    """

    @property
    def needs_double_backward(self) -> bool: ...


@runtime_checkable
class CodeRecognition(Protocol):
    """The model reads its codes (noise, c, y) back from images. Diagnostic: infogan_codes.

    y is one of K = `num_categories`, one-hot; c are J = `num_continuous` values. `recognize`:
    images (B, C, H, W) → logits of y (B, K) and means of c (B, J).
    """

    num_categories: int
    num_continuous: int

    def recognize(self, x: Tensor) -> tuple[Tensor, Tensor]: ...


@runtime_checkable
class Denoiser(Protocol):
    """Corrupts images as in training, x → x̃, and removes the corruption, x̃ → x̂ in [0, 1].

    Diagnostic: denoising.
    """

    def corrupt(self, x: Tensor, generator: torch.Generator | None = None) -> Tensor: ...

    def denoise(self, x_tilde: Tensor) -> Tensor: ...


@runtime_checkable
class SuperResolver(Protocol):
    """Downsamples images by `scale` and upsamples them to images in [0, 1].

    Diagnostic: super_resolution.
    """

    scale: int

    def downsample(self, x: Tensor) -> Tensor: ...

    def upsample(self, x_small: Tensor) -> Tensor: ...


@runtime_checkable
class MaskedModel(Protocol):
    """Predicts all patches from a few. Diagnostic: masked_reconstruction.

    N = `num_patches`, V = `num_visible` in training. `patchify`: images (B, C, H, W) → patches
    (B, N, P); `unpatchify` is its inverse. `inpaint`: images and the indices (B, V) of the visible
    patches → all patches (B, N, P).
    """

    num_patches: int
    num_visible: int

    def patchify(self, x: Tensor) -> Tensor: ...

    def unpatchify(self, patches: Tensor) -> Tensor: ...

    def inpaint(self, x: Tensor, visible: Tensor) -> Tensor: ...


@runtime_checkable
class StochasticDecoder(Protocol):
    """p(x|z) of pixels that are independent given z. Diagnostic: decoder_noise."""

    likelihood: LikelihoodSettings

    def nll(self, x: Tensor, z: Tensor) -> Tensor:
        """−log p(x|z) in nats, (B,)."""
        ...

    def sample_pixels(self, z: Tensor) -> Tensor: ...

    def decode_std(self, z: Tensor) -> Tensor: ...


@runtime_checkable
class SparseCoder(Protocol):
    """A linear decoder and a sparse code. Diagnostic: sparsity.

    `dictionary`: the image (C, H, W) of each of the D units, of any sign, (D, C, H, W). `active`:
    codes (B, D) → bool (B, D), the units that count as on.
    """

    def encode(self, x: Tensor) -> Tensor: ...

    def dictionary(self) -> Tensor: ...

    def active(self, z: Tensor) -> Tensor: ...


@runtime_checkable
class SparseInference(Protocol):
    """`encode` predicts what `infer` optimizes: codes (B, D) of least `energy` (B,).

    Diagnostic: amortized_inference.
    """

    def encode(self, x: Tensor) -> Tensor: ...

    def infer(self, x: Tensor, *, steps: int, start: Tensor | None = None) -> Tensor: ...

    def energy(self, x: Tensor, z: Tensor) -> Tensor: ...


@runtime_checkable
class DifferentiableEncoder(Protocol):
    """`differentiable_encoder` = True: `encode` is smooth and cheap to differentiate.

    Diagnostic: tangent_space.
    """

    differentiable_encoder: bool

    def encode(self, x: Tensor) -> Tensor: ...


@runtime_checkable
class JacobianPenalty(Protocol):
    """`loss` has a term `jacobian_frobenius_sq`, ‖∂f/∂x‖², times `penalty_weight`.

    Task: contractive_penalty.
    """

    penalty_weight: float
    lr: float
    differentiable_encoder: bool

    def encode(self, x: Tensor) -> Tensor: ...

    def loss(self, x: Tensor) -> dict[str, Tensor]: ...


@runtime_checkable
class DiscreteCodes(Protocol):
    """Codes are `latent_dim` indices below `codebook_size`. Diagnostic: codebook_usage.

    `embed`: indices (…,) → codebook vectors.
    """

    codebook_size: int
    latent_dim: int

    def embed(self, indices: Tensor) -> Tensor: ...


@runtime_checkable
class StyleBased(Protocol):
    """Codes (B, D) → styles (B, L, D) → images (B, C, H, W) in [0, 1]. Diagnostic: style_mixing."""

    def styles(self, z: Tensor, *, truncation: float = 1.0) -> Tensor: ...

    def synthesize(self, styles: Tensor) -> Tensor: ...


@runtime_checkable
class Memorizer(Encoder, Protocol):
    """Codes are one number; `memory` holds the training images, (N, C·H·W).

    Diagnostic: memorization.
    """

    memory: Tensor


@runtime_checkable
class LayerwiseTraining(Protocol):
    """Trained one layer at a time. Task: layerwise_pretraining."""

    def phase_loss(self, phase: int, x: Tensor) -> Tensor: ...


class Task(ABC):
    """A downstream task. `tasks/` has one file for each, as dataclasses.

    The fields are the settings, read from configs/tasks/<name>.yaml. `needs_labels`: the task reads
    classes; `latentlab init` leaves it out for images without. `needs_encoder`: it encodes images.
    """

    needs_labels: ClassVar[bool] = False
    needs_encoder: ClassVar[bool] = False

    @abstractmethod
    def run(self, context: Any) -> Any:
        """tasks.common.Context → evaluation.results.Result."""


def weighted_means(rows: list[tuple[int, dict[str, Tensor]]]) -> dict[str, float]:
    """Return means over all images from means over batches.

    `rows`: (batch size, {name: mean over the batch}) of each batch.
    """
    if not rows:
        return {}
    total = sum(count for count, _ in rows)
    return {
        name: sum(count * float(row[name]) for count, row in rows) / total for name in rows[0][1]
    }
