"""Codebook usage: entropies compared with scipy, and indices counted by hand."""

import math
from types import SimpleNamespace

import pytest
import torch
from scipy import stats

from diagnostics.stand_ins import evaluator_of, figure_inputs, on_2x2, two_clusters
from latentlab.diagnostics import codebook_usage
from latentlab.models.vae import VAE
from latentlab.models.vq_vae import VQVAE


def test_entropy_equals_that_of_scipy():
    counts = torch.tensor([[3, 1, 0], [2, 2, 2]])
    expected = [stats.entropy(row) for row in counts.numpy()]
    assert codebook_usage.entropy(counts).tolist() == pytest.approx(expected)


def test_used_entries_and_bits_are_counted():
    module = SimpleNamespace(codebook_size=8, latent_dim=4, embed=len)
    assert codebook_usage.applies(module)
    trained = SimpleNamespace(
        module=module,
        encode=lambda x: (x.flatten(1) > 0.4).float() + 2 * (torch.arange(4) == 0),
        decode=lambda z: torch.zeros(len(z), 1, 2, 2),
    )
    metrics = codebook_usage.diagnose(trained, evaluator_of(two_clusters(4000))).metrics
    assert metrics["used_entries"] == 4
    assert metrics["bits_per_image"] == pytest.approx(4, abs=0.02)
    assert metrics["max_bits_per_image"] == 12


def test_one_used_entry_gives_a_warning():
    module = SimpleNamespace(codebook_size=2, encode=lambda x: torch.zeros(len(x), 4))
    result = codebook_usage.diagnose(on_2x2(module), evaluator_of(two_clusters(10)))
    assert result.warnings == ["collapsed codebook: 1 entry is used"]


def test_only_the_first_test_images_are_used(monkeypatch):
    images = two_clusters(90)
    trained = on_2x2(SimpleNamespace(codebook_size=2, encode=lambda x: x.flatten(1) > 0.5))
    expected = codebook_usage.diagnose(trained, evaluator_of(images[:40]))
    monkeypatch.setattr(codebook_usage, "MAX_TEST_IMAGES", 40)
    found = codebook_usage.diagnose(trained, evaluator_of(images))
    assert (found.metrics, found.summary) == (expected.metrics, expected.summary)


def test_applies_to_discrete_codes_only():
    assert codebook_usage.applies(VQVAE((1, 8, 8), width=2))
    assert not codebook_usage.applies(VAE((1, 8, 8)))


@pytest.mark.parametrize("size", [5, 70])
def test_the_figure_has_the_64_most_frequent_of_the_used_entries(size):
    """Entry k occurs k times, so entry 0 is not used. The image shows the indices."""
    indices = torch.arange(size).repeat_interleave(torch.arange(size))
    indices = indices[torch.randperm(len(indices))]
    trained = SimpleNamespace(
        module=SimpleNamespace(codebook_size=size),
        encode=lambda x: indices[:, None],
        decode=lambda z: z.view(-1, 1, 1, 1),
    )
    images = torch.zeros(len(indices), 1, 1, 1, dtype=torch.uint8)
    result = codebook_usage.diagnose(trained, evaluator_of(images))
    (shown,) = figure_inputs(result, "codebook")
    assert shown.flatten().tolist() == list(range(size - 1, max(0, size - 65), -1))
    assert result.metrics["used_entries"] == size - 1
    assert "An image of 1 indices costs" in result.summary
    counts = torch.arange(float(size))
    nats = stats.entropy(counts.numpy())
    assert result.metrics["perplexity"] == pytest.approx(math.exp(nats))
    assert result.metrics["bits_per_image"] == pytest.approx(nats / math.log(2))
    assert result.metrics["max_bits_per_image"] == pytest.approx(math.log2(size))
    assert result.warnings == []
