"""Reading results/, and the comparison as plain text and as CSV."""

import csv
import json
import re
import shutil

import pytest

from latentlab.evaluation.results import Result, write_result
from latentlab.report.comparison import comparison_csv, distinct_titles, read_comparison
from latentlab.report.page import render_page
from latentlab.utils.errors import LatentlabError


def test_the_text_table_is_aligned_and_has_models_then_baselines(
    evaluated, read, model_names, text_table
):
    table = text_table(read(evaluated))
    heading, _, *lines = table.splitlines()
    assert [line.split("  ")[0] for line in lines] == [
        *model_names, lines[4], "Real images", "PCA-16", "PCA-32", "Raw pixels", "Uniform noise",
    ]  # fmt: skip
    assert set(lines[4]) == {"─"}
    end = heading.index("FID") + 3
    for line, fid in zip(lines[:4], ["16.4", "21.7", "9.8", "4.1"], strict=True):
        assert line[:end].endswith(" " + fid)  # the decimal points are aligned
    assert re.search(r"vae .* 91\.2 +– ", table)  # no classifier accuracy: not zero
    assert re.search(r"Raw pixels +baseline +– +– +– +– +95\.7 +– +– +–", table)


def test_the_csv_has_all_values_unrounded_and_empty_cells_for_missing_values(
    evaluated, read, model_names
):
    rows = {
        row["model"]: row for row in csv.DictReader(comparison_csv(read(evaluated)).splitlines())
    }
    assert list(rows) == [*model_names, "real", "PCA-16", "PCA-32", "pixels", "noise"]
    for name in model_names:
        saved = json.loads((evaluated / "results" / name / "metrics.json").read_text())
        assert float(rows[name]["kid"]) == saved["kid"]
        assert float(rows[name]["evaluate_seconds"]) == 3.2
    assert rows["vae"]["classifier_accuracy"] == ""
    assert float(rows["vae"]["test_elbo_nats"]) == float(rows["vae"]["test_loss"]) * -1 == -24.2
    assert rows["PCA-16"]["type"] == "baseline"


def test_metrics_of_a_diagnostic_have_the_name_of_the_diagnostic(root, read, text_table):
    """psnr_db and ssim of the diagnostic denoising are not those of the reconstructions."""
    before = {row.name: row.values for row in read(root).rows}
    denoising = Result("Denoising", "", metrics={"psnr_db": 99.0, "ssim": 0.5, "new": 1.0})
    write_result(denoising, root / "results" / "stacked_ae" / "diagnostics" / "denoising")
    after = {row.name: row.values for row in read(root).rows}
    assert after == before
    assert 20 < after["stacked_ae"]["psnr_db"] < 21
    assert after["vae"]["likelihood/elbo_nats"] == -24.5
    assert "elbo_nats" not in after["vae"]
    assert "99" not in text_table(read(root))


def test_pca_with_one_size_of_codes_is_one_row_completed_by_the_reference(root, read, edit_json):
    def without_fid(metrics):
        del metrics["pca"]["fid"]

    for name in ("linear_ae", "stacked_ae", "vae"):
        edit_json(root / "results" / name / "metrics.json", without_fid)
    reference = root / "results" / "reference" / "metrics.json"
    edit_json(reference, lambda m: m["pca_gaussian"].update(latent_dim=16, probe_accuracy=0.1))
    (pca,) = [row for row in read(root).baselines if row.name == "PCA-16"]
    assert pca.values["fid"] == 33.3
    assert pca.values["probe_accuracy"] == 0.93  # the value measured with the model is kept


def test_missing_or_damaged_files_are_named_with_the_command_that_repairs_them(
    root, read, edit_json
):
    def refused(match):
        with pytest.raises(LatentlabError, match=match):
            read(root)

    vae = root / "results" / "vae"
    (vae / "history.csv").write_text("split,quantity,step,images,value\ntrain,loss,1,128\n")
    with pytest.raises(
        LatentlabError, match=r"vae/history.csv is damaged .* `dvc repro -f evaluate@vae`"
    ):
        render_page(read(root))
    edit_json(vae / "card.json", lambda card: card.update(features="inception"))
    (vae / "history.csv").unlink()
    refused(r"vae was measured with the features 'inception', the baselines with 'classifier'")
    (vae / "metrics.json").write_text("{")
    refused(r"results/vae/metrics.json is not readable JSON .* `dvc repro evaluate@vae`")
    (vae / "metrics.json").write_text("[1]")
    refused("has a list, not an object")
    (vae / "metrics.json").unlink()
    refused(r"results/vae/metrics.json is missing: vae is not evaluated yet; run `dvc repro eval")
    (root / "results" / "dcgan" / "map.png").write_bytes(b"no image")
    (vae / "metrics.json").write_text("{}")
    edit_json(vae / "card.json", lambda card: card.update(features="classifier"))
    with pytest.raises(LatentlabError, match="not a readable PNG"):
        render_page(read(root))
    (root / "results" / "reference" / "metrics.json").unlink()
    refused(r"baselines are not measured yet; run `dvc repro reference`")


def test_titles_that_are_equal_have_the_names_behind_them():
    """Rows, headlines and sections of the page have titles: they must tell models apart."""
    titles = {"vae": "VAE", "vae_b2": "VAE", "gan": "GAN"}
    assert distinct_titles(titles) == {"vae": "VAE (vae)", "vae_b2": "VAE (vae_b2)", "gan": "GAN"}


def test_copies_of_a_config_can_be_told_apart_everywhere(root, project_of):
    shutil.copytree(root / "results" / "vae", root / "results" / "vae_b2")
    result = Result("Anomaly detection", "AUROC of one class.", table={"PCA": {"mean": 0.9}})
    for name in ("anomalies_1", "anomalies_2"):
        write_result(result, root / "results" / "tasks" / name / "result")
    project = project_of(root)
    project.models = dict.fromkeys(["vae", "vae_b2", "dcgan"], "")
    project.tasks = {name: {} for name in ("anomalies_1", "anomalies_2")}
    comparison = read_comparison(project)
    titles = [model.row.title for model in comparison.models]
    assert titles[:2] == ["Variational autoencoder (vae)", "Variational autoencoder (vae_b2)"]
    assert len(set(titles)) == 3
    page = render_page(comparison)
    for text in (*titles[:2], "Anomaly detection (anomalies_1)", "Anomaly detection (anomalies_2)"):
        assert f"{text}</h" in page
    assert "Variational autoencoder</h" not in page


def test_results_of_other_images_or_another_classifier_are_left_out(root, project_of, edit_json):
    """As after a change of the size of the images and `dvc repro evaluate@vae`."""
    for name, reference in (("reference", "new"), ("vae", "new"), ("dcgan", "old")):
        edit_json(
            root / "results" / name / "card.json",
            lambda card, value=reference: card.update(reference=value),
        )
    project = project_of(root)
    comparison = read_comparison(project, outdated=())
    assert comparison.pending == ["dcgan"]
    names = [model.row.name for model in comparison.models]
    assert names == ["linear_ae", "stacked_ae", "vae"], "without the key: an older version"
    with pytest.raises(LatentlabError, match=r"dcgan .* other images .*`dvc repro evaluate@dcgan`"):
        read_comparison(project)


def test_a_model_that_was_left_out_has_its_reason_and_no_row(root, project_of):
    card = {"title": "vae", "skipped": "no labels"}
    (root / "results" / "vae" / "card.json").write_text(json.dumps(card))
    comparison = read_comparison(project_of(root))
    assert comparison.skipped == {"vae": "no labels"}
    assert "vae" not in [model.row.name for model in comparison.models]
    assert "vae" not in comparison.pending
    page = render_page(comparison)
    assert "<b>Left out:</b> <code>vae</code>, as the data do not suit it: no labels" in page
