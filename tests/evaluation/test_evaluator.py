"""The metrics of the Evaluator compared with scikit-learn, scipy and counts."""

import dataclasses

import numpy as np
import pytest
import torch
from scipy.linalg import sqrtm
from sklearn import decomposition

from latentlab.config import EvaluationSettings
from latentlab.contracts import Split, to_float
from latentlab.data.prepared import DatasetInfo
from latentlab.evaluation.evaluator import Evaluator, fraction_scores, subset_size
from latentlab.evaluation.reference import load_reference, save_reference
from latentlab.metrics.fid.frechet import fid
from latentlab.metrics.intervals import fraction_half_width, mean_half_width
from latentlab.metrics.pca import PCA
from latentlab.utils.errors import LatentlabError

SHAPE = (1, 6, 6)
CLASSES = 3


def make_split(count, seed):
    """Images of three classes: a bright left, middle or right third, with noise."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(count) % CLASSES
    images = torch.randint(0, 90, (count, *SHAPE), generator=generator)
    for row, label in enumerate(labels.tolist()):
        images[row, :, :, 2 * label : 2 * label + 2] += 150
    return Split(images.to(torch.uint8), labels)


def thirds(x):
    """Mean intensity of each third (B, 3): logits of a classifier that is always correct."""
    return x.unflatten(3, (3, 2)).mean((1, 2, 4))


@pytest.fixture
def evaluator():
    counts = {"train": 90, "val": 9, "test": 60}
    dataset = DatasetInfo("toy", SHAPE, tuple("abc"), counts, (), 0, "0")
    return Evaluator(
        dataset,
        make_split(90, 0),
        make_split(60, 1),
        feature_extractor=lambda x: x[:, :, 2:4].flatten(1)[:, ::2],  # (B, 6)
        classifier=thirds,
        settings=EvaluationSettings(),
    )


@pytest.mark.parametrize(
    ("count", "expected"), [(40, 40), (300, 100), (1000, 200), (10_000, 1000), (50_000, 1000)]
)
def test_an_expensive_metric_uses_a_fifth_of_the_images_within_its_limits(count, expected):
    assert subset_size(count, most=1000, divisor=5) == expected
    assert subset_size(count, most=30, divisor=5) == 30, "the setting is the upper limit"


def scipy_fid(a, b):
    cov_a, cov_b = np.cov(a, rowvar=False), np.cov(b, rowvar=False)
    cross = sqrtm(cov_a @ cov_b).real
    return ((a.mean(0) - b.mean(0)) ** 2).sum() + np.trace(cov_a + cov_b - 2 * cross)


def test_real_images_against_themselves_have_the_best_scores(evaluator):
    scores = evaluator.score_samples([evaluator.test], evaluator.real_features()).metrics
    assert scores["fid"] == pytest.approx(0, abs=1e-9)
    assert [scores[key] for key in ("precision", "recall", "coverage")] == [1, 1, 1]


def test_fid_equals_that_of_scipy_in_the_space_of_the_feature_extractor(evaluator):
    fake = torch.rand(80, *SHAPE, generator=torch.Generator().manual_seed(2))
    scores = evaluator.score_samples([fake], evaluator.real_features()).metrics
    real = evaluator.feature_extractor(to_float(evaluator.test.images)).double().numpy()
    assert scores["fid"] == pytest.approx(
        scipy_fid(real, evaluator.feature_extractor(fake).double().numpy()), 1e-5
    )
    assert {"kid", "precision", "recall", "density", "coverage"} <= set(scores)


def test_reconstructions_have_an_error_and_a_classifier_accuracy(evaluator):
    x = to_float(evaluator.test.images)
    x_hat = x * 0.9
    x_hat[:15] = x_hat[:15].roll(2, 3)  # a quarter of them now looks like the next class
    scores = evaluator.score_reconstructions(evaluator.test, x_hat).metrics
    sse = ((x - x_hat).double() ** 2).sum((1, 2, 3))
    assert scores["reconstruction_sse"] == pytest.approx(sse.mean().item(), rel=1e-6)
    assert scores["reconstruction_mse"] == pytest.approx(sse.mean().item() / 36, rel=1e-6)
    psnr = -10 * (sse / 36).log10()
    assert scores["psnr_db"] == pytest.approx(psnr.mean().item(), rel=1e-6)
    assert scores["classifier_accuracy"] == 0.75


def test_a_part_of_the_test_split_is_compared_with_its_own_reconstructions(evaluator):
    first = evaluator.test.first(7)
    scores = evaluator.score_reconstructions(first, to_float(first.images)).metrics
    assert scores["reconstruction_sse"] == 0
    assert scores["classifier_accuracy"] == 1


def test_the_probe_is_trained_on_the_given_features(evaluator):
    assert evaluator.score_features(thirds).metrics["probe_accuracy"] == 1
    chance = evaluator.score_features(lambda x: x[:, :, 0, 0] * 0)  # no information
    assert chance.metrics["probe_accuracy"] == pytest.approx(1 / 3)


def test_the_probe_learns_from_training_images_only(evaluator):
    """Training labels of another class than the test labels: each prediction is wrong."""
    train = Split(evaluator.train.images, (evaluator.train.labels + 1) % CLASSES)
    other = dataclasses.replace(evaluator, train=train)
    assert other.score_features(thirds).metrics["probe_accuracy"] == 0


def test_pca_equals_that_of_scikit_learn(evaluator):
    pca = PCA.fit(evaluator.train)
    row = evaluator.score_pca(evaluator.reference(pca), 4).metrics
    train, test = (
        to_float(s.images).flatten(1).double().numpy() for s in (evaluator.train, evaluator.test)
    )
    reference = decomposition.PCA(4, svd_solver="full").fit(train)
    x_hat = reference.inverse_transform(reference.transform(test)).clip(0, 1)
    assert row["latent_dim"] == 4
    assert row["reconstruction_sse"] == pytest.approx(((test - x_hat) ** 2).sum(1).mean(), rel=1e-5)
    assert row["classifier_accuracy"] == thirds_accuracy(x_hat, evaluator.test.labels)
    assert row["fid"] > 0


def thirds_accuracy(flat, labels):
    logits = thirds(torch.from_numpy(flat).float().unflatten(1, SHAPE))
    return (logits.argmax(1) == labels).double().mean().item()


def test_pca_samples_have_the_variances_of_the_codes(evaluator):
    """In pixel space, a Gaussian with equal mean and covariance has a lower FID than noise."""
    pixels = dataclasses.replace(evaluator, feature_extractor=lambda x: x.flatten(1))
    reference = pixels.reference(PCA.fit(evaluator.train))
    gaussian = pixels.score_pca(reference, 30).metrics["fid"]
    noise = torch.rand(60, *SHAPE, generator=torch.Generator().manual_seed(3))
    assert gaussian < 0.5 * pixels.score_samples([noise], reference.real).metrics["fid"]


def test_each_draw_of_pca_has_the_covariance_of_the_training_images(evaluator):
    """With all components; the intensities are near 0.5, so that no sample is clipped."""
    levels = torch.randint(-1, 2, (1000, 1, 2, 2), generator=torch.Generator().manual_seed(0))
    split = Split((128 + levels * torch.tensor([1, 5, 10, 20]).view(2, 2)).to(torch.uint8))
    draws = []

    class Recording(Evaluator):
        def score_samples(self, images, *real):
            draws.extend(images)
            return super().score_samples([each[:100] for each in images], *real)

    dataset = dataclasses.replace(evaluator.dataset, image_shape=(1, 2, 2))
    features = lambda x: x[:, 0, 0]  # noqa: E731
    recording = Recording(dataset, split, split, features, None, evaluator.settings)
    recording.score_pca(recording.reference(PCA.fit(split)), 4, num_draws=2)
    expected = to_float(split.images).flatten(1).T.cov()
    for draw in draws:
        torch.testing.assert_close(draw.flatten(1).T.cov(), expected, atol=6e-4, rtol=0.2)
    assert len(draws) == 2
    assert not torch.equal(*draws)


def test_without_labels_there_are_no_metrics_of_classes(evaluator):
    bare = dataclasses.replace(
        evaluator,
        classifier=None,
        train=Split(evaluator.train.images),
        test=Split(evaluator.test.images),
    )
    x = to_float(evaluator.test.images)
    assert "classifier_accuracy" not in bare.score_reconstructions(bare.test, x).metrics
    assert bare.score_features(thirds).metrics == {}
    assert bare.feature_space == "random"
    assert evaluator.feature_space == "classifier"
    inception = dataclasses.replace(bare, settings=EvaluationSettings(features="inception"))
    assert inception.feature_space == "inception"


def test_the_probe_gets_fewer_images_if_there_are_many_features(evaluator, monkeypatch):
    """The limit is images times features."""
    monkeypatch.setattr("latentlab.evaluation.evaluator.MAX_PROBE_VALUES", 70)
    rows = []

    def counted(x):
        rows.append(len(x))
        return thirds(x)

    width = thirds(to_float(evaluator.test.images[:1])).shape[1]
    evaluator.score_features(counted)
    assert sum(rows) == 70 // width + len(evaluator.test)


@pytest.mark.parametrize(("wanted", "got"), [(None, 60), (20, 20), (1000, 60)])
def test_there_are_at_most_as_many_samples_as_test_images(evaluator, wanted, got):
    evaluator = dataclasses.replace(evaluator, settings=EvaluationSettings(num_samples=wanted))
    assert evaluator.num_samples == got
    assert len(evaluator.real_features()) == got


def test_the_reference_has_the_features_of_test_and_of_training_images(evaluator):
    reference = evaluator.reference(PCA.fit(evaluator.train))
    rows = {
        name: evaluator.feature_extractor(to_float(split.images))
        for name, split in (("train", evaluator.train), ("test", evaluator.test))
    }
    torch.testing.assert_close(reference.real, rows["test"])
    assert reference.train.shape == rows["train"].shape
    for features in reference.train:
        assert (features == rows["train"]).all(1).any()


def test_the_reference_is_read_back_bit_by_bit(evaluator, tmp_path):
    reference = evaluator.reference(PCA.fit(evaluator.train))
    save_reference(tmp_path / "reference.pt", reference)
    again = load_reference(tmp_path / "reference.pt")
    assert torch.equal(reference.real, again.real)
    assert torch.equal(reference.train, again.train)
    assert again.class_real is None
    for name in ("mean", "components", "variances"):
        assert torch.equal(getattr(reference.pca, name), getattr(again.pca, name))


def test_stored_features_are_those_that_would_be_computed(evaluator):
    reference = evaluator.reference(PCA.fit(evaluator.train))

    def refuse(x):
        raise AssertionError("computed again")

    stored = dataclasses.replace(evaluator, stored=reference, feature_extractor=refuse)
    assert torch.equal(stored.real_features(), evaluator.real_features())
    assert torch.equal(stored.train_features(), evaluator.train_features())


def test_the_digest_of_a_reference_tells_images_and_classifiers_apart(evaluator, tmp_path):
    pca = PCA.fit(evaluator.train)
    reference = evaluator.reference(pca)
    save_reference(tmp_path / "reference.pt", reference)
    assert load_reference(tmp_path / "reference.pt").digest == reference.digest
    other_images = dataclasses.replace(evaluator, test=make_split(60, 2))
    features = evaluator.feature_extractor
    other_classifier = dataclasses.replace(evaluator, feature_extractor=lambda x: 1.1 * features(x))
    others = [each.reference(pca).digest for each in (other_images, other_classifier)]
    assert len({reference.digest, *others}) == 3


def test_two_spaces_are_two_parts_of_one_pass(evaluator):
    """The last layer of the classifier comes behind the other features."""
    main = evaluator.feature_extractor
    both = dataclasses.replace(
        evaluator, both_features=lambda x: torch.cat([main(x), thirds(x)], 1), class_width=3
    )
    x = torch.rand(80, *SHAPE, generator=torch.Generator().manual_seed(2))
    torch.testing.assert_close(both.spaces(x), (main(x), thirds(x)))
    reference = both.reference(PCA.fit(evaluator.train))
    torch.testing.assert_close(reference.class_real, thirds(to_float(evaluator.test.images)))
    scores = both.score_samples([x], reference.real, reference.class_real).metrics
    assert scores["class_fid"] == pytest.approx(fid(reference.class_real, thirds(x)))
    assert scores["fid"] == pytest.approx(fid(reference.real, main(x)))
    assert "class_fid" not in both.score_samples([x], reference.real).metrics


def test_fid_in_other_spaces(evaluator):
    def rows(x):
        return x.mean((1, 3))

    random = dataclasses.replace(evaluator, random_features=rows)
    reference = random.reference(PCA.fit(evaluator.train))
    x = torch.rand(50, *SHAPE, generator=torch.Generator().manual_seed(2))
    found = random.other_spaces(x, reference)
    real = to_float(evaluator.test.images)
    assert found["random_fid"] == pytest.approx(fid(rows(real), rows(x)))
    pixels = [
        (each.flatten(1) - reference.pca.mean) @ reference.pca.components for each in (real, x)
    ]
    assert found["pixel_fid"] == pytest.approx(fid(pixels[0][:50], pixels[1]), rel=1e-4)
    assert list(evaluator.other_spaces(x, reference)) == ["pixel_fid"]


def test_a_function_reconstructs_batch_by_batch(evaluator, monkeypatch):
    monkeypatch.setattr("latentlab.evaluation.evaluator.BATCH", 7)
    x, sizes = to_float(evaluator.test.images), []
    by_function = evaluator.score_reconstructions(
        evaluator.test, lambda batch: sizes.append(len(batch)) or 0.9 * batch
    )
    assert sizes == [7] * 8 + [4]
    at_once = evaluator.score_reconstructions(evaluator.test, 0.9 * x)
    assert by_function.metrics == pytest.approx(at_once.metrics)
    sse = (0.1 * x).square().sum((1, 2, 3)).double()
    torch.testing.assert_close(by_function.arrays["reconstruction_sse"].double(), sse)
    half = mean_half_width(sse, seed=evaluator.settings.seed)
    assert by_function.ci95["reconstruction_sse"] == pytest.approx(half, rel=1e-5)


def test_a_fraction_has_its_interval_and_values():
    correct = torch.tensor([True, True, False, True])
    scores = fraction_scores("right", correct)
    assert scores.metrics == {"right": 0.75}
    assert scores.ci95 == {"right": fraction_half_width(correct)}
    assert scores.arrays["right"].tolist() == [1, 1, 0, 1]


@pytest.mark.parametrize("without", ["train", "test"])
def test_the_probe_needs_labels_of_both_splits(evaluator, without):
    bare = dataclasses.replace(evaluator, **{without: Split(getattr(evaluator, without).images)})
    assert evaluator.has_probe
    assert not bare.has_probe
    assert bare.score_features(thirds).metrics == {}


@pytest.mark.parametrize("content", [b"", b"PK\3\4 cut", b"text"])
def test_a_damaged_reference_is_named_with_the_commands_that_restore_it(tmp_path, content):
    (tmp_path / "reference.pt").write_bytes(content)
    what = "truncated, damaged or no file of tensors" if content else "empty"
    message = rf"reference.pt cannot be read: the file is {what}. Restore .* `dvc repro reference`"
    with pytest.raises(LatentlabError, match=message):
        load_reference(tmp_path / "reference.pt")


def test_a_reference_of_another_version_is_refused(tmp_path):
    torch.save({"real": torch.ones(2, 2)}, tmp_path / "reference.pt")
    with pytest.raises(LatentlabError, match=r"has no .*another version.*dvc repro -f reference"):
        load_reference(tmp_path / "reference.pt")
