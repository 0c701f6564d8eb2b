"""`latentlab results`: formats, order, families, colours."""

import csv
import io
import json
import re
import shutil
from pathlib import Path

import pytest

from latentlab.cli import main
from latentlab.cli.results import with_few_baselines
from latentlab.report.comparison import Comparison, ModelResults
from latentlab.report.metrics import Row

MODELS = {"linear_ae", "vae", "dcgan"}


@pytest.fixture
def run(tiny, monkeypatch, capsys):
    """Call the command in the project, and return what it printed."""
    monkeypatch.chdir(tiny.root)
    monkeypatch.delenv("FORCE_COLOR", raising=False)

    def call(*argv):
        main(["results", *argv])
        return capsys.readouterr().out

    return call


def names(table):
    """The names of the models in a text table, in order."""
    return [line.split()[0] for line in table.splitlines() if line.split()[:1] and
            line.split()[0] in MODELS]  # fmt: skip


def comparison_of(*sizes, extra=()):
    """Models with codes of these sizes, real images, PCA of each size and of `extra` ones."""
    pca = {size: Row(f"PCA-{size}", f"PCA-{size}", "", {}) for size in sorted({*sizes, *extra})}
    models = [
        ModelResults(Row(f"m{n}", "", "AE", {}), {}, pca[size], Path())
        for n, size in enumerate(sizes)
    ]
    return Comparison(models, [Row("real", "Real images", "", {}), *pca.values()], {}, Path())


@pytest.mark.parametrize(
    ("comparison", "shown"),
    [
        (comparison_of(2, 20, 20), ["real", "PCA-2", "PCA-20"]),
        (comparison_of(2, extra=[32]), ["real", "PCA-2", "PCA-32"]),
        (comparison_of(9, 2, 20, 5, 20), ["real", "PCA-2", "PCA-9", "PCA-20"]),
        (comparison_of(1, 2, extra=[32, 40, 50]), ["real", "PCA-1", "PCA-2", "PCA-32"]),
        (comparison_of(), ["real"]),
    ],
)
def test_a_table_has_pca_with_the_usual_sizes_of_codes(comparison, shown):
    assert [row.name for row in with_few_baselines(comparison).baselines] == shown


def test_all_sizes_of_pca_are_shown_on_request(fork, capsys):
    """Without it, one line says how many there are."""
    results = fork.root / "results"
    for size in range(2, 6):
        shutil.copytree(results / "vae", results / f"copy_{size}")
        metrics = json.loads((results / "vae" / "metrics.json").read_text())
        metrics["pca"]["latent_dim"] = size
        (results / f"copy_{size}" / "metrics.json").write_text(json.dumps(metrics))
    fork.edit("params.yaml", models={f"copy_{size}": "x" for size in range(2, 6)})

    def sizes_of_pca(*argv):
        main(["results", *argv, "--project", str(fork.root)])
        out = capsys.readouterr().out
        return out.count("\nPCA-"), re.findall(r"PCA of \d+ other sizes.*", out)

    count, note = sizes_of_pca("--baselines")
    assert count >= 4
    assert note == []
    assert sizes_of_pca("--csv") == (count, [])
    assert sizes_of_pca() == (3, [f"PCA of {count - 3} other sizes of codes: --baselines"])


def test_json_has_all_values(run, tiny):
    content = json.loads(run("--json"))
    stored = json.loads((tiny.root / "results" / "vae" / "metrics.json").read_text())
    row = next(row for row in content["rows"] if row["name"] == "vae")
    assert row["metrics"]["fid"] == stored["fid"]
    assert (row["type"], row["family"]) == ("model", "VAE")
    assert {row["name"] for row in content["rows"] if row["type"] == "model"} == MODELS
    assert any(row["type"] == "baseline" and row["family"] is None for row in content["rows"])


@pytest.mark.parametrize("key", ["fid", "FID", "ssim", "recall", "num_parameters"])
def test_the_best_model_is_first(run, key):
    rows = {row["name"]: row["metrics"] for row in json.loads(run("--json"))["rows"]}
    metric = {"FID": "fid"}.get(key, key)
    best_first = sorted(MODELS, key=lambda name: rows[name][metric])
    if metric in ("ssim", "recall"):
        best_first.reverse()
    values = [rows[name][metric] for name in names(run("--sort", key))]
    assert values == [rows[name][metric] for name in best_first]


def test_the_column_that_sorts_is_shown(run):
    assert "Recall" not in run()
    assert "Recall" in run("--sort", "recall").splitlines()[0]
    assert names(run("--sort", "name")) == sorted(MODELS)


def test_a_family_keeps_the_baselines(run):
    table = run("--family", "GAN")
    assert names(table) == ["dcgan"]
    assert "Real images" in table


def test_markdown_is_a_table_of_equal_rows(run):
    lines = run("--markdown", "--family", "VAE").splitlines()
    assert lines[0].startswith("| model | family | FID | ")
    assert {line.count("|") for line in lines} == {lines[0].count("|")}
    assert lines[2].startswith("| vae | VAE | ")


def test_csv_is_readable(run):
    rows = list(csv.DictReader(io.StringIO(run("--csv", "--sort", "name"))))
    assert [row["model"] for row in rows if row["type"] == "model"] == sorted(MODELS)


def test_models_without_results_are_named(fork, capsys):
    (fork.root / "results" / "vae" / "cost.json").unlink()
    (fork.root / "reports" / "index.html").unlink()
    main(["results", "--project", str(fork.root)])
    out = capsys.readouterr().out
    assert "not measured yet: vae" in out
    assert out.endswith("no page yet: `latentlab repro report`\n")


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["--sort", "fit"], "no metric 'fit': did you mean 'fid'? metrics are name, fid"),
        (["--family", "Diffusion"], "no measured model of the family Diffusion: there are AE, GAN"),
        (["--family", "RNN"], "invalid choice: 'RNN'"),
        (["--json", "--csv"], "not allowed with argument"),
    ],
)
def test_an_unknown_metric_or_family_is_an_error(run, capsys, argv, message):
    with pytest.raises(SystemExit) as stopped:
        run(*argv)
    assert stopped.value.code == 2
    assert message in capsys.readouterr().err


def test_colours_only_where_they_are_wanted(run, monkeypatch):
    assert "\x1b[" not in run()
    monkeypatch.setenv("FORCE_COLOR", "1")  # the output then counts as a terminal
    monkeypatch.setenv("TERM", "xterm-256color")
    assert "\x1b[1;32m" in run(), "the best value is bold and green"
    monkeypatch.setenv("NO_COLOR", "1")
    assert "\x1b[1;32m" not in run()
