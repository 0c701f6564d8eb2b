"""The diagnosis against scipy, scikit-learn and games whose state is known by construction."""

import dataclasses
import math
from types import SimpleNamespace

import pytest
import torch
from scipy.stats import entropy
from sklearn.metrics import roc_auc_score
from torch import nn

from latentlab.config import EvaluationSettings
from latentlab.contracts import Split
from latentlab.data.prepared import Meta
from latentlab.evaluation import Yardsticks
from latentlab.models.dcgan import DCGAN
from latentlab.models.gan import GAN
from latentlab.models.vae import VAE
from latentlab.models.wgan import WGAN
from latentlab.priors import StandardNormal
from latentlab.studies import diagnosis

SHAPE = (1, 6, 6)


def thirds(x):
    """The brightness of each third: a judge that is right by construction. (B, 3)."""
    return x.unflatten(3, (3, 2)).mean((1, 2, 4))


def images(labels, seed):
    generator = torch.Generator().manual_seed(seed)
    made = torch.randint(0, 90, (len(labels), *SHAPE), generator=generator)
    for row, label in enumerate(labels.tolist()):
        made[row, :, :, 2 * label : 2 * label + 2] += 150
    return made.to(torch.uint8)


def yard(classes=3):
    labels = torch.arange(90) % 3
    names = tuple("abc"[:classes]) if classes else None
    counts = {"train": 90, "val": 9, "test": 90}
    return Yardsticks(
        Meta("toy", SHAPE, names, counts, (), 0, "0"),
        Split(images(labels, 0), labels),
        Split(images(labels, 1), labels),
        eyes=lambda x: x.flatten(1),
        judge=thirds if classes else None,
        settings=EvaluationSettings(),
    )


class Linear(nn.Module):
    """D(x) = d · Σ pixels, and D of a fake is d · g z: both gradients are known."""

    latent_dim, border = 1, 0.0

    def __init__(self):
        super().__init__()
        self.generator = nn.Linear(1, 1, bias=False)
        self.discriminator = nn.Linear(1, 1, bias=False)
        with torch.no_grad():
            self.generator.weight.fill_(3.0)
            self.discriminator.weight.fill_(2.0)

    def score_real(self, x, y):
        return self.discriminator(x.sum((1, 2, 3))[:, None]).squeeze(1)

    def score_fake(self, z):
        return self.discriminator(self.generator(z)).squeeze(1)

    def losses(self, x, y, z):
        fake = self.score_fake(z)
        return fake.mean() - self.score_real(x, y).mean(), -fake.mean()


def numbers(**changed):
    healthy = {
        "classes_covered": 3.0,
        "feature_spread": 1.0,
        "d_accuracy_train": 0.6,
        "d_accuracy_fake": 0.6,
        "g_gradient_norm": 1.0,
    }
    return {**healthy, **changed}


def test_class_kl_is_scipys():
    q, p = torch.tensor([0.7, 0.3, 0.0]).double(), torch.tensor([0.2, 0.3, 0.5]).double()
    assert diagnosis.class_kl(q, p) == pytest.approx(entropy(q.numpy(), p.numpy()))
    assert diagnosis.class_kl(p, p) == pytest.approx(0)


def test_a_generator_of_one_class_covers_one_and_lies_log_three_away():
    fakes = images(torch.zeros(90, dtype=torch.int64), 2).float() / 255
    found, shares = diagnosis.coverage(yard(), fakes)
    assert found["classes_covered"] == 1
    assert found["class_kl_nats"] == pytest.approx(math.log(3))
    assert shares["fakes"].tolist() == [1, 0, 0]
    assert 0 < found["feature_spread"] < 0.5


def test_a_class_is_covered_from_a_tenth_of_its_share_on():
    labels = torch.tensor([0] * 58 + [1] * 30 + [2] * 2)  # 2 of 90 is below a tenth of a third
    found, _ = diagnosis.coverage(yard(), images(labels, 3).float() / 255)
    assert found["classes_covered"] == 2
    labels = torch.tensor([0] * 57 + [1] * 30 + [2] * 3)
    found, _ = diagnosis.coverage(yard(), images(labels, 3).float() / 255)
    assert found["classes_covered"] == 3


def test_a_class_that_the_data_lack_need_not_be_covered(tmp_path):
    labels = torch.arange(90) % 2
    lacking = dataclasses.replace(yard(), test=Split(images(labels, 1), labels))
    trained = SimpleNamespace(
        module=Linear(),
        draw=lambda count, seed: torch.ones(count, 1),
        decode=lambda z: images(torch.arange(len(z)) % 2, 0).float() / 255,
    )
    finding = diagnosis.study(trained, lacking)
    assert finding.numbers["classes_covered"] == 2
    assert finding.flags == []
    trained.decode = lambda z: images(torch.arange(len(z)) % 2 * 2, 0).float() / 255
    finding = diagnosis.study(trained, lacking)
    assert finding.numbers["classes_covered"] == 1, "the third class is none of the data's"
    assert "collapse: 1 of 2 classes" in finding.flags


def test_spread_is_the_ratio_of_total_variances_and_needs_no_classes():
    bare = yard(classes=0)
    real = bare.test.images.float() / 255
    found, shares = diagnosis.coverage(bare, real * 0.5)
    assert found == {"feature_spread": pytest.approx(0.25)}
    assert shares == {}


def test_discrimination_is_counted_and_scikit_learns():
    scores = {k: torch.randn(40) + m for k, m in (("test", 0.5), ("train", 1.0), ("fake", -0.5))}
    found = diagnosis.discrimination(scores, 0.0)
    truth = [1] * 40 + [0] * 40
    said = torch.cat([scores["test"], scores["fake"]])
    assert found["d_auroc"] == pytest.approx(roc_auc_score(truth, said.numpy()))
    assert found["d_accuracy_train"] == sum(s > 0 for s in scores["train"].tolist()) / 40
    assert found["d_accuracy_fake"] == sum(s <= 0 for s in scores["fake"].tolist()) / 40


def test_a_critic_without_a_border_is_read_from_the_middle():
    scores = {"test": torch.tensor([8.0, 4]), "train": torch.full((2,), 9.0), "fake": torch.ones(2)}
    found = diagnosis.discrimination(scores, None)
    assert found["d_accuracy_test"] == 0.5
    assert found["d_accuracy_fake"] == found["d_auroc"] == 1


def test_gradient_norms_are_those_of_the_closed_form():
    """∂(d Σ z g − d Σ x)/∂d = g z̄ − x̄ and ∂(−d g z)/∂g = −d z̄."""
    codes = torch.tensor([[1.0], [3.0]])
    trained = SimpleNamespace(module=Linear(), draw=lambda count, seed: codes)
    real = Split(torch.full((2, *SHAPE), 255, dtype=torch.uint8))
    found = diagnosis.gradients(trained, real, 0)
    assert found["d_gradient_norm"] == pytest.approx(abs(3 * 2 - 36))
    assert found["g_gradient_norm"] == pytest.approx(2 * 2)


@pytest.mark.parametrize(
    ("changed", "flag"),
    [
        ({"classes_covered": 2.0}, "collapse: 2 of 3 classes"),
        ({"feature_spread": 0.3}, "collapse: fakes vary 0.30 times as much as images"),
        ({"d_accuracy_train": 1.0, "d_accuracy_fake": 0.96}, "D has won: it tells 96% right"),
        ({"g_gradient_norm": 2e-5}, "vanishing gradient: 2e-05"),
    ],
)
def test_each_sickness_has_its_flag(changed, flag):
    assert diagnosis.flags(numbers(), 3) == []
    assert diagnosis.flags(numbers(d_accuracy_fake=0.99), 3) == [], "D says fake of everything"
    assert diagnosis.flags(numbers(**changed), 3) == [flag]


def test_it_asks_every_gan_and_no_autoencoder():
    settings = {"prior": StandardNormal(), "latent_dim": 4}
    gans = [DCGAN((1, 8, 8), **settings), GAN((1, 8, 8), **settings), WGAN((1, 8, 8), **settings)]
    assert all(diagnosis.applies(gan) for gan in gans)
    assert not diagnosis.applies(VAE((1, 8, 8)))


@pytest.mark.parametrize("classes", [3, 0])
def test_the_whole_study_writes_its_pictures(classes, tmp_path):
    model = Linear()
    trained = SimpleNamespace(
        module=model,
        draw=lambda count, seed: torch.ones(count, 1),
        decode=lambda z: images(torch.arange(len(z)) % 3, 0).float() / 255,
    )
    finding = diagnosis.study(trained, yard(classes))
    assert finding.flags == []
    assert [p.name for p in finding.pictures] == (["classes"] if classes else []) + ["scores"]
    for picture in finding.pictures:
        picture.draw(tmp_path / "a.png")
        assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")
