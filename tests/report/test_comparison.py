"""Reading results/, and the comparison as plain text and as CSV."""

import csv
import json
import re

import pytest

from latentlab.evaluation.results import Result, write_result
from latentlab.report.comparison import comparison_csv, format_table
from latentlab.report.page import render_page
from latentlab.utils.errors import LatentlabError


def test_the_text_table_is_aligned_and_has_models_then_baselines(evaluated, read, model_names):
    table = format_table(read(evaluated))
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


def test_metrics_of_a_diagnostic_have_the_name_of_the_diagnostic(root, read):
    """psnr_db and ssim of the diagnostic denoising are not those of the reconstructions."""
    before = {row.name: row.values for row in read(root).rows}
    denoising = Result("Denoising", "", metrics={"psnr_db": 99.0, "ssim": 0.5, "new": 1.0})
    write_result(denoising, root / "results" / "stacked_ae" / "diagnostics" / "denoising")
    after = {row.name: row.values for row in read(root).rows}
    assert after == before
    assert 20 < after["stacked_ae"]["psnr_db"] < 21
    assert after["vae"]["likelihood/elbo_nats"] == -24.5
    assert "elbo_nats" not in after["vae"]
    assert "99" not in format_table(read(root))


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
    refused(r"vae/history.csv is damaged .* `dvc repro -f evaluate@vae`")
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
