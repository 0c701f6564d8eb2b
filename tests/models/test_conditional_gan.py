"""Conditional GAN: each step against the gradient of its losses; both networks use the class."""

import pytest
import torch

from latentlab.models.conditional_gan import UNSUPPORTED, ConditionalGAN
from latentlab.optim.adversarial import AdversarialOptim
from latentlab.samplers import ClassConditional, StandardNormal
from models.lightning_stub import with_trainer
from models.options import every_option
from models.steps import assert_steps, large_weights, prob

SHAPE = (1, 8, 8)
TWO_LEVELS = (1, 16, 16)  # so large that D has batch normalization


def conditional(num_classes=4, lr=2e-4):
    torch.manual_seed(0)
    optim = AdversarialOptim(generator_lr=lr, discriminator_lr=lr, linear_decay=True)
    return ConditionalGAN(
        SHAPE,
        prior=ClassConditional(),
        num_classes=num_classes,
        noise_dim=5,
        width=4,
        optim=optim,
    )


def mirza(step):
    """Mirza & Osindero 2014, eq. 2: x and G(eps, y) have one class y, and D gets it."""
    G, D = step.nets.generator, step.nets.discriminator
    one_hot = torch.eye(3).double()[step.y]
    x_fake = G(torch.cat([step.codes()[:, :5], one_hot], 1)).tanh()

    def of_class(x):
        return (D(x) * one_hot).sum(1)

    real, fake = step.view(step.x), step.view(x_fake.detach())
    loss = step.cross_entropy(prob(of_class(real)), prob(of_class(fake)))
    yield D, loss + step.r1(of_class, real)
    yield G, -prob(of_class(step.view(x_fake))).log().mean()


@every_option(UNSUPPORTED)
def test_each_step_follows_the_gradient_of_its_own_objective(settings):
    torch.manual_seed(0)
    sizes = {"num_classes": 3, "noise_dim": 5, "width": 4, "hidden": 6}
    model = ConditionalGAN(TWO_LEVELS, prior=ClassConditional(), **sizes, **settings)
    assert_steps(model, TWO_LEVELS, mirza)


def test_the_class_changes_the_outputs_of_both_networks():
    model = conditional().eval()
    z = model.prior.sample((6, model.latent_dim))
    images = [model.decode(model.condition(z, torch.full((6,), k))) for k in (0, 1)]
    assert not torch.equal(*images)
    x = torch.rand(6, *SHAPE)
    logits = [model.class_logits(x, torch.full((6,), k)) for k in (0, 1)]
    assert not torch.equal(*logits)


def test_generated_images_have_the_classes_of_the_batch():
    model, y = conditional(), torch.tensor([3, 1, 1, 0])
    z = model.sample_codes(torch.zeros(4, *SHAPE), y)
    assert z.shape == (4, 9)
    assert z[:, 5:].argmax(1).tolist() == [3, 1, 1, 0]


def test_the_logit_of_an_image_is_that_of_its_class():
    """Feature maps → LeakyReLU(0.2) of a linear layer → one logit for each class."""
    model, x = large_weights(conditional()).eval(), torch.rand(4, *SHAPE).double()
    y = torch.tensor([3, 1, 1, 0])
    z = model.sample_codes(x, y)
    hidden, _, last = model.discriminator.head

    def class_logits(x):
        maps = model.discriminator.trunk(2 * x - 1).permute(0, 2, 3, 1).reshape(4, -1)
        h = maps @ hidden.weight.T + hidden.bias
        return torch.maximum(h, 0.2 * h) @ last.weight.T + last.bias

    for found, logits in (
        (model.real_logits(x, y), class_logits(x)),
        (model.fake_logits(z), class_logits(model.decode(z))),
    ):
        expected = torch.stack([logits[0, 3], logits[1, 1], logits[2, 1], logits[3, 0]])
        torch.testing.assert_close(found, expected)


def test_training_learns_which_class_is_bright():
    model = with_trainer(conditional(num_classes=2, lr=2e-3), total_batches=200)
    y = torch.arange(32) % 2
    x = (0.1 + 0.8 * y[:, None, None, None]).expand(32, *SHAPE)
    for step in range(100):
        model.training_step((x, y), step)
    model.eval()
    z = model.prior.sample((16, model.latent_dim))
    with torch.no_grad():
        dark, bright = (model.decode(model.condition(z, torch.full((16,), k))) for k in (0, 1))
    assert float(bright.mean() - dark.mean()) > 0.3


@pytest.mark.parametrize("num_classes", [0, 1])
def test_data_without_two_classes_are_refused(num_classes):
    with pytest.raises(ValueError, match="needs labels of 2 classes or more"):
        conditional(num_classes)


def test_a_sampler_without_classes_is_refused():
    with pytest.raises(ValueError, match=r"class_path to latentlab\.samplers\.ClassConditional"):
        ConditionalGAN(SHAPE, prior=StandardNormal(), num_classes=4)
