"""The two alternating steps of DCGAN, trained by Lightning, against a loop in plain PyTorch."""

import copy

import pytest
import torch
from lightning import LightningModule, Trainer
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from latentlab.models.dcgan import DCGAN
from latentlab.training.trainer import quiet_lightning


class ListPrior(nn.Module):
    """A prior whose samples are given."""

    def __init__(self, codes):
        super().__init__()
        self.codes = list(codes)

    def fit(self, codes):
        pass

    def sample(self, shape, generator=None):
        return self.codes.pop(0)


class RecordingDCGAN(DCGAN):
    """Record the weights of both networks before and after each optimizer step."""

    validation_step = LightningModule.validation_step

    def on_train_start(self):
        self.steps = []
        for name, optimizer in zip("GD", self.optimizers(), strict=True):
            optimizer = optimizer.optimizer
            optimizer.register_step_pre_hook(lambda *_: setattr(self, "before", self.weights()))
            optimizer.register_step_post_hook(
                lambda *_, name=name: self.steps.append(
                    (name, self.before, self.weights(), self.discriminator_grads())
                )
            )

    def weights(self):
        nets = {"G": self.generator, "D": self.discriminator}
        return {k: [p.detach().clone() for p in net.parameters()] for k, net in nets.items()}

    def discriminator_grads(self):
        return [p.grad.clone() for p in self.discriminator.parameters()]


def train(generator_loss="non_saturating"):
    """Train on three batches in float64. Return initial networks, batches, codes, trained model."""
    torch.manual_seed(0)
    codes = torch.randn(3, 16, 5, dtype=torch.float64)
    x = torch.rand(3, 16, 1, 8, 8, dtype=torch.float64)
    prior = ListPrior(codes)
    model = RecordingDCGAN((1, 8, 8), prior=prior, latent_dim=5, width=4, loss=generator_loss)
    model = model.double()
    initial = copy.deepcopy((model.generator, model.discriminator))
    trainer = Trainer(
        accelerator="cpu",
        precision="64-true",
        max_epochs=1,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    quiet_lightning()
    trainer.fit(model, DataLoader(TensorDataset(x, torch.zeros(3)), batch_size=None))
    return initial, x, codes, model


def equal(a, b):
    return all(torch.equal(x, y) for x, y in zip(a, b, strict=True))


def test_each_step_updates_one_network():
    *_, model = train()
    assert [name for name, *_ in model.steps] == ["D", "G"] * 3
    for name, before, after, _ in model.steps:
        other = {"D": "G", "G": "D"}[name]
        assert equal(before[other], after[other])
        assert not equal(before[name], after[name])
    for (*_, grads), (*_, later) in zip(model.steps[::2], model.steps[1::2], strict=True):
        assert equal(grads, later), "the generator's step adds no gradient to D"
    assert all(p.requires_grad for p in model.parameters())


GENERATOR_LOSSES = {  # Goodfellow 2014, as functions of the probability D
    "minimax": lambda d: (1 - d).log().mean(),
    "non_saturating": lambda d: -d.log().mean(),
    "maximum_likelihood": lambda d: -(d / (1 - d)).mean(),
}


@pytest.mark.parametrize("name", list(GENERATOR_LOSSES))
def test_training_equals_goodfellows_algorithm_in_plain_pytorch(name):
    (generator, discriminator), batches, codes, model = train(name)
    adam = {"lr": 2e-4, "betas": (0.5, 0.999)}
    opt_g = torch.optim.Adam(generator.parameters(), **adam, fused=False)
    opt_d = torch.optim.Adam(discriminator.parameters(), **adam, fused=False)
    for x, z in zip(batches, codes, strict=True):
        x_fake = torch.tanh(generator(z))
        prob_real = torch.sigmoid(discriminator(2 * x - 1))
        prob_fake = torch.sigmoid(discriminator(x_fake.detach()))
        value = prob_real.log().mean() + (1 - prob_fake).log().mean()
        opt_d.zero_grad()
        (-value).backward()
        opt_d.step()
        loss = GENERATOR_LOSSES[name](torch.sigmoid(discriminator(x_fake)))
        opt_g.zero_grad()
        loss.backward()
        opt_g.step()
    for expected, got in ((generator, model.generator), (discriminator, model.discriminator)):
        for (key, a), b in zip(
            expected.state_dict().items(), got.state_dict().values(), strict=True
        ):
            assert torch.allclose(a.double(), b.double(), rtol=1e-6, atol=1e-9), key
