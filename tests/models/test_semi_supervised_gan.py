"""Semi-supervised GAN: each step against the gradient of its losses; labelled images."""

import pytest
import torch

from latentlab.contracts import Split
from latentlab.losses.adversarial import discriminator_loss, real_logit
from latentlab.models import semi_supervised_gan
from latentlab.models.semi_supervised_gan import (
    UNSUPPORTED,
    SemiSupervisedGAN,
    SemiSupervisedNetworks,
    Supervision,
)
from latentlab.networks.mlp import GaussianNoise
from latentlab.networks.regularization import DiscriminatorRegularization
from latentlab.optim.adversarial import AdversarialOptim
from latentlab.samplers import Uniform
from latentlab.utils.errors import LatentlabError
from models.fixed_randomness import mirror
from models.lightning_stub import with_trainer
from models.options import RATES, every_option
from models.steps import TOTAL_BATCHES, assert_steps

SHAPE = (1, 8, 8)


def semi_supervised(noise=(0.3, 0.5), num_classes=3, **supervision):
    torch.manual_seed(0)
    return SemiSupervisedGAN(
        SHAPE,
        prior=Uniform(),
        num_classes=num_classes,
        latent_dim=5,
        networks=SemiSupervisedNetworks(hidden=[12, 6], generator_hidden=[8], noise=noise),
        supervision=Supervision(**{"labelled_batch_size": 4, **supervision}),
    )


def salimans(labelled, consistency):
    """Salimans et al. 2016, sections 3.1 and 5, and consistency: p is over K classes and "fake".

    `labelled`: images (N, C, H, W) and classes of the labelled batch.
    """

    def algorithm(step):
        G, D = step.nets.generator, step.nets.discriminator
        x = (step.x + 1) / 2
        x_fake = G(step.codes()).sigmoid().view(x.shape)
        x_labelled, y = labelled

        def p(x):
            logits = D["head"](D["trunk"](x.flatten(1)))
            return torch.cat([logits, torch.zeros(len(x), 1)], 1).softmax(1)

        def of_classes(x):
            return p(x)[:, :-1] / p(x)[:, :-1].sum(1, keepdim=True)

        real, fake = step.view_unit(x), step.view_unit(x_fake.detach())
        loss = step.cross_entropy(1 - p(real)[:, -1], 1 - p(fake)[:, -1])
        loss = loss - of_classes(mirror(x_labelled, 0.25))[range(len(y)), y].log().mean()
        target = (of_classes(real) ** 2).detach()
        target = target / target.sum(1, keepdim=True)
        weight = consistency * min(1, step.number / TOTAL_BATCHES / 0.2)
        loss = loss - weight * (target * of_classes(mirror(x, 0.25)).log()).sum(1).mean()
        yield D, loss + step.r1(lambda x: ((1 - p(x)[:, -1]) / p(x)[:, -1]).log(), real)

        def f(x):
            return D["trunk"](step.view_unit(x).flatten(1))

        yield G, ((f(x).mean(0) - f(x_fake).mean(0)) ** 2).sum()

    return algorithm


def assert_semi_supervised_steps(consistency, **settings):
    torch.manual_seed(0)
    model = SemiSupervisedGAN(
        SHAPE,
        prior=Uniform(),
        num_classes=3,
        latent_dim=5,
        networks=SemiSupervisedNetworks(hidden=[7, 6], generator_hidden=[8], noise=(0.3, 0.5)),
        supervision=Supervision(1, 0, 2, affine_strength=0.25, consistency_weight=consistency),
        **settings,
    )
    model.labelled_x.copy_(255 * (torch.rand(3, 64) > 0.5))
    model.labelled_y.copy_(torch.tensor([2, 0, 1]))
    images = model.labelled_x[[2, 1]].view(2, *SHAPE).double() / 255
    assert_steps(model, SHAPE, salimans((images, model.labelled_y[[2, 1]]), consistency))


@every_option(UNSUPPORTED)
def test_each_step_follows_the_gradient_of_its_own_objective(settings, monkeypatch):
    monkeypatch.setattr(semi_supervised_gan, "random_affine", mirror)
    assert_semi_supervised_steps(3.0, **settings)


def test_without_consistency_the_steps_are_those_of_the_paper(monkeypatch):
    monkeypatch.setattr(semi_supervised_gan, "random_affine", mirror)
    assert_semi_supervised_steps(0.0, optim=AdversarialOptim(**RATES))


def test_the_optimal_discriminator_of_k_plus_one_classes_is_the_ratio_of_densities():
    """On 4 values of x: exp l_k(x) = p(x, y = k) / p_g(x) minimizes the loss (section 5)."""
    g = torch.Generator().manual_seed(0)
    p = torch.rand(4, 3, generator=g, dtype=torch.float64)
    p, p_g = p / p.sum(), torch.tensor([0.1, 0.2, 0.3, 0.4], dtype=torch.float64)
    logits = torch.zeros(4, 3, dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.LBFGS([logits], max_iter=300, line_search_fn="strong_wolfe")

    def closure():
        optimizer.zero_grad()
        classification_loss = -(p * logits.log_softmax(1)).sum()
        real = real_logit(logits)
        pairs = [
            discriminator_loss(real[i : i + 1], real[j : j + 1]) * p[i].sum() * p_g[j]
            for i in range(4)
            for j in range(4)
        ]
        loss = classification_loss + sum(pairs)
        loss.backward()
        return loss

    optimizer.step(closure)
    torch.testing.assert_close(logits.detach().exp(), p / p_g[:, None], rtol=1e-3, atol=1e-4)


def test_too_few_images_of_a_class_are_refused():
    images, labels = torch.zeros(60, *SHAPE, dtype=torch.uint8), torch.arange(60) % 3
    labels[:3] = torch.tensor([1, 1, 2])
    model = with_trainer(semi_supervised(labels_per_class=20), Split(images, labels))
    with pytest.raises(LatentlabError, match="class 0 has 19 training images"):
        model.on_fit_start()


def test_training_uses_the_labels_of_the_selected_images_only():
    images = (255 * torch.rand(60, *SHAPE)).to(torch.uint8)
    labels = torch.arange(60) % 3
    labelled = Split(images, labels).balanced(12, seed=0)
    assert labelled.labels.bincount().tolist() == [4, 4, 4]
    weights = []
    for batch_labels in (labels, torch.full_like(labels, -1)):
        model = with_trainer(semi_supervised(labels_per_class=4), Split(images, labels))
        model.on_fit_start()
        assert torch.equal(model.labelled_x, labelled.images.flatten(1))
        torch.manual_seed(5)
        for step in range(3):
            model.training_step((images[:20] / 255, batch_labels[:20]), step)
        weights.append(torch.cat([value.detach().flatten() for value in model.parameters()]))
    assert torch.equal(*weights)


def test_the_labelled_images_are_training_images_chosen_by_the_label_seed():
    images = (255 * torch.rand(60, *SHAPE)).to(torch.uint8)
    split, asked, chosen = Split(images, torch.arange(60) % 3), [], []
    for seed in (0, 1):
        model = with_trainer(semi_supervised(labels_per_class=4, label_seed=seed))
        model.trainer.datamodule.split = lambda name: asked.append(name) or split
        model.on_fit_start()
        assert torch.equal(model.labelled_x, split.balanced(12, seed=seed).images.flatten(1))
        chosen.append(model.labelled_x)
    assert asked == ["train", "train"]
    assert not torch.equal(*chosen)


def test_consistency_is_of_real_images_and_rises_in_the_first_fifth(monkeypatch):
    """With maps that change nothing and no noise, H(q, p(y|x)) is added to the loss of D."""
    monkeypatch.setattr(semi_supervised_gan, "random_affine", lambda x, strength: x)
    images = (255 * torch.rand(60, *SHAPE)).to(torch.uint8)
    split, x = Split(images, torch.arange(60) % 3), images[:20] / 255

    def classification_loss(consistency_weight, step):
        supervision = {"labels_per_class": 4, "affine_strength": 0.2}
        model = semi_supervised(
            noise=(0.0, 0.0), **supervision, consistency_weight=consistency_weight
        )
        model = with_trainer(model, split)
        model.trainer.fit_loop.total_batch_idx = step  # of 10
        model.on_fit_start()
        logits = model.classify(x).detach()
        torch.manual_seed(5)
        terms = model.training_step((x, torch.zeros(20)), 0)
        return terms["classification_loss"].item(), logits

    without, logits = classification_loss(0.0, 5)
    p = logits.softmax(1)
    q = p**2 / (p**2).sum(1, keepdim=True)
    term = -(q * p.log()).sum(1).mean().item()
    for step, weight in ((0, 0.0), (1, 1.5), (2, 3.0), (5, 3.0)):
        found = classification_loss(3.0, step)[0]
        assert found - without == pytest.approx(weight * term, abs=1e-5)


@pytest.mark.parametrize(
    "settings",
    [
        {"consistency_weight": 1.0},
        {"consistency_weight": -1.0, "affine_strength": 0.1},
        {"affine_strength": 1.0},
    ],
)
def test_consistency_without_affine_maps_and_invalid_settings_are_refused(settings):
    with pytest.raises(ValueError, match="affine_strength"):
        semi_supervised(**settings)


def test_classification_error_is_the_fraction_of_wrong_classes():
    model = semi_supervised().eval()
    x = torch.rand(10, *SHAPE)
    predicted = model.classify(x).argmax(1)
    y = torch.where(torch.arange(10) < 7, predicted, (predicted + 1) % 3)
    error = model.validation_step((x, y), 0)["classification_error"]
    assert float(error) == pytest.approx(0.3)


def test_there_is_noise_in_training_only():
    noise, x = GaussianNoise(0.5), torch.zeros(20_000)
    assert float(noise(x).std()) == pytest.approx(0.5, rel=0.03)
    assert torch.equal(noise.eval()(x), x)


def test_a_statistic_over_labelled_real_and_fake_images_is_refused():
    """All rows would get one number, and what D says of an image would depend on its batch."""
    with pytest.raises(ValueError, match=r"minibatch_stddev is True, but .* class of one image"):
        SemiSupervisedGAN(
            SHAPE,
            prior=Uniform(),
            num_classes=3,
            regularization=DiscriminatorRegularization(minibatch_stddev=True),
        )


def test_labels_of_two_classes_are_needed():
    with pytest.raises(ValueError, match="labels_per_class is 0: it must be ≥ 1"):
        semi_supervised(labels_per_class=0)
    with pytest.raises(ValueError, match="needs labels of 2 classes or more"):
        semi_supervised(num_classes=1)
    assert semi_supervised(num_classes=2).num_labelled == 20
