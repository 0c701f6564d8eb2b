import pytest
import torch
from sklearn.metrics import average_precision_score

from latentlab.contracts import Split
from latentlab.tasks.retrieval import (
    Retrieval,
    constant_bits,
    mean_average_precision,
    nearest_images,
    precision,
    to_bits,
)
from latentlab.utils.errors import LatentlabError

TASK = Retrieval(
    num_queries=30, database_size=300, num_bits=8, hidden=64, steps=300, noise_std=2.0, lr=3e-3
)


@pytest.fixture(scope="module")
def result(context):
    return TASK.run(context)


@pytest.fixture
def ranked():
    generator = torch.Generator().manual_seed(0)
    distance = torch.randint(6, (5, 40), generator=generator).float()
    images = torch.arange(40, dtype=torch.uint8).view(40, 1, 1, 1)
    base = Split(images, torch.randint(3, (40,), generator=generator))
    return distance, Split(images[:5], torch.tensor([0, 1, 2, 0, 7])), base


def test_map_is_the_mean_of_the_average_precision_of_scikit_learn(ranked):
    distance, queries, base = ranked
    expected = [
        average_precision_score((base.labels == label).numpy(), -row.numpy())
        for row, label in zip(distance[:4], queries.labels[:4], strict=True)
    ]  # the class of the last query is not in the database
    assert mean_average_precision(distance, queries, base) == pytest.approx(sum(expected) / 4)


def test_precision_and_figure_use_the_nearest_images(ranked):
    distance, queries, base = ranked
    fractions = []
    for row, label in zip(distance.tolist(), queries.labels.tolist(), strict=True):
        nearest = sorted(range(40), key=lambda n: row[n])[:7]
        fractions.append(sum(int(base.labels[n]) == label for n in nearest) / 7)
    assert precision(distance, queries, base, 7) == pytest.approx(sum(fractions) / 5)
    shown = (nearest_images(distance, queries, base) * 255).round().flatten(1).long()
    first = sorted(range(40), key=lambda n: float(distance[0, n]))[:9]
    assert shown[0].tolist() == [0, *first]


def test_squared_distance_of_bits_is_the_number_of_different_bits():
    a, b = to_bits(torch.tensor([[1.0, -1, 0, 2]])), to_bits(torch.tensor([[-3.0, -1, 1, 2]]))
    assert float(torch.cdist(a, b)) ** 2 == pytest.approx(2)


def test_constant_bits_give_a_warning():
    bits = torch.tensor([[1.0, 0, 1], [1.0, 1, 1]])
    assert constant_bits(bits) == ["2 of 3 bits are constant"]
    assert constant_bits(bits[:, 1:2]) == []


def test_every_method_is_better_than_chance(result):
    assert list(result.table) == ["pixels", "codes", "PCA signs", "semantic hash"]
    assert all(row["mAP"] > 0.15 for row in result.table.values()), "chance is 0.1"
    assert result.table["PCA signs"]["bits"] == result.table["semantic hash"]["bits"] == 8
    assert result.table["pixels"]["bits"] == 64 * 32


def test_figures_are_saved(result, save_figures):
    assert set(save_figures(result)) == {"pixels", "codes", "pca_signs", "semantic_hash"}


def test_impossible_settings_are_refused(unlabelled, decoder_only):
    with pytest.raises(LatentlabError, match="num_bits is 0: it must be ≥ 1"):
        Retrieval(num_bits=0)
    with pytest.raises(LatentlabError, match="noise_std is -1"):
        Retrieval(noise_std=-1)
    with pytest.raises(LatentlabError, match="the images have no labels"):
        TASK.run(unlabelled)
    with pytest.raises(LatentlabError, match="pca has no encoder"):
        TASK.run(decoder_only)
