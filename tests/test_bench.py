"""The scripts of bench/: tables of the documentation, rows of results, costs and evidence."""

import importlib
import json
import math
import sys
from types import SimpleNamespace

import pytest
import torch
import yaml

from latentlab.config import load_project
from latentlab.config.selection import model_names
from latentlab.data.prepared import read_meta, read_split

PAGE = "# T\n\n<!-- a -->\n| model | x | y |\n|---|---:|---:|\n| `p` | 1 | 2 |\n\nend\n"
SCRIPTS = (
    *("tables", "results", "choose", "costs", "evidence", "headers", "intervals"),
    "metrics_elsewhere",
)


@pytest.fixture(scope="module")
def bench(repo):
    """The scripts as modules. They import each other by their bare names."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(repo / "bench")
        yield SimpleNamespace(**{name: importlib.import_module(name) for name in SCRIPTS})
        for name in SCRIPTS:
            del sys.modules[name]


@pytest.fixture
def page(tmp_path):
    path = tmp_path / "page.md"
    path.write_text(PAGE)
    return path


def test_rows_are_replaced_and_appended_and_all_else_stays(bench, page):
    bench.tables.update_table(page, "a", {"`p`": {"y": "5", "x": "4"}, "`q`": {"x": "6", "z": "7"}})
    assert page.read_text() == PAGE.replace("| `p` | 1 | 2 |", "| `p` | 4 | 5 |\n| `q` | 6 | – |")


def test_without_keep_the_other_rows_are_removed(bench, page):
    bench.tables.update_table(page, "a", {"`q`": {"x": "6", "y": "7"}}, keep=False)
    assert page.read_text() == PAGE.replace("| `p` | 1 | 2 |", "| `q` | 6 | 7 |")


def test_a_page_without_the_table_is_an_error_that_names_the_line(bench, page):
    with pytest.raises(SystemExit, match="<!-- b -->"):
        bench.tables.update_table(page, "b", {})
    with pytest.raises(SystemExit, match="<!-- b -->"):
        bench.tables.read_table(page, "b")
    assert page.read_text() == PAGE


def test_a_printed_table_is_read_back(bench, page):
    rows = {"`q`": {"x": "6", "y": "–"}, "`r`": {"x": "0.1 ± 0.2", "y": "7"}}
    page.write_text("\n".join(["<!-- a -->", "", *bench.tables.table_lines(["x", "y"], rows)]))
    assert bench.tables.read_table(page, "a") == rows


@pytest.mark.parametrize(
    ("page", "name"),
    [
        *(
            ("results", f"{data}, {seeds} seeds")
            for data in ("mnist_5k", "mnist")
            for seeds in (1, 3)
        ),
        *(("results", f"mnist_5k, {name}") for name in ("baselines", "sample seeds", "summary")),
        ("results", "mnist_5k, costs"),
        ("results", "mnist_5k, one training"),
        ("speed", "speed"),
    ],
)
def test_the_documentation_has_the_tables_that_the_commands_write(
    repo, bench, page, name, tmp_path
):
    copy = tmp_path / "page.md"
    copy.write_text((repo / "docs" / f"{page}.md").read_text())
    bench.tables.update_table(copy, name, {"`new`": {}})
    assert "| `new` | –" in copy.read_text()


@pytest.mark.parametrize(
    ("name", "columns"),
    [
        ("baselines", lambda bench: bench.evidence.BASELINE_COLUMNS),
        ("sample seeds", lambda bench: bench.evidence.MODEL_COLUMNS),
        ("costs", lambda bench: bench.costs.COLUMNS),
        ("one training", lambda bench: bench.intervals.COLUMNS),
    ],
)
def test_the_tables_have_the_columns_that_the_commands_write(repo, bench, name, columns, tmp_path):
    copy = tmp_path / "page.md"
    copy.write_text((repo / "docs/results.md").read_text())
    row = dict.fromkeys(columns(bench), "1")
    bench.tables.update_table(copy, f"mnist_5k, {name}", {"`new`": row})
    assert bench.tables.read_table(copy, f"mnist_5k, {name}")["`new`"] == row


def test_a_cell_has_half_of_the_interval_in_the_unit_of_its_column(bench):
    metrics = {"fid": 1234.56, "fid_low": 1230.0, "fid_high": 1240.0, "probe_accuracy": 0.9}
    metrics |= {"probe_accuracy_low": 0.88, "probe_accuracy_high": 0.91, "fid_infinity": 3.0}
    expected = {"FID": "1,234.6 ± 5.0", "FID∞": "3.0", "probe %": "90.0 ± 1.5"}
    assert bench.intervals.cells(metrics) == expected


def test_a_mapping_sets_several_keys_below_a_key_or_of_the_whole_config(bench):
    changes = bench.choose.changes
    assert changes("model.init_args.lr", 1e-3) == {"model.init_args.lr": 1e-3}
    assert changes("trainer", {"batch_size": 64, "max_epochs": 20}) == {
        "trainer.batch_size": 64,
        "trainer.max_epochs": 20,
    }
    assert changes(".", {"trainer.batch_size": 64}) == {"trainer.batch_size": 64}


def test_spread_is_mean_and_sample_standard_deviation_and_of_seconds_the_median(bench):
    rows = [{"fid": 1.0, "train_seconds": t, "images_seen": 6912} for t in (3.0, 100.0, 4.0)]
    rows[1]["fid"], rows[2]["fid"] = 2.0, 3.0
    assert bench.results.spread(rows, "fid", 1) == "2.0 ± 1.0"
    assert bench.results.spread(rows[:1], "fid", 2, 100) == "100.00"
    assert bench.results.spread(rows, "train_seconds", 0) == "4.0"
    assert bench.results.spread(rows[1:2], "train_seconds", 0) == "100"
    assert bench.results.spread(rows, "images_seen", 0) == "6,912"


def test_a_metric_that_one_seed_lacks_has_no_cell(bench):
    rows = [{"fid": 1.0, "cpu_seconds": 5.0}, {"fid": 1.0}]
    found = dict(zip(bench.results.COLUMNS, bench.results.cells(rows), strict=True))
    assert found["FID"] == "1.0 ± 0.0"
    assert found["CPU s"] == found["SSE"] == "–"


@pytest.mark.parametrize(("images", "epochs"), [(0, 1), (5000, 1), (5300, 2), (35_000, 10)])
def test_a_time_budget_is_the_nearest_number_of_whole_epochs(bench, images, epochs):
    trainer = {"batch_size": 128, "total_images": 1, "max_epochs": 3}
    bench.results.set_budget(trainer, images, epoch=3500)
    assert trainer == {"batch_size": 128, "total_images": epochs * 27 * 128}


def test_the_seeds_of_a_table_are_those_of_one_project(bench, tmp_path):
    """They share data and classifier; the first training has the seed 0."""
    folder = bench.results.project(tmp_path / "mnist_5k", "mnist_5k", [0, 2])
    project = load_project(folder)
    assert (project.seed, project.more_seeds, project.data.name) == (0, (2,), "mnist_5k")
    assert set(project.models) == set(model_names(folder))
    assert [bench.results.training("vae", seed).name for seed in (0, 2)] == ["vae", "vae@2"]


def test_a_model_that_fails_is_named_and_the_others_go_on(bench, tmp_path, monkeypatch, capsys):
    done = []

    def run(folder, stage, out, *names, threads=None):
        if names == ("bad@1",):
            raise bench.results.StageFailed("train, exit code 2")
        done.append((stage, *names, threads))

    monkeypatch.setattr(bench.results, "run", run)
    failed = bench.results.run_models(tmp_path, "mnist_5k", [0, 1], ["bad", "good"], jobs=2)
    assert failed == ["bad"]
    assert "# bad@1 failed: train, exit code 2" in capsys.readouterr().err
    for name in ("good", "good@1", "bad"):
        for stage in ("train", "evaluate"):
            assert (stage, name, 1) in done


def test_a_stage_that_fails_shows_the_end_of_its_output(bench, tmp_path):
    with pytest.raises(bench.results.StageFailed, match=r"exit code 2(.|\n)*params\.yaml"):
        bench.results.run(tmp_path, "prepare", tmp_path / "out")
    (tmp_path / "out").mkdir()
    bench.results.run(tmp_path, "prepare", tmp_path / "out")  # exists: nothing runs


def test_trial_data_are_a_part_of_large_data_and_all_of_small_data(
    bench, digits, tmp_path, monkeypatch
):
    assert bench.results.trial_data(digits, tmp_path / "part") == digits
    monkeypatch.setattr(bench.results, "TRIAL", 200)
    part = bench.results.trial_data(digits, tmp_path / "part")
    assert 190 <= read_meta(part).counts["train"] <= 210
    whole = {row.numpy().tobytes() for row in read_split(digits, "train").images}
    assert all(row.numpy().tobytes() in whole for row in read_split(part, "train").images)


@pytest.fixture(scope="module")
def digits(tmp_path_factory):
    """A prepared folder of 8 × 8 digits."""
    from latentlab.data.prepared import write_prepared
    from latentlab.data.settings import DataSettings
    from latentlab.data.sources import load_source

    settings, root = DataSettings(name="digits"), tmp_path_factory.mktemp("digits")
    write_prepared(load_source(settings, root), settings, 0, root / "prepared")
    return root / "prepared"


def test_choose_sets_a_key_that_the_config_does_not_have(bench, tmp_path):
    first = bench.results.project(tmp_path / "mnist_5k", "mnist_5k")
    before = yaml.safe_load((first / "configs/vae.yaml").read_text())
    before["trainer"].pop("max_epochs", None)
    (first / "configs/vae.yaml").write_text(yaml.safe_dump(before))
    folder = bench.choose.variant(first, "vae", "trainer.max_epochs", 7)
    after = yaml.safe_load((folder / "configs/vae.yaml").read_text())
    assert after.pop("trainer") == {**before.pop("trainer"), "max_epochs": 7}
    assert after == before
    assert folder == tmp_path / "mnist_5k-choose"


def test_set_key_creates_sections_and_keeps_their_other_keys(bench):
    config = {"model": {"init_args": {"lr": 1}}}
    bench.choose.set_key(config, "model.init_args.network.init_args.hidden", [2])
    assert config["model"]["init_args"] == {"lr": 1, "network": {"init_args": {"hidden": [2]}}}


def test_costs_are_read_and_summed(bench, tmp_path):
    for path, cost in {
        "runs/classifier": {"train_seconds": 36.2},
        "runs/vae": {"train_seconds": 10.0},
        "results/vae": {"train_seconds": 10.0, "evaluate_seconds": 5.04},
        "results/tasks/retrieval": {"task_seconds": 7.0},
    }.items():
        (tmp_path / path).mkdir(parents=True)
        (tmp_path / path / "cost.json").write_text(json.dumps(cost))
    names = ("classifier", "vae", "retrieval", "absent")
    found = {name: bench.costs.seconds(tmp_path, name) for name in names}
    assert found["absent"] == {}
    assert found["vae"] == {"train s": 10.0, "evaluate s": 5.04}
    rows = bench.costs.cost_rows(found)
    assert rows["sum"] == {"train s": "46.2", "evaluate s": "5.0", "task s": "7.0"}
    assert rows["`retrieval`"] == {"task s": "7.0"}


def test_fids_of_full_mnist_are_read_without_marks_and_spreads(bench, tmp_path):
    page = tmp_path / "page.md"
    rows = {
        "`a`": {"class FID": "55.3"},
        "`b` †": {"class FID": "290.4 ± 4.9"},
        "`c`": {"class FID": "9,029.9"},
        "`d`": {"class FID": "–"},
        "real images": {"class FID": "0.4"},
    }
    lines = bench.tables.table_lines(["class FID"], rows)
    page.write_text("\n".join([f"<!-- {bench.evidence.FULL} -->", *lines]))
    assert bench.evidence.full_fids(page) == {"a": 55.3, "b": 290.4, "c": 9029.9}


def test_the_page_has_fids_of_full_mnist(repo, bench):
    found = bench.evidence.full_fids(repo / "docs/results.md")
    assert found["dcgan"] == 55.3
    assert found["conv_ae"] == 62.8  # its row has a mark


MEASURED = {"b": (20.0, 3.0), "a": (10.0, 4.0), "c": (25.0, 4.0)}


def test_difference_ratios_are_in_standard_deviations_of_a_difference(bench):
    assert bench.evidence.ranked(MEASURED) == ["a", "b", "c"]
    ratios = bench.evidence.difference_ratios(MEASURED)
    assert ratios == pytest.approx({"b": 10 / 5, "c": 5 / 5})
    assert bench.evidence.difference_ratios({"a": (1.0, 0.0), "b": (2.0, 0.0)})["b"] == math.inf


def test_rank_correlation_is_that_of_the_ranks_of_common_models(bench):
    measured = {
        name: (fid, 1.0) for name, fid in zip("abcdx", (1.0, 2.0, 3.0, 40.0, 0.0), strict=True)
    }
    full = {"a": 10.0, "b": 30.0, "c": 20.0, "d": 21.0, "y": 5.0}
    difference = torch.tensor([1.0, 2.0, 3.0, 4.0]) - torch.tensor([1.0, 4.0, 2.0, 3.0])
    expected = 1 - 6 * float((difference**2).sum()) / (4 * (4**2 - 1))  # Spearman 1904
    assert bench.evidence.rank_correlation(measured, full) == pytest.approx(expected)
    assert math.isnan(bench.evidence.rank_correlation(measured, {"a": 1.0, "b": 2.0}))


def test_the_summary_counts_clear_differences_and_names_models_that_are_left_out(bench):
    measured = {"a": (10.0, 1.0), "b": (20.0, 1.0), "c": (20.5, 1.0), "d": (90.0, 1.0)}
    answers = bench.evidence.summary_rows(measured, {"a": 1.0, "b": 2.0, "d": 3.0})
    assert [row["answer"] for row in answers.values()] == ["2 of 3", "1.00 (3 models)", "`c`"]


def test_rows_of_models_are_in_order_of_their_fid(bench):
    rows = bench.evidence.model_rows(MEASURED, {"a": 5.0})
    assert list(rows) == ["`a`", "`b`", "`c`"]
    assert list(rows["`a`"].values()) == ["10.0", "4.0", "–", "5.0"]
    assert list(rows["`b`"].values()) == ["20.0", "3.0", "2.0", "–"]


def test_rows_of_baselines_have_their_metrics(bench):
    metrics = {"fid": 12324.81, "precision": 0.0, "density": 1.0076}
    rows = bench.evidence.baseline_rows(
        {"real": metrics, "pca_gaussian": metrics, "noise": metrics}
    )
    assert rows["uniform noise"] == {"FID": "12,324.8", "precision": "0.000", "density": "1.008"}
    assert len(rows) == 3


HEADER = "# A model.\n# mnist_5k, 1 seed, old:\n#   FID 1.0.\n# Command: old\n# MNIST, 1 seed:\n"
BODY = "#   FID 2.0.\n# Command: python x\nmodel: {}\n"


def test_a_block_of_a_header_replaces_the_old_one_and_nothing_else(bench) -> None:
    lines = ["# mnist_5k, 3 seeds:", "#   FID 3.0.", "# Command: new"]
    new = bench.headers.with_block(HEADER + BODY, lines)
    assert new == "# A model.\n" + "\n".join(lines) + "\n# MNIST, 1 seed:\n" + BODY
    assert bench.headers.with_block(new, lines) == new
    without = "# A model.\n# MNIST, 1 seed:\n" + BODY
    assert bench.headers.with_block(without, lines) == without.replace(
        "model: {}", "\n".join(lines) + "\nmodel: {}"
    )


def test_a_header_has_mean_and_deviation_and_short_lines(bench) -> None:
    rows = [
        {"fid": fid, "reconstruction_sse": 1.0, "cpu_seconds": 10.4, "test_elbo_nats": -100.0}
        for fid in (1.0, 3.0)
    ]
    assert bench.headers.block("vae", rows) == [
        "# mnist_5k, 2 seeds, 10 CPU seconds of training:",
        "#   FID 2.0 ± 1.4. SSE 1.00 ± 0.00. ELBO −100.0 ± 0.0 nats.",
        "# Command: python bench/results.py --models vae",
    ]
    assert bench.headers.block("vae", rows[:1])[-1].endswith("--models vae --seeds 0")
    filled = bench.headers.filled(["A sentence of some length."] * 12)
    assert max(map(len, filled)) <= bench.headers.WIDTH
    assert sum(line.count("A sentence") for line in filled) == 12


# --- docs/metrics-elsewhere.md ---


@pytest.fixture
def elsewhere(bench):
    module = bench.metrics_elsewhere
    return module, bench.tables.read_table(module.PAGE, module.TABLE)


def test_our_column_is_what_the_code_computes(elsewhere):
    module, rows = elsewhere
    values = module.ours(module.inputs())
    assert len(rows) > 40
    for first, row in rows.items():
        metric = first.split("`")[1]
        assert float(row["ours"]) == pytest.approx(values[metric], rel=1e-5), first


def test_every_metric_has_a_package_that_agrees(elsewhere):
    module, rows = elsewhere
    agreeing = {first.split("`")[1] for first, row in rows.items() if row["difference"] == "0"}
    assert agreeing == set(module.METRICS)


def test_every_package_has_a_row(elsewhere):
    module, rows = elsewhere
    for package in module.PACKAGES:
        name = package.split("==")[0]
        if name not in ("torch", "torchvision"):
            assert any(f", {name}" in first for first in rows), name


def test_the_page_says_when_and_with_what(elsewhere):
    module, _ = elsewhere
    text = module.PAGE.read_text(encoding="utf-8")
    assert all(package in text for package in module.PACKAGES)
