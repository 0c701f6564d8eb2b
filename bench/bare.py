"""Training loops in plain PyTorch, as in textbooks: the baseline of the speed measurements.

One float tensor of all images in memory, a permutation per epoch, Adam as it comes, nothing logged,
nothing saved. Imports nothing of latentlab. `python bench/bare.py IMAGES.npy EPOCHS` is the whole
script that bench/process.py times: read, train a VAE, save.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class VAE(nn.Module):
    """784-400-20-400-784, Bernoulli."""

    def __init__(self) -> None:
        super().__init__()
        self.hidden = nn.Linear(784, 400)
        self.mu = nn.Linear(400, 20)
        self.logvar = nn.Linear(400, 20)
        self.back = nn.Linear(20, 400)
        self.out = nn.Linear(400, 784)

    def loss(self, x: Tensor) -> Tensor:
        x = x.flatten(1)
        h = F.relu(self.hidden(x))
        mu, logvar = self.mu(h), self.logvar(h)
        z = mu + torch.exp(0.5 * logvar) * torch.randn_like(mu)
        x_hat = torch.sigmoid(self.out(F.relu(self.back(z))))
        nll = F.binary_cross_entropy(x_hat, x, reduction="sum")
        kl = -0.5 * torch.sum(1 + logvar - mu.pow(2) - logvar.exp())
        return (nll + kl) / len(x)


class StackedAE(nn.Module):
    """784-300-150-300-784, SELU, squared error."""

    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(
            *(nn.Linear(784, 300), nn.SELU(), nn.Linear(300, 150)),
            *(nn.Linear(150, 300), nn.SELU(), nn.Linear(300, 784), nn.Sigmoid()),
        )

    def loss(self, x: Tensor) -> Tensor:
        x = x.flatten(1)
        return (self.net(x) - x).pow(2).sum(1).mean()


def batches(images: Tensor, batch_size: int, steps: int) -> Iterator[Tensor]:
    per_epoch = len(images) // batch_size
    for step in range(steps):
        if step % per_epoch == 0:
            order = torch.randperm(len(images))
        place = step % per_epoch * batch_size
        yield images[order[place : place + batch_size]]


def train_autoencoder(model: nn.Module, images: Tensor, batch_size: int, steps: int) -> None:
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    for x in batches(images, batch_size, steps):
        loss = model.loss(x)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()


def dcgan(shape: tuple[int, int, int], width: int) -> tuple[nn.Module, nn.Module]:
    """Radford et al. 2016 for 28 or 32 pixels, the layers of latentlab.networks.conv."""
    channels, size, _ = shape
    wide = [width * 4, width * 2, width] if size == 32 else [width * 2, width]
    side = size // 2 ** len(wide)
    generator = [
        nn.ConvTranspose2d(100, wide[0], side, bias=False),
        *(nn.BatchNorm2d(wide[0]), nn.ReLU(True)),
    ]
    for fan_in, fan_out in pairwise(wide):
        generator += [
            nn.ConvTranspose2d(fan_in, fan_out, 4, 2, 1, bias=False),
            *(nn.BatchNorm2d(fan_out), nn.ReLU(True)),
        ]
    generator += [nn.ConvTranspose2d(width, channels, 4, 2, 1), nn.Tanh()]
    discriminator = [nn.Conv2d(channels, width, 4, 2, 1), nn.LeakyReLU(0.2, True)]
    for fan_out, fan_in in reversed(list(pairwise(wide))):
        discriminator += [
            nn.Conv2d(fan_in, fan_out, 4, 2, 1, bias=False),
            *(nn.BatchNorm2d(fan_out), nn.LeakyReLU(0.2, True)),
        ]
    discriminator += [nn.Flatten(), nn.Linear(wide[0] * side * side, 1)]
    return nn.Sequential(*generator), nn.Sequential(*discriminator)


def train_dcgan(
    images: Tensor, batch_size: int, steps: int, *, width: int, draw_twice: bool = True
) -> None:
    """Goodfellow et al. 2014, algorithm 1: new noise for each player's step.

    `draw_twice` False as in PyTorch's tutorial: G's step reuses the fake images of D's step.
    """
    generator, discriminator = dcgan(tuple(images.shape[1:]), width)
    opt_g = torch.optim.Adam(generator.parameters(), lr=2e-4, betas=(0.5, 0.999))
    opt_d = torch.optim.Adam(discriminator.parameters(), lr=2e-4, betas=(0.5, 0.999))
    criterion = nn.BCEWithLogitsLoss()
    real, fake = torch.ones(batch_size, 1), torch.zeros(batch_size, 1)
    for x in batches(images, batch_size, steps):
        x = 2 * x - 1
        opt_d.zero_grad()
        x_fake = generator(torch.randn(batch_size, 100, 1, 1))
        d_loss = criterion(discriminator(x), real)
        d_loss = d_loss + criterion(discriminator(x_fake.detach()), fake)
        d_loss.backward()
        opt_d.step()
        opt_g.zero_grad()
        if draw_twice:
            x_fake = generator(torch.randn(batch_size, 100, 1, 1))
        criterion(discriminator(x_fake), real).backward()
        opt_g.step()


def loop(model: str, *, width: int = 32) -> Callable[[Tensor, int, int], None]:
    """Return the training loop of that name: (images, batch_size, steps) → None."""
    if model == "vae":
        return lambda *args: train_autoencoder(VAE(), *args)
    if model == "stacked_ae":
        return lambda *args: train_autoencoder(StackedAE(), *args)
    return lambda *args: train_dcgan(*args, width=width, draw_twice=model != "tutorial")


def main(path: str, epochs: int) -> None:
    import numpy as np

    images = torch.from_numpy(np.load(path)).float() / 255
    model = VAE()
    start = time.perf_counter()
    train_autoencoder(model, images, 128, epochs * (len(images) // 128))
    print(f"{time.perf_counter() - start:.2f} s of training")
    torch.save(model.state_dict(), path + ".pt")


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
