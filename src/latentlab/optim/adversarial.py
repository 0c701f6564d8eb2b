"""Training of a generator against a discriminator: optimizers and alternating steps.

`AdversarialOptim` is the `optim` block of the configurations. Two mixins give a LightningModule the
methods that GANs share; all of them are final:

- `AdversarialSteps`: for every model with two optimizers.
- `AdversarialTraining`: for GANs whose discriminator computes one logit from images alone.

A training step then reads like the algorithm of a paper:

    self.discriminator_step(d_loss)                     # phase 1: update the discriminator
    with frozen(self.discriminator):
        self.generator_step(g_loss)                     # phase 2: update the generator

`train_gan` trains small GANs outside of Lightning, for tasks.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, final

import torch
from torch import Tensor, nn
from torch.optim import Adam, Optimizer
from torch.optim.lr_scheduler import LambdaLR, LRScheduler
from torch.optim.optimizer import ParamsT

from latentlab.losses.adversarial import (
    DiscriminatorLoss,
    GeneratorLoss,
    decision_threshold,
    make_adversarial_losses,
    real_probability,
)
from latentlab.networks.batch_norm import batch_statistics
from latentlab.networks.regularization import DiscriminatorRegularization
from latentlab.optim.adam import adam, linear_decay

if TYPE_CHECKING:
    from lightning import LightningModule

    from latentlab.contracts import LatentSampler

    Mixin = LightningModule
else:
    Mixin = object

GENERATOR, DISCRIMINATOR = 0, 1  # order of the optimizers


@dataclass(frozen=True)
class AdversarialOptim:
    """Adam for the generator and for the discriminator.

    `betas`: of both optimizers. `linear_decay`: both learning rates fall linearly to 0 in training.
    `discriminator_steps`: number of discriminator steps for each generator step. The discriminator
    is updated at every batch, the generator at every `discriminator_steps`-th batch.
    """

    generator_lr: float = 2e-4
    discriminator_lr: float = 2e-4
    betas: tuple[float, float] = (0.5, 0.999)
    linear_decay: bool = False
    discriminator_steps: int = 1

    def __post_init__(self) -> None:
        for key in ("generator_lr", "discriminator_lr"):
            if not 0 < getattr(self, key) < math.inf:
                raise ValueError(f"{key} is {getattr(self, key)}: a learning rate must be > 0")
        if self.discriminator_steps < 1:
            raise ValueError(f"discriminator_steps is {self.discriminator_steps}: it must be ≥ 1")


class AdversarialSteps(Mixin):
    """Optimizer steps of the two networks. The model has an attribute `optim`.

    `setup_training` sets all attributes that a GAN needs. A model without regularization of its
    discriminator sets `optim` and `automatic_optimization = False` itself.
    """

    generator: Any  # nn.Module; Any, because each model has its own class
    discriminator: Any
    optim: AdversarialOptim
    regularization = DiscriminatorRegularization()  # no option is on
    prior: LatentSampler
    latent_dim: int
    decision_threshold: float | None
    d_loss: DiscriminatorLoss
    g_loss: GeneratorLoss
    to_probability: Callable[[Tensor], Tensor]  # logits → p(real), by the loss and its labels

    @final
    def setup_training(
        self,
        prior: LatentSampler,
        *,
        latent_dim: int,
        optim: AdversarialOptim,
        regularization: DiscriminatorRegularization,
        loss: str | None = "non_saturating",
    ) -> None:
        """Set the attributes of this class. `loss` None: the model computes its own losses."""
        self.automatic_optimization = False
        self.prior, self.latent_dim = prior, latent_dim
        self.optim, self.regularization = optim, regularization
        self.decision_threshold = None
        if loss is not None:
            labels = regularization.labels
            self.d_loss, self.g_loss = make_adversarial_losses(loss, **labels)
            self.decision_threshold = decision_threshold(loss, **labels)
            real, fake = labels["real_label"], labels["fake_label"]
            self.to_probability = partial(
                real_probability, name=loss, real_label=real, fake_label=fake
            )

    @property
    def needs_double_backward(self) -> bool:
        """True if the loss of the discriminator has the R1 penalty (contracts.DoubleBackward)."""
        return self.regularization.r1_gamma > 0

    @final
    def sample_prior(self, x: Tensor) -> Tensor:
        """Codes (B, D) from the prior, as many as images in the batch x, of its device and type."""
        return self.prior.sample((len(x), self.latent_dim)).to(x)

    @final
    def augment(self, x: Tensor) -> Tensor:
        """Images in [-1, 1] as the discriminator gets them in this training step."""
        return self.regularization.augment(x, training_progress(self))

    @final
    def augment_unit(self, x: Tensor) -> Tensor:
        """`augment` for images in [0, 1]."""
        return self.regularization.augment_unit(x, training_progress(self))

    @final
    def augment_real(self, x: Tensor) -> Tensor:
        """`augment` for real images; they require gradients if this step has the R1 penalty."""
        return self.augment(x).requires_grad_(self.has_r1())

    @final
    def r1_penalty(self, real_logits: Tensor, x: Tensor) -> Tensor:
        """Weighted R1 penalty, a scalar; 0 in steps without it. `x` is from `augment_real`."""
        return self.regularization.r1_penalty(real_logits, x, batch_number(self))

    @final
    def r1_terms(self, r1_penalty: Tensor) -> dict[str, Tensor]:
        """The penalty γ/2 E‖∇D(x)‖² for the curves; empty in steps without it."""
        interval = self.regularization.r1_interval
        return {"r1_penalty": r1_penalty / interval} if self.has_r1() else {}

    @final
    def has_r1(self) -> bool:
        return self.regularization.has_r1(batch_number(self))

    @final
    def probabilities(self, real_logits: Tensor, fake_logits: Tensor) -> dict[str, Tensor]:
        """Mean p(real) of real and of generated images, for the curves."""
        return discriminator_probabilities(real_logits, fake_logits, self.to_probability)

    @final
    def discriminate(self, x: Tensor, x_fake: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Logits of real images, of generated images, and the weighted R1 penalty.

        Images (B, C, H, W) in [-1, 1]. Only for a discriminator that computes one logit from an
        image, or from a pack of images.
        """
        x = self.augment_real(x)
        real_logits = self.discriminator(x)
        fake_logits = self.discriminator(self.augment(x_fake))
        return real_logits, fake_logits, self.r1_penalty(real_logits, x)

    @final
    def discriminator_step(self, loss: Tensor) -> None:
        """Update the discriminator by one step down the gradient of `loss`."""
        step_optimizer(self, DISCRIMINATOR, loss)

    @final
    def generator_step(self, loss: Tensor) -> None:
        """Update the generator, at every `discriminator_steps`-th batch."""
        if self.updates_generator():
            step_optimizer(self, GENERATOR, loss)

    @final
    def updates_generator(self) -> bool:
        """Return True if `generator_step` updates the generator at this batch."""
        return (batch_number(self) + 1) % self.optim.discriminator_steps == 0


class AdversarialTraining(AdversarialSteps):
    """A GAN with `generate`, and with a discriminator that computes one logit from images alone.

    `generate`: codes (B, D) → images (B, C, H, W) in [-1, 1], the discriminator's input. With
    packing m, there is one logit for m images.
    """

    if TYPE_CHECKING:

        def generate(self, z: Tensor) -> Tensor: ...

    @final
    def decode(self, z: Tensor) -> Tensor:
        """Codes (B, D) → images (B, C, H, W) in [0, 1]."""
        return (self.generate(z) + 1) / 2

    @final
    def features(self, x: Tensor) -> Tensor:
        """Images (B, C, H, W) in [0, 1] → features of the discriminator (B, F)."""
        return self.discriminator.features(self.regularization.repeat(2 * x - 1))

    @final
    def batch_logits(self, x: Tensor) -> Tensor:
        """Logits of images in [-1, 1], normalized by their own batch, as in training."""
        packs = self.regularization.pack(x)
        with batch_statistics(self.discriminator, len(packs)):
            return self.discriminator(packs)

    @final
    def real_logits(self, x: Tensor, y: Tensor) -> Tensor:
        """Logits of images (B, C, H, W) in [0, 1]; the labels y are not used."""
        return self.batch_logits(2 * x - 1)

    @final
    def fake_logits(self, z: Tensor) -> Tensor:
        """Logits of the images generated from codes (B, D)."""
        return self.batch_logits(self.generate(z))

    @final
    def adversarial_losses(self, x: Tensor, y: Tensor, z: Tensor) -> tuple[Tensor, Tensor]:
        """Losses of discriminator and generator for images x in [0, 1], without regularization."""
        fake_logits = self.fake_logits(z)
        return self.d_loss(self.real_logits(x, y), fake_logits), self.g_loss(fake_logits)

    @final
    def validation(self, x: Tensor, y: Tensor) -> dict[str, Tensor]:
        """Mean probabilities of images x in [0, 1], and of as many generated images."""
        fake_logits = self.fake_logits(self.sample_prior(x))
        return self.probabilities(self.real_logits(x, y), fake_logits)

    @final
    def configure_optimizers(self) -> Any:
        return adversarial_adam(self, self.generator.parameters())


def adversarial_adam(
    model: AdversarialSteps, generator: ParamsT
) -> tuple[list[Adam], list[LambdaLR]]:
    """Return optimizers and schedulers, generator first, for `configure_optimizers`.

    `generator`: the parameters that `generator_step` updates, or parameter groups of Adam.
    """
    total_steps = int(model.trainer.estimated_stepping_batches)
    return _adam_pair(
        model.optim, generator, model.discriminator.parameters(), total_steps=total_steps
    )


def _adam_pair(
    optim: AdversarialOptim, generator: ParamsT, discriminator: ParamsT, *, total_steps: int
) -> tuple[list[Adam], list[LambdaLR]]:
    opt_g = adam(generator, optim.generator_lr, betas=optim.betas)
    opt_d = adam(discriminator, optim.discriminator_lr, betas=optim.betas)
    if not optim.linear_decay:
        return [opt_g, opt_d], []
    generator_steps = max(1, total_steps // optim.discriminator_steps)
    return [opt_g, opt_d], [linear_decay(opt_g, generator_steps), linear_decay(opt_d, total_steps)]


def step_optimizer(model: LightningModule, index: int, loss: Tensor) -> None:
    """Step optimizer `index` of the model and its learning rate scheduler, if there is one."""
    optimizers, schedulers = model.optimizers(), model.lr_schedulers()
    assert isinstance(optimizers, list), "the model needs two optimizers"
    optimizer = optimizers[index]
    optimizer.zero_grad()
    model.manual_backward(loss)
    optimizer.step()
    if isinstance(schedulers, list):
        scheduler = schedulers[index]
        assert isinstance(scheduler, LRScheduler)
        scheduler.step()


@contextmanager
def frozen(network: nn.Module) -> Iterator[None]:
    """Compute no gradients for the weights of `network`. Gradients still pass through it."""
    network.requires_grad_(False)
    try:
        yield
    finally:
        network.requires_grad_(True)


def batch_number(model: LightningModule) -> int:
    """Number of batches before this one in the whole training. `batch_idx` restarts each epoch."""
    return int(model.trainer.fit_loop.total_batch_idx)


def training_progress(model: LightningModule) -> float:
    """Fraction of the training that is done, in [0, 1]."""
    return batch_number(model) / model.trainer.estimated_stepping_batches


def discriminator_probabilities(
    real_logits: Tensor,
    fake_logits: Tensor,
    to_probability: Callable[[Tensor], Tensor] = torch.sigmoid,
) -> dict[str, Tensor]:
    """Mean p(real) of real and of generated images; 0.5 and 0.5 where D cannot separate them."""
    return {
        "d_prob_real": to_probability(real_logits).mean(),
        "d_prob_fake": to_probability(fake_logits).mean(),
    }


def train_gan(
    generator: nn.Module,
    discriminator: nn.Module,
    *,
    real: Callable[[], Tensor],
    codes: Callable[[], Tensor],
    loss: str,
    regularization: DiscriminatorRegularization,
    steps: int,
    lr: float,
) -> None:
    """Train both networks in place for `steps` steps, outside of Lightning.

    `real` returns a batch of images (B, C, H, W) in [-1, 1], `codes` a batch of codes (B, D).
    Adam's learning rate falls linearly from `lr` to 0. `loss`: a name of `losses.adversarial`. The
    discriminator must be built for `regularization.packed_shape`, after `apply_to`.
    """
    d_loss, g_loss = make_adversarial_losses(loss, **regularization.labels)
    optim = AdversarialOptim(generator_lr=lr, discriminator_lr=lr, linear_decay=True)
    (opt_g, opt_d), schedulers = _adam_pair(
        optim, generator.parameters(), discriminator.parameters(), total_steps=steps
    )
    for step in range(steps):
        progress = step / steps
        x, x_fake = real(), generator(codes())
        x = regularization.augment(x, progress).requires_grad_(regularization.has_r1(step))
        real_logits = discriminator(x)
        fake_logits = discriminator(regularization.augment(x_fake.detach(), progress))
        r1_penalty = regularization.r1_penalty(real_logits, x, step)
        gradient_step(opt_d, d_loss(real_logits, fake_logits) + r1_penalty)
        with frozen(discriminator):
            fake_logits = discriminator(regularization.augment(x_fake, progress))
            gradient_step(opt_g, g_loss(fake_logits))
        for scheduler in schedulers:
            scheduler.step()


def gradient_step(optimizer: Optimizer, loss: Tensor) -> None:
    """One step of the optimizer down the gradient of `loss`, outside of Lightning."""
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
