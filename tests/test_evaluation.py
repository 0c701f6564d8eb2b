"""One yardstick: its numbers are those of scikit-learn, scipy and counting by hand."""

import dataclasses
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from scipy.linalg import sqrtm
from sklearn import decomposition

from latentlab.config import EvaluationSettings
from latentlab.contracts import Split, to_float
from latentlab.data.prepared import Meta
from latentlab.evaluation import Yardsticks, load_reference, save_reference
from latentlab.metrics.pca import PCA
from latentlab.stages.evaluate import objective

SHAPE = (1, 6, 6)
CLASSES = 3


def make_split(count, seed):
    """Three kinds of images: a bright left, middle or right third, with noise."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(count) % CLASSES
    images = torch.randint(0, 90, (count, *SHAPE), generator=generator)
    for row, label in enumerate(labels.tolist()):
        images[row, :, :, 2 * label : 2 * label + 2] += 150
    return Split(images.to(torch.uint8), labels)


def thirds(x):
    """The brightness of each third: a judge that is right by construction. (B, 3)."""
    return x.unflatten(3, (3, 2)).mean((1, 2, 4))


@pytest.fixture
def yard():
    counts = {"train": 90, "val": 9, "test": 60}
    meta = Meta("toy", SHAPE, tuple("abc"), counts, (), 0, "0")
    return Yardsticks(
        meta,
        make_split(90, 0),
        make_split(60, 1),
        eyes=lambda x: x[:, :, 2:4].flatten(1)[:, ::2],  # (B, 6)
        judge=thirds,
        settings=EvaluationSettings(),
    )


def scipy_fid(a, b):
    cov_a, cov_b = np.cov(a, rowvar=False), np.cov(b, rowvar=False)
    cross = sqrtm(cov_a @ cov_b).real
    return ((a.mean(0) - b.mean(0)) ** 2).sum() + np.trace(cov_a + cov_b - 2 * cross)


def test_real_against_itself_is_perfect(yard):
    scores = yard.score_samples(yard.test, yard.real_features())
    assert scores["fid"] == pytest.approx(0, abs=1e-9)
    assert [scores[key] for key in ("precision", "recall", "coverage")] == [1, 1, 1]


def test_fid_is_scipys_in_the_features_of_the_eyes(yard):
    fake = torch.rand(80, *SHAPE, generator=torch.Generator().manual_seed(2))
    scores = yard.score_samples(fake, yard.real_features())
    real = yard.eyes(to_float(yard.test.images)).double().numpy()
    assert scores["fid"] == pytest.approx(scipy_fid(real, yard.eyes(fake).double().numpy()), 1e-5)
    assert {"kid", "precision", "recall", "density", "coverage"} <= set(scores)


def test_reconstructions_are_scored_by_error_and_by_class(yard):
    x = to_float(yard.test.images)
    x_hat = x * 0.9
    x_hat[:15] = x_hat[:15].roll(2, 3)  # a quarter of them now looks like the next class
    scores = yard.score_reconstructions(yard.test, x_hat)
    sse = ((x - x_hat).double() ** 2).sum((1, 2, 3))
    assert scores["reconstruction_sse"] == pytest.approx(sse.mean().item(), rel=1e-6)
    assert scores["reconstruction_mse"] == pytest.approx(sse.mean().item() / 36, rel=1e-6)
    psnr = -10 * (sse / 36).log10()
    assert scores["psnr_db"] == pytest.approx(psnr.mean().item(), rel=1e-6)
    assert scores["judge_accuracy"] == 0.75


def test_reconstructions_of_the_first_few_are_scored_against_those_few(yard):
    first = yard.test.first(7)
    scores = yard.score_reconstructions(first, to_float(first.images))
    assert scores["reconstruction_sse"] == 0
    assert scores["judge_accuracy"] == 1


def test_the_probe_reads_the_features_it_is_given(yard):
    assert yard.score_features(thirds)["probe_accuracy"] == 1
    chance = yard.score_features(lambda x: x[:, :, 0, 0] * 0)  # nothing to read
    assert chance["probe_accuracy"] == pytest.approx(1 / 3)


def test_pca_is_scikit_learns(yard):
    pca = PCA.fit(yard.train)
    row = yard.score_pca(pca, 4, yard.real_features())
    train, test = (to_float(s.images).flatten(1).double().numpy() for s in (yard.train, yard.test))
    reference = decomposition.PCA(4, svd_solver="full").fit(train)
    x_hat = reference.inverse_transform(reference.transform(test)).clip(0, 1)
    assert row["latent_dim"] == 4
    assert row["reconstruction_sse"] == pytest.approx(((test - x_hat) ** 2).sum(1).mean(), rel=1e-5)
    assert row["judge_accuracy"] == thirds_accuracy(x_hat, yard.test.labels)
    assert row["fid"] > 0


def thirds_accuracy(flat, labels):
    logits = thirds(torch.from_numpy(flat).float().unflatten(1, SHAPE))
    return (logits.argmax(1) == labels).double().mean().item()


def test_pca_samples_have_the_spread_of_the_codes(yard):
    """In pixel space, a Gaussian of the same mean and covariance is nearer than uniform noise."""
    pixels = dataclasses.replace(yard, eyes=lambda x: x.flatten(1))
    real = pixels.real_features()
    gaussian = pixels.score_pca(PCA.fit(yard.train), 30, real)["fid"]
    noise = torch.rand(60, *SHAPE, generator=torch.Generator().manual_seed(3))
    assert gaussian < 0.5 * pixels.score_samples(noise, real)["fid"]


def test_without_labels_the_label_metrics_are_absent(yard):
    bare = dataclasses.replace(
        yard,
        judge=None,
        train=Split(yard.train.images),
        test=Split(yard.test.images),
    )
    x = to_float(yard.test.images)
    assert "judge_accuracy" not in bare.score_reconstructions(bare.test, x)
    assert bare.score_features(thirds) == {}
    assert bare.eyes_name == "random"
    assert yard.eyes_name == "judge"
    inception = dataclasses.replace(bare, settings=EvaluationSettings(features="inception"))
    assert inception.eyes_name == "inception"


def test_wide_features_are_probed_on_fewer_images(yard, monkeypatch):
    """Memory bounds the numbers that the probe reads: images times features."""
    monkeypatch.setattr("latentlab.evaluation.MOST_PROBED", 70)
    rows = []

    def counted(x):
        rows.append(len(x))
        return thirds(x)

    width = thirds(to_float(yard.test.images[:1])).shape[1]
    yard.score_features(counted)
    assert sum(rows) == 1 + 70 // width + len(yard.test)


@pytest.mark.parametrize(("wanted", "got"), [(None, 60), (20, 20), (1000, 60)])
def test_as_many_samples_as_there_are_test_images_at_most(yard, wanted, got):
    yard = dataclasses.replace(yard, settings=EvaluationSettings(num_samples=wanted))
    assert yard.num_samples == got
    assert len(yard.real_features()) == got


def test_a_models_own_terms_are_measured_where_it_is(yard):
    """On a GPU the batches go there; here "meta" stands for it."""
    seen = []

    class Elsewhere:
        device = torch.device("meta")

        def validation_step(self, batch, index):
            seen.extend(part.device.type for part in batch)
            return {"loss": torch.tensor(float(index))}

    objective(SimpleNamespace(module=Elsewhere()), yard.test, 0)
    assert set(seen) == {"meta"}


def test_the_reference_reads_back_bit_by_bit(yard, tmp_path):
    real, pca = yard.real_features(), PCA.fit(yard.train)
    save_reference(tmp_path / "reference.pt", real, pca)
    real_again, pca_again = load_reference(tmp_path / "reference.pt")
    assert torch.equal(real, real_again)
    for name in ("mean", "components", "variances"):
        assert torch.equal(getattr(pca, name), getattr(pca_again, name))
