"""Training steps of a GAN against gradient descent on the losses of its paper.

A test writes one batch of the algorithm as a generator function, with probabilities D = σ(logit):

    def algorithm(step):
        G, D = step.nets.generator, step.nets.discriminator
        x, x_fake = step.view(step.x), step.view(G(step.codes()).tanh())
        yield D, step.cross_entropy(prob(D(x)), prob(D(x_fake.detach()))) + step.r1(D, x)
        yield G, -prob(D(x_fake)).log().mean()

Each yield moves the networks down the gradient of the loss. `assert_steps` trains the model on the
same batches, with plain gradient descent in place of Adam, and compares all parameters.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Iterator
from fnmatch import fnmatch
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils.parametrizations import _SpectralNorm
from torch.nn.utils.parametrize import ParametrizationList

from latentlab.networks.regularization import DiscriminatorRegularization, MinibatchStddev
from latentlab.optim.adversarial import AdversarialOptim
from models.fixed_randomness import AUGMENTED, noise_of, replace_randomness
from models.lightning_stub import with_trainer

BATCHES, BATCH, TOTAL_BATCHES = 2, 6, 4  # two steps, of a training of four
Networks = nn.Module | Iterable[nn.Module] | dict[nn.Module, float]
Algorithm = Callable[["Step"], Iterator[tuple[Any, Tensor]]]


def prob(logits: Tensor) -> Tensor:
    """D = σ(logit)."""
    return 1 / (1 + (-logits).exp())


class Step:
    """One batch of the reference: copies of the networks, and the regularization in formulas.

    `x`: images (B, C, H, W) in [-1, 1]; `y`: classes (B,); `number`: of the batch, from 0.
    """

    codes: Callable[[], Tensor]
    """The next codes (B, D) of the prior."""

    def __init__(self, model: Any) -> None:
        self.nets = copy.deepcopy(model)
        self.optim: AdversarialOptim = model.optim
        plain = DiscriminatorRegularization()
        self.regularization = getattr(model, "regularization", plain)
        self._updates, self.number = {0: 0, 1: 0}, 0
        self.x, self.y = torch.empty(0), torch.empty(0)
        _exact_regularization(self.nets, self.regularization)

    def view(self, x: Tensor) -> Tensor:
        """Images in [-1, 1] as the discriminator gets them: augmented, with noise, packed."""
        options = self.regularization
        for name in options.diff_augment:
            x = AUGMENTED[name](x)
        std = options.instance_noise_std * (1 - self.number / TOTAL_BATCHES)
        x = x + std * noise_of(x)
        return torch.cat([x[slot :: options.packing] for slot in range(options.packing)], 1)

    def view_unit(self, x: Tensor) -> Tensor:
        """`view` for images in [0, 1]."""
        return (self.view(2 * x - 1) + 1) / 2

    def r1(self, logits: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
        """γ/2 E‖∇ logits(x)‖² (Mescheder et al. 2018, eq. 9), at each k-th batch k times that."""
        options = self.regularization
        if self.number % options.r1_interval:
            return torch.zeros((), dtype=x.dtype)
        x = x.detach().requires_grad_()
        slopes = torch.autograd.grad(logits(x).sum(), x, create_graph=True)[0]
        squared = sum(slope.square().sum() for slope in slopes) / len(slopes)
        return options.r1_gamma * options.r1_interval / 2 * squared

    def cross_entropy(self, p_real: Tensor, p_fake: Tensor) -> Tensor:
        """−E log D(x) − E log(1 − D(G(z))), with smoothed labels if the option is on."""
        real, fake = self.regularization.real_label, self.regularization.fake_label
        of_real = real * p_real.log() + (1 - real) * (1 - p_real).log()
        of_fake = fake * p_fake.log() + (1 - fake) * (1 - p_fake).log()
        return -of_real.mean() - of_fake.mean()

    @property
    def updates_generator(self) -> bool:
        """True at every k-th batch, for k steps of the discriminator."""
        return self.number % self.optim.discriminator_steps == self.optim.discriminator_steps - 1

    def run(self, algorithm: Algorithm, x: Tensor, y: Tensor) -> None:
        self.x, self.y = 2 * x - 1, y
        for networks, loss in algorithm(self):
            self._descend(networks, loss)
        self.number += 1

    def _descend(self, networks: Networks, loss: Tensor) -> None:
        rates = {networks: 1.0} if isinstance(networks, nn.Module) else networks
        rates = rates if isinstance(rates, dict) else dict.fromkeys(rates, 1.0)
        player = int(self.nets.discriminator in rates)
        if player == 0 and not self.updates_generator:
            return
        rate = self._rate(player)
        rows = [(p, rate * f) for net, f in rates.items() for p in net.parameters()]
        rows = [(p, r) for p, r in rows if p.requires_grad]
        gradients = torch.autograd.grad(loss, [p for p, _ in rows], allow_unused=True)
        for (parameter, each_rate), gradient in zip(rows, gradients, strict=True):
            if gradient is not None:
                parameter.data -= each_rate * gradient
        self._updates[player] += 1

    def _rate(self, player: int) -> float:
        optim = self.optim
        rate = (optim.generator_lr, optim.discriminator_lr)[player]
        if not optim.linear_decay:
            return rate
        total = TOTAL_BATCHES // (optim.discriminator_steps if player == 0 else 1)
        return rate * (1 - self._updates[player] / total)


class _Singular(nn.Module):
    """A weight divided by its largest singular value."""

    def forward(self, weight: Tensor) -> Tensor:
        return weight / torch.linalg.svdvals(weight.flatten(1))[0]


class _Stddev(nn.Module):
    """Features (B, F) and their standard deviation over the batch, averaged, (B, F + 1)."""

    def forward(self, h: Tensor) -> Tensor:
        centred = h - h.mean(0)
        std = (centred.square().mean(0) + 1e-8).sqrt().mean()
        return torch.cat([h, std.repeat(len(h), 1)], 1)


def _exact_regularization(nets: Any, options: DiscriminatorRegularization) -> None:
    """Replace the layers of the options by exact ones, and assert that they are there."""
    players = dict(nets.discriminator.named_modules())
    stddev = [name for name, module in players.items() if isinstance(module, MinibatchStddev)]
    assert len(stddev) == options.minibatch_stddev
    for name in stddev:
        nets.discriminator.set_submodule(name, _Stddev())
    for name, layer in players.items():
        if options.spectral_norm and isinstance(layer, nn.Conv2d | nn.Linear):
            if name.startswith("Q."):  # of InfoGAN: it reads codes, its slope has no bound
                assert not hasattr(layer, "parametrizations"), name
                continue
            (found,) = layer.parametrizations["weight"]
            assert isinstance(found, _SpectralNorm)
            layer.parametrizations["weight"][0] = _Singular()


def _converge_spectral_norm(model: Any) -> None:
    """Set the vectors of each power iteration to the singular vectors."""
    for weights in model.discriminator.modules():
        if isinstance(weights, ParametrizationList) and isinstance(weights[0], _SpectralNorm):
            matrix = weights.original.detach().flatten(1)
            u, _, v = torch.linalg.svd(matrix, full_matrices=False)
            weights[0]._u.copy_(u[:, 0])
            weights[0]._v.copy_(v[0])


def large_weights(model: Any) -> Any:
    """The model in float64, with weights so large that its losses are far from linear."""
    generator = torch.Generator().manual_seed(7)
    for parameter in model.parameters():
        fan_in = parameter[0].numel() if parameter.ndim > 1 else 10
        parameter.data += 0.7 * torch.randn(parameter.shape, generator=generator) / fan_in**0.5
    return model.double()


def assert_steps(
    model: Any, image_shape: tuple[int, int, int], algorithm: Algorithm, *, fixed: str = ""
) -> Step:
    """Assert that two training steps move each parameter as `algorithm` does.

    Each parameter must move, except those whose names match the pattern `fixed`. Images are black
    or white. Return the reference after both steps.
    """
    model, names = large_weights(model), [name for name, _ in model.named_parameters()]
    before, reference = copy.deepcopy(model), Step(model)
    left = _repeat_codes(model, reference)
    x = (torch.rand(BATCHES, BATCH, *image_shape) > 0.5).double()
    y = torch.arange(BATCHES * BATCH).view(BATCHES, BATCH) % 3
    with pytest.MonkeyPatch.context() as patch:
        replace_randomness(patch)
        with_trainer(model, total_batches=TOTAL_BATCHES)
        _converge_spectral_norm(model)
        model.optimizers()[1].register_step_post_hook(lambda *_: _converge_spectral_norm(model))
        reference.nets.train()
        for number in range(BATCHES):
            model.trainer.fit_loop.total_batch_idx = number
            terms = model.training_step((x[number], y[number]), number)
            _assert_sum_of_losses(terms)
            reference.run(algorithm, x[number], y[number])
            for name in names:
                _assert_equal(name, model, reference.nets)
    assert left["model"] == left["reference"], "codes are sampled as often as in the algorithm"
    still = [n for n in names if model.get_parameter(n).equal(before.get_parameter(n))]
    assert [name for name in still if not fnmatch(name, fixed)] == []
    return reference


def _assert_sum_of_losses(terms: dict[str, torch.Tensor]) -> None:
    """The curve "loss" of a GAN is the sum of the losses of its players. A VAE-GAN has its own."""
    if {"d_loss", "g_loss"} <= terms.keys() and "kl_nats" not in terms:
        players = [value for name, value in terms.items() if name.endswith("_loss")]
        torch.testing.assert_close(terms["loss"].detach(), sum(players).detach())


def _repeat_codes(model: Any, reference: Step) -> dict[str, int]:
    """Give the same codes to both. Return the numbers of calls so far."""
    calls = {"model": 0, "reference": 0}
    if not hasattr(model, "prior"):
        return calls
    codes = [model.prior.sample((BATCH, model.latent_dim)).double() for _ in range(3 * BATCHES)]

    def next_codes(who: str) -> Tensor:
        calls[who] += 1
        return codes[calls[who] - 1].clone()

    model.prior.sample = lambda shape, generator=None: next_codes("model")
    reference.codes = lambda: next_codes("reference")
    return calls


def _assert_equal(name: str, model: nn.Module, nets: nn.Module) -> None:
    found, expected = model.get_parameter(name), nets.get_parameter(name)
    assert expected.isfinite().all(), name
    torch.testing.assert_close(
        found, expected, rtol=1e-6, atol=1e-9, msg=lambda text: f"{name}: {text}"
    )
