"""Semi-supervised GAN: the discriminator is a classifier that also learns from unlabelled images.

    D:  −E log p(y|x, real) over labelled x  − E log D(x) − E log(1 − D(G(z)))
        + λ E H(q, p(y|x′, real)),   x′: x after a random affine map,   q ∝ p(y|x, real)²
    G:  ‖E f(x) − E f(G(z))‖²,   f: the last hidden layer of D
    D(x) = Z / (Z + 1),  Z = Σ_k exp l_k(x),   l: logits of the K real classes

`labels_per_class` images of each class, chosen by `label_seed` from the training split, are the
only labelled images. λ = 0 is the model of Salimans et al. λ > 0 adds consistency: a small affine
map must not change the class. The consistency loss needs no labels.

Paper: Salimans et al. 2016, "Improved techniques for training GANs", arXiv:1606.03498, sections 3.1
and 5 (0.93 % test error on MNIST with 100 labels).
Paper: Chen et al. 2020, "Consistency regularization with generative adversarial networks for
semi-supervised learning", arXiv:2007.03844.
Paper: Berthelot et al. 2019, "MixMatch: a holistic approach to semi-supervised learning",
arXiv:1905.02249, eq. 7 (q).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from lightning import LightningModule
from torch import Tensor, nn

from latentlab.contracts import ImageShape, LatentSampler, to_float
from latentlab.losses.adversarial import consistency_loss, feature_matching, real_logit
from latentlab.networks.mlp import noisy_mlp, softplus_mlp
from latentlab.networks.regularization import DiscriminatorRegularization
from latentlab.optim.adversarial import (
    AdversarialOptim,
    AdversarialSteps,
    adversarial_adam,
    frozen,
    training_progress,
)
from latentlab.transforms.augmentation import check_affine_strength, random_affine
from latentlab.utils.errors import LatentlabError

UNSUPPORTED = {
    "packing": "its discriminator predicts the class of one image",
    "minibatch_stddev": "its discriminator predicts the class of one image",
    "spectral_norm": "its discriminator has weight normalization",
}
OPTIM = AdversarialOptim(generator_lr=3e-3, discriminator_lr=3e-3, linear_decay=True)


@dataclass(frozen=True)
class SemiSupervisedNetworks:
    """Fully connected networks.

    `hidden`: widths of the discriminator; the last hidden layer is f. `generator_hidden`: widths of
    the generator. `noise`: standard deviations of Gaussian noise on the discriminator's input and
    before its hidden layers.
    """

    hidden: Sequence[int] = (1000, 500, 250, 250, 250)
    generator_hidden: Sequence[int] = (500, 500)
    noise: tuple[float, float] = (0.3, 0.5)


@dataclass(frozen=True)
class Supervision:
    """Labelled images and consistency.

    Each step uses `labelled_batch_size` of the labelled images. `affine_strength`: strength of the
    random affine maps, of labelled images and for the consistency loss. `consistency_weight`: λ,
    which rises from 0 in the first fifth of the training.
    """

    labels_per_class: int = 10
    label_seed: int = 0
    labelled_batch_size: int = 50
    affine_strength: float = 0.0
    consistency_weight: float = 0.0

    def __post_init__(self) -> None:
        check_affine_strength(self.affine_strength)
        if self.labels_per_class < 1:
            raise ValueError(f"labels_per_class is {self.labels_per_class}: it must be ≥ 1")
        if self.consistency_weight < 0 or (self.consistency_weight and not self.affine_strength):
            raise ValueError(
                f"consistency_weight is {self.consistency_weight} and affine_strength"
                f" {self.affine_strength}: the weight must be ≥ 0, and a weight above 0 needs an"
                " affine_strength above 0, such as 0.2"
            )


class SemiSupervisedGAN(AdversarialSteps, LightningModule):
    """`networks`: sizes. `supervision`: labelled images and consistency. Images are in [0, 1]."""

    family = "GAN"
    labelled_x: Tensor  # (labels_per_class · K, C·H·W) uint8
    labelled_y: Tensor

    def __init__(
        self,
        image_shape: ImageShape,
        *,
        prior: LatentSampler,
        num_classes: int,
        latent_dim: int = 100,
        networks: SemiSupervisedNetworks = SemiSupervisedNetworks(),
        supervision: Supervision = Supervision(),
        optim: AdversarialOptim = OPTIM,
        regularization: DiscriminatorRegularization = DiscriminatorRegularization(),
    ) -> None:
        super().__init__()
        if num_classes < 2:
            raise ValueError(
                f"the data have {num_classes} classes, but a semi-supervised GAN needs labels of 2"
                " classes or more: choose dcgan, or data with labels"
            )
        regularization.require_supported(UNSUPPORTED, model="a semi-supervised GAN")
        self.setup_training(
            prior, latent_dim=latent_dim, optim=optim, regularization=regularization
        )
        self.image_shape, self.num_classes, self.supervision = image_shape, num_classes, supervision
        num_pixels = math.prod(image_shape)
        self.generator = softplus_mlp([latent_dim, *networks.generator_hidden, num_pixels])
        self.discriminator = nn.ModuleDict(
            {
                "trunk": noisy_mlp([num_pixels, *networks.hidden], noise=networks.noise),
                "head": nn.Linear(networks.hidden[-1], num_classes),
            }
        )
        regularization.apply_to(self.discriminator)
        # Not saved, because `label_seed` selects the images. Flat, because tensors that are
        # channels last cannot be broadcast to other processes.
        count = supervision.labels_per_class * num_classes
        x, y = torch.zeros(count, num_pixels, dtype=torch.uint8), torch.zeros(count).long()
        self.register_buffer("labelled_x", x, persistent=False)
        self.register_buffer("labelled_y", y, persistent=False)

    @property
    def num_labelled(self) -> int:
        return self.supervision.labels_per_class * self.num_classes

    def on_fit_start(self) -> None:
        """Select the labelled images. Raise LatentlabError if a class has too few images."""
        trainer: Any = self.trainer  # Lightning declares no type for its datamodule
        split = trainer.datamodule.split("train")
        wanted = self.supervision.labels_per_class
        labelled = split.balanced(wanted * self.num_classes, seed=self.supervision.label_seed)
        counts = labelled.labels.bincount(minlength=self.num_classes)
        if (fewest := int(counts.min())) < wanted:
            raise LatentlabError(
                f"class {int(counts.argmin())} has {fewest} training images, but labels_per_class"
                f" is {wanted}: reduce labels_per_class"
            )
        self.labelled_x = labelled.images.flatten(1).to(self.device)
        self.labelled_y = labelled.labels.to(self.device)

    def decode(self, z: Tensor) -> Tensor:
        return self.generator(z).sigmoid().unflatten(1, self.image_shape)  # (B, C, H, W)

    def features(self, x: Tensor) -> Tensor:
        return self.discriminator["trunk"](x.flatten(1))  # (B, F)

    def classify(self, x: Tensor) -> Tensor:
        """Images (B, C, H, W) → logits of the real classes (B, K)."""
        return self.discriminator["head"](self.features(x))

    def real_logits(self, x: Tensor, y: Tensor) -> Tensor:
        return real_logit(self.classify(x))

    def fake_logits(self, z: Tensor) -> Tensor:
        return real_logit(self.classify(self.decode(z)))

    def adversarial_losses(self, x: Tensor, y: Tensor, z: Tensor) -> tuple[Tensor, Tensor]:
        """The loss of D has no labelled images and no consistency."""
        d_loss = self.d_loss(self.real_logits(x, y), self.fake_logits(z))
        return d_loss, feature_matching(self.features(x), self.features(self.decode(z)))

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> dict[str, Tensor]:
        x = batch[0]  # without the labels of the batch
        x_fake = self.decode(self.sample_prior(x))

        # Phase 1: the discriminator, on labelled, unlabelled and generated images.
        losses = self.discriminator_losses(x, x_fake.detach())
        classification_loss, d_loss, r1_penalty = losses
        self.discriminator_step(classification_loss + d_loss + r1_penalty)

        # Phase 2: the generator, by feature matching, through the frozen discriminator.
        with frozen(self.discriminator):
            real, fake = (self.augment_unit(images) for images in (x, x_fake))
            g_loss = feature_matching(self.features(real), self.features(fake))
            self.generator_step(g_loss)

        return {
            "loss": classification_loss + d_loss + g_loss,
            "classification_loss": classification_loss,
            "d_loss": d_loss,
            "g_loss": g_loss,
        }

    def discriminator_losses(self, x: Tensor, x_fake: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Classification loss (with consistency), adversarial loss, weighted R1 penalty."""
        consistency, strength = self.consistency_weight(), self.supervision.affine_strength
        x_labelled, y = self.sample_labelled()
        x_real = self.augment_unit(x).requires_grad_(self.has_r1())
        parts = [x_labelled, x_real, self.augment_unit(x_fake)]
        if self.supervision.consistency_weight:
            parts.append(random_affine(x, strength))
        # one forward pass for all images
        logits, real, fake, *augmented = self.classify(torch.cat(parts)).split(
            [len(part) for part in parts]
        )
        classification_loss = F.cross_entropy(logits, y)
        if self.supervision.consistency_weight:
            loss = consistency_loss(real, augmented[0])
            classification_loss = classification_loss + consistency * loss
        real_logits = real_logit(real)
        d_loss = self.d_loss(real_logits, real_logit(fake))
        return classification_loss, d_loss, self.r1_penalty(real_logits, x_real)

    def sample_labelled(self) -> tuple[Tensor, Tensor]:
        """Labelled images (B, C, H, W) in [0, 1] after a random affine map, and their classes."""
        size = self.supervision.labelled_batch_size
        rows = torch.randint(len(self.labelled_x), (size,))
        x = to_float(self.labelled_x[rows]).unflatten(1, self.image_shape)
        return random_affine(x, self.supervision.affine_strength), self.labelled_y[rows]

    def consistency_weight(self) -> float:
        """λ at this step: it rises linearly in the first fifth of the training."""
        return self.supervision.consistency_weight * min(1.0, 5 * training_progress(self))

    def validation_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> dict[str, Tensor]:
        x, y = batch
        logits, fake = self.classify(x), self.classify(self.decode(self.sample_prior(x)))
        return {
            "classification_error": (logits.argmax(1) != y).float().mean(),
            **self.probabilities(real_logit(logits), real_logit(fake)),
        }

    def configure_optimizers(self) -> Any:
        return adversarial_adam(self, self.generator.parameters())
