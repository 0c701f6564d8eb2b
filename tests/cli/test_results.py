"""`latentlab results`: formats, order, families, colours."""

import csv
import io
import json

import pytest

from latentlab.cli import main
from latentlab.cli.results import print_table, shown_metrics
from latentlab.config import load_project
from latentlab.report.comparison import format_table, read_comparison

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


def test_the_plain_table_is_that_of_the_report(tiny, capsys):
    comparison = read_comparison(load_project(tiny.root))
    print_table(comparison, shown_metrics(None, comparison))
    assert capsys.readouterr().out.rstrip("\n") == format_table(comparison)


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
    main(["results", "--project", str(fork.root)])
    assert "not measured yet: vae" in capsys.readouterr().out


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
    monkeypatch.setenv("FORCE_COLOR", "1")  # rich then takes the output for a terminal
    monkeypatch.setenv("TERM", "xterm-256color")
    assert "\x1b[1;32m" in run(), "the best value is bold and green"
    monkeypatch.setenv("NO_COLOR", "1")
    assert "\x1b[1;32m" not in run()
