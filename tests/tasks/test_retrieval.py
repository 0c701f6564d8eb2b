import pytest
import torch
from sklearn.metrics import average_precision_score

from latentlab.contracts import LatentlabError, Split
from latentlab.tasks.retrieval import (
    Retrieval,
    idle,
    mean_average_precision,
    neighbours,
    precision,
    signs,
)

TASK = Retrieval(queries=30, database=300, bits=8, hidden=64, steps=300, noise=2.0, lr=3e-3)


@pytest.fixture(scope="module")
def finding(context):
    return TASK.run(context)


@pytest.fixture
def ranked():
    generator = torch.Generator().manual_seed(0)
    distance = torch.randint(6, (5, 40), generator=generator).float()
    images = torch.arange(40, dtype=torch.uint8).view(40, 1, 1, 1)
    base = Split(images, torch.randint(3, (40,), generator=generator))
    return distance, Split(images[:5], torch.tensor([0, 1, 2, 0, 7])), base


def test_map_is_the_mean_of_scikit_learns_average_precision(ranked):
    distance, queries, base = ranked
    expected = [
        average_precision_score((base.labels == label).numpy(), -row.numpy())
        for row, label in zip(distance[:4], queries.labels[:4], strict=True)
    ]  # the last query's class is nowhere in the database
    assert mean_average_precision(distance, queries, base) == pytest.approx(sum(expected) / 4)


def test_precision_counts_the_nearest_and_neighbours_are_them(ranked):
    distance, queries, base = ranked
    shares = []
    for row, label in zip(distance.tolist(), queries.labels.tolist(), strict=True):
        nearest = sorted(range(40), key=lambda n: row[n])[:7]
        shares.append(sum(int(base.labels[n]) == label for n in nearest) / 7)
    assert precision(distance, queries, base, 7) == pytest.approx(sum(shares) / 5)
    drawn = (neighbours(distance, queries, base) * 255).round().flatten(1).long()
    first = sorted(range(40), key=lambda n: float(distance[0, n]))[:9]
    assert drawn[0].tolist() == [0, *first]


def test_distance_of_signs_is_the_number_of_bits_that_differ():
    a, b = signs(torch.tensor([[1.0, -1, 0, 2]])), signs(torch.tensor([[-3.0, -1, 1, 2]]))
    assert float(torch.cdist(a, b)) ** 2 == pytest.approx(2)


def test_bits_that_never_change_are_told():
    bits = torch.tensor([[1.0, 0, 1], [1.0, 1, 1]])
    assert idle(bits) == ["2 of 3 bits never change"]
    assert idle(bits[:, 1:2]) == []


def test_everything_finds_more_than_chance(finding):
    assert list(finding.table) == ["pixels", "codes", "PCA signs", "semantic hash"]
    assert all(row["mAP"] > 0.15 for row in finding.table.values()), "a tenth is chance"
    assert finding.table["PCA signs"]["bits"] == finding.table["semantic hash"]["bits"] == 8
    assert finding.table["pixels"]["bits"] == 64 * 32


def test_pictures_are_drawn(finding, drawn):
    assert set(drawn(finding)) == {"pixels", "codes", "pca_signs", "semantic_hash"}


def test_impossible_settings_are_refused(unlabelled, decoder_only):
    with pytest.raises(LatentlabError, match="must be at least 1"):
        Retrieval(bits=0)
    with pytest.raises(LatentlabError, match="the task needs classes"):
        TASK.run(unlabelled)
    with pytest.raises(LatentlabError, match="a model with an encoder"):
        TASK.run(decoder_only)
