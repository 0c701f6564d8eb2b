"""Sampler comparison on codes of two clusters."""

import math

import pytest

from diagnostics.stand_ins import FlattenedImage, evaluator_of, on_2x2, two_clusters
from latentlab.diagnostics import sampler_comparison
from latentlab.models.vae import VAE
from latentlab.models.vq_vae import VQVAE


def test_fitted_samplers_have_a_lower_fid_than_the_prior(monkeypatch):
    fast = {
        name: sampler
        for name, sampler in sampler_comparison.samplers(400).items()
        if name != "two-stage VAE"
    }
    monkeypatch.setattr(sampler_comparison, "samplers", lambda codes: fast)
    result = sampler_comparison.diagnose(on_2x2(FlattenedImage()), evaluator_of(two_clusters()))
    fid = {name: row["FID"] for name, row in result.table.items()}
    assert fid["reconstructions"] == pytest.approx(0, abs=1e-6)
    assert fid["Gaussian"] < 0.05 * fid["prior N(0, I)"]
    assert fid["mixture of 20"] < 0.05 * fid["prior N(0, I)"]
    assert result.metrics["fid_prior_n_0_i"] == fid["prior N(0, I)"]


def test_a_mixture_has_at_most_as_many_components_as_there_are_codes(monkeypatch):
    prior = sampler_comparison.StandardNormal
    monkeypatch.setattr(sampler_comparison, "TwoStageVAE", lambda **_: prior())
    evaluator = evaluator_of(two_clusters(8))
    result = sampler_comparison.diagnose(on_2x2(FlattenedImage()), evaluator)
    assert math.isfinite(result.metrics["fid_mixture_of_8"])


@pytest.mark.parametrize(("num_codes", "steps"), [(100, 50), (3500, 700), (10_000, 2000)])
def test_the_two_stage_vae_trains_for_50_epochs_at_most(num_codes, steps):
    two_stage = sampler_comparison.samplers(num_codes)["two-stage VAE"]
    assert two_stage.settings["steps"] == steps


def test_the_summary_has_the_number_of_images_and_of_codes(monkeypatch):
    monkeypatch.setattr(
        sampler_comparison,
        "samplers",
        lambda codes: {"prior": sampler_comparison.StandardNormal()},
    )
    evaluator = evaluator_of(two_clusters(30))
    evaluator.train = evaluator.train.first(20)
    summary = sampler_comparison.diagnose(on_2x2(FlattenedImage()), evaluator).summary
    assert "FID of 30 images per sampler" in summary
    assert "codes of 20 training images" in summary


def test_applies_to_models_with_a_standard_normal_prior_only():
    assert sampler_comparison.applies(VAE((1, 8, 8)))
    assert not sampler_comparison.applies(VQVAE((1, 8, 8), width=2))
