"""What the headlines say beside the best model."""

from dataclasses import replace

import pytest

from latentlab.evaluation.results import Result, write_result
from latentlab.report.headlines import headlines_of
from latentlab.report.page import render_page


@pytest.fixture
def warned(root, read):
    """The GAN, best in samples and features, has a warning about its samples."""
    result = Result("GAN training", "", warnings=["mode collapse: 4 of 10 classes"])
    write_result(result, root / "results" / "dcgan" / "diagnostics" / "gan_training")
    return read(root)


def test_a_warning_about_something_else_says_so(warned):
    by_key = {each["key"]: each for each in headlines_of(warned)}
    assert [flag["about"] for flag in by_key["fid"]["warnings"]] == [""]
    assert [flag["about"] for flag in by_key["probe_accuracy"]["warnings"]] == ["about its samples"]
    page = render_page(warned)
    features = page.split(">Best features<")[1].split('<span class="strip')[0]
    assert 'class="flag aside"' in features
    assert "mode collapse (about its samples)</span>" in features
    samples = page.split(">Best samples<")[1].split('<span class="strip')[0]
    assert "mode collapse</span>" in samples


def test_a_headline_without_a_model_says_why(root, read, edit_json):
    for name in ("linear_ae", "stacked_ae", "vae", "dcgan"):
        edit_json(root / "results" / name / "metrics.json", lambda m: m.update(probe_accuracy=0.5))
        edit_json(root / "results" / name / "metrics.json", lambda m: m.update(latent_dim=16))
    (none,) = [each for each in headlines_of(read(root)) if each["none"]]
    assert none["none"] == "PCA-16 is better than every model"
    page = render_page(read(root))
    assert ">none: PCA-16 is better than every model<" in page.split(">Best features<")[1]


def test_other_reasons_for_no_headline(root, read, edit_json):
    comparison = read(root)
    unreliable = replace(comparison, evidence={"unreliable": {"fid": "it is noise"}})
    assert headlines_of(unreliable)[0]["none"] == "FID cannot be trusted on these data"
    for name in ("linear_ae", "stacked_ae", "vae", "dcgan"):
        edit_json(root / "results" / name / "metrics.json", lambda m: m.pop("probe_accuracy"))
    assert "Best features" not in [each["title"] for each in headlines_of(read(root))]


@pytest.mark.parametrize(
    ("goal", "first"),
    [
        (None, "fid"),
        ("generate", "fid"),
        ("reconstruct", "reconstruction_mse"),
        ("compress", "reconstruction_mse"),
        ("features", "probe_accuracy"),
    ],
)
def test_the_headline_of_the_goal_is_first(evaluated, read, goal, first):
    found = headlines_of(replace(read(evaluated), goal=goal))
    assert found[0]["key"] == first
    assert len(found) == 3
