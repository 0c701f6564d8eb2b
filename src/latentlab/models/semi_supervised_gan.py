"""Semi-supervised GAN: fakes are one more class, and so unlabelled images teach the other ten.

    D:  −E log p(y | x, real)  over the few labelled x   − E log D(x) − E log(1 − D(G(z)))
        + λ E H(q, p(y | x′, real)),   x′: x warped,   q ∝ p(y | x, real)²
    G:  ‖ E f(x) − E f(G(z)) ‖²,   f: D's last hidden layer
    D(x) = Z / (Z + 1),  Z = Σ_k exp l_k(x),   l: the logits of the K real classes

Salimans et al. 2016, "Improved techniques for training GANs", sections 3.1 and 5: 0.93 % test error
on MNIST with 100 labels. `labels_per_class` images, chosen by `label_seed` from the training split,
are all whose labels are ever looked at; of the other images only the pixels are. λ = 0 is that
game; λ > 0 asks that a small warp change no class, which can be learned without labels (Chen et al.
2020, "Consistency regularization with generative adversarial networks for semi-supervised
learning"; the square makes the answer q surer than p: Berthelot et al. 2019, "MixMatch", eq. 7).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from lightning import LightningModule
from torch import Tensor, nn

from latentlab.contracts import ImageShape, LatentlabError, Sampler, to_float
from latentlab.corruption import check_warp, warp
from latentlab.cures import Cures
from latentlab.games import adam_each, advance, batch_number, progress, still, told_apart, turn
from latentlab.losses.adversarial import players
from latentlab.losses.semi_supervised import disagreement, feature_matching, real_logit
from latentlab.nets.noisy import noisy_mlp, softplus_mlp

NO_CURE = {
    "packing": "its D tells the class of one image",
    "spectral_norm": "its D has weight normalisation",
}


class SemiSupervisedGAN(LightningModule):
    """Fully connected; `hidden` are D's widths, `generator_hidden` G's; the last of D is f.

    `noise`: standard deviations on D's input and between its layers; `labelled_batch` of the
    labelled images join each step, each through an affine map of strength `warp`; `consistency`:
    λ, reached after a fifth of the training; `lr`: Adam's rate, falling linearly to 0; `beta1`:
    Adam's.
    """

    family = "GAN"
    border = 0.0  # the logit at which D is undecided
    labelled_x: Tensor  # (labels_per_class · K, C, H, W) uint8
    labelled_y: Tensor

    def __init__(
        self,
        image_shape: ImageShape,
        *,
        prior: Sampler,
        num_classes: int,
        labels_per_class: int = 10,
        label_seed: int = 0,
        latent_dim: int = 100,
        hidden: Sequence[int] = (1000, 500, 250, 250, 250),
        generator_hidden: Sequence[int] = (500, 500),
        noise: tuple[float, float] = (0.3, 0.5),
        labelled_batch: int = 50,
        warp: float = 0.0,
        consistency: float = 0.0,
        lr: float = 3e-3,
        beta1: float = 0.5,
        cures: Cures | None = None,
    ) -> None:
        super().__init__()
        if num_classes < 2 or labels_per_class < 1:
            raise ValueError(
                f"{labels_per_class} labels of each of {num_classes} classes: a semi-supervised GAN"
                " needs at least 1 label of at least 2 classes: take data with labels, or dcgan"
            )
        check_warp(warp)
        if consistency < 0 or (consistency and not warp):
            raise ValueError(
                f"consistency is {consistency} and warp {warp}: a weight ≥ 0 is allowed, and one"
                " above 0 needs a warp to be consistent under, such as 0.2"
            )
        self.automatic_optimization = False
        self.prior, self.num_classes, self.latent_dim = prior, num_classes, latent_dim
        self.labels_per_class, self.label_seed = labels_per_class, label_seed
        self.labelled_batch, self.warp, self.consistency = labelled_batch, warp, consistency
        self.lr, self.beta1 = lr, beta1
        self.cures = cures = (cures or Cures()).without(NO_CURE, model="a semi-supervised GAN")
        self.d_loss, _ = players("non_saturating", **cures.labels)
        self.image_shape = image_shape
        pixels = image_shape[0] * image_shape[1] * image_shape[2]
        self.generator = softplus_mlp([latent_dim, *generator_hidden, pixels])
        self.discriminator = nn.ModuleDict(
            {
                "trunk": noisy_mlp([pixels, *hidden], noise=noise),
                "head": nn.Linear(hidden[-1], num_classes),
            }
        )
        cures.equip(self.discriminator)
        # not saved: the data and label_seed decide them
        count = labels_per_class * num_classes
        # flat: what is laid out channels last cannot be broadcast to other processes
        x, y = torch.zeros(count, pixels, dtype=torch.uint8), torch.zeros(count).long()
        self.register_buffer("labelled_x", x, persistent=False)
        self.register_buffer("labelled_y", y, persistent=False)

    def on_fit_start(self) -> None:
        split = self.trainer.datamodule.split("train")  # type: ignore[attr-defined]
        few = split.balanced(self.labels_per_class * self.num_classes, seed=self.label_seed)
        counts = few.labels.bincount(minlength=self.num_classes)
        if (least := int(counts.min())) < self.labels_per_class:
            raise LatentlabError(
                f"class {int(counts.argmin())} has {least} training images, and labels_per_class is"
                f" {self.labels_per_class}: lower it"
            )
        self.labelled_x = few.images.flatten(1).to(self.device)
        self.labelled_y = few.labels.to(self.device)

    def decode(self, z: Tensor) -> Tensor:
        return self.generator(z).sigmoid().unflatten(1, self.image_shape)  # (B, C, H, W)

    def features(self, x: Tensor) -> Tensor:
        return self.discriminator["trunk"](x.flatten(1))  # (B, F)

    def classify(self, x: Tensor) -> Tensor:
        """Images (B, C, H, W) → logits of the real classes (B, K)."""
        return self.discriminator["head"](self.features(x))

    def score_real(self, x: Tensor, y: Tensor) -> Tensor:
        """log D(x) / (1 − D(x)) of images (B, C, H, W) in [0, 1], above `border` for real."""
        return real_logit(self.classify(x))

    def score_fake(self, z: Tensor) -> Tensor:
        """The same of the images made of codes (B, D)."""
        return real_logit(self.classify(self.decode(z)))

    def losses(self, x: Tensor, y: Tensor, z: Tensor) -> tuple[Tensor, Tensor]:
        """D's part in the game, without the labelled images, and what G minimises."""
        d_loss = self.d_loss(self.score_real(x, y), self.score_fake(z))
        return d_loss, feature_matching(self.features(x), self.features(self.decode(z)))

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> dict[str, Tensor]:
        x = batch[0]  # the labels of the batch are not looked at
        opt_g, opt_d = self.optimizers()  # type: ignore[attr-defined]
        x_fake = self.decode(self.sample_prior(x))
        rows = torch.randint(len(self.labelled_x), (self.labelled_batch,))
        x_few = to_float(self.labelled_x[rows]).unflatten(1, self.image_shape)
        x_few, y_few = warp(x_few, self.warp), self.labelled_y[rows]
        done = progress(self)

        seen = self.cures.view_unit(x, done).requires_grad_(self.cures.r1 > 0)
        parts = [x_few, seen, self.cures.view_unit(x_fake.detach(), done)]
        if self.consistency:
            parts.append(warp(x, self.warp))
        few_logits, real, fake, *warped = self.classify(torch.cat(parts)).split(
            [len(part) for part in parts]
        )
        class_loss = F.cross_entropy(few_logits, y_few)
        if self.consistency:
            weight = self.consistency * min(1.0, 5 * done)
            class_loss = class_loss + weight * disagreement(real, warped[0])
        real_logits, fake_logits = real_logit(real), real_logit(fake)
        d_loss = self.d_loss(real_logits, fake_logits)
        penalty = self.cures.penalty(real_logits, seen, batch_number(self))
        turn(self, opt_d, class_loss + d_loss + penalty)

        with still(self.discriminator):
            real, fake = (self.cures.view_unit(images, done) for images in (x, x_fake))
            g_loss = feature_matching(self.features(real), self.features(fake))
            turn(self, opt_g, g_loss)
        advance(self)
        return {
            "loss": class_loss + d_loss + g_loss,
            "class_loss": class_loss,
            "d_loss": d_loss,
            "g_loss": g_loss,
        }

    def validation_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> dict[str, Tensor]:
        """The classifier's error on held-out images, and how real they and fakes look to D."""
        x, y = batch
        logits, fake = self.classify(x), self.classify(self.decode(self.sample_prior(x)))
        return {
            "classifier_error": (logits.argmax(1) != y).float().mean(),
            **told_apart(real_logit(logits), real_logit(fake)),
        }

    def sample_prior(self, like: Tensor) -> Tensor:
        return self.prior.sample((len(like), self.latent_dim)).to(like.device)

    def configure_optimizers(self) -> Any:
        return adam_each(
            (self.generator.parameters(), self.lr),
            (self.discriminator.parameters(), self.lr),
            betas=(self.beta1, 0.999),
            steps=int(self.trainer.estimated_stepping_batches),
        )
