"""The page and the tables, made from a small invented project and, marked `browser`, looked at."""

import csv
import html
import json
import math
import re
import shutil
from html.parser import HTMLParser
from types import SimpleNamespace

import pytest
import torch
from sklearn.datasets import load_digits

from latentlab import charts, plots
from latentlab.contracts import LatentlabError
from latentlab.findings import Finding, Shown, write_finding
from latentlab.report.columns import BY_KEY, best_of
from latentlab.report.page import page as render
from latentlab.report.pieces import finding_html
from latentlab.report.results import format_table, read_results
from latentlab.stages import report

HOSTILE = '<img src=x onerror="alert(1)">'
MODELS = {
    "linear_ae": ("AE", "Linear autoencoder", 16.4, 0.0121, 0.934, 2_080),
    "stacked_ae": ("AE", "Stacked autoencoder", 21.7, 0.0092, 0.951, 190_614),
    "vae": ("VAE", "Variational autoencoder", 9.8, 0.0187, 0.912, 652_824),
    "dcgan": ("GAN", "Deep convolutional GAN", 4.13, 0.0304, 0.967, 1_203_713),
}


def write(path, content):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))


def scores(fid, mse, probe):
    return {
        "fid": fid,
        "kid": fid / 900,
        "kid_std": 0.001,
        "precision": 0.9 - fid / 100,
        "recall": mse * 20,
        "density": 0.9,
        "coverage": 0.8,
        "reconstruction_mse": mse,
        "reconstruction_sse": 64 * mse,
        "psnr_db": -10 * math.log10(mse),
        "ssim": 1 - 8 * mse,
        "probe_accuracy": probe,
        "judge_accuracy": 0.99 - 2 * mse,
    }


def write_model(folder, name, digits, labels, generator):
    family, title, fid, mse, probe, parameters = MODELS[name]
    metrics = scores(fid, mse, probe) | {"latent_dim": 16, "parameters": parameters}
    if family != "GAN":
        metrics["pca"] = scores(30.5, 0.0119, 0.93) | {"latent_dim": 16}
    if family == "VAE":
        metrics["test"] = {"loss": 24.2, "elbo_nats": -24.2}
        del metrics["judge_accuracy"]
    write(folder / "metrics.json", metrics)
    cost = {"train_seconds": 7.31 + fid, "images_per_second": 41234.5, "evaluate_seconds": 3.2}
    write(folder / "cost.json", cost | {"peak_memory_mb": 611.0})
    card = {
        "name": name,
        "family": family,
        "title": title,
        "sampler": "FittedMixture",
        "idea": "Squeeze an image through a few numbers and learn to bring it back.",
        "objective": "    L(x) = ‖x − x̂‖²        x̂ = decode(encode(x))",
        "paper": "Somebody & Others 1989, “Learning to compress”, eq. 3.",
        "features": "judge",
        "num_images_seen": 60000,
        "device": "cpu",
        "config": {"model": {"latent_dim": 16, "note": "</pre><script>alert(1)</script>"}},
    }
    write(folder / "card.json", card)
    noise = torch.randn(digits.shape, generator=generator)
    blurred = (digits + (2 * mse**0.5) * noise).clamp(0, 1)
    plots.save_grid(blurred[64:128], folder / "samples.png", columns=8)
    plots.save_pairs(digits[:16], blurred[:16], folder / "reconstructions.png")
    t = torch.linspace(0, 1, 8)[None, :, None, None, None]
    plots.save_rows(
        digits[:6, None] * (1 - t) + blurred[6:12, None] * t, folder / "interpolations.png"
    )
    axes = torch.pca_lowrank(blurred.flatten(1), q=4)[2]
    charts.save_map((blurred.flatten(1) @ axes)[:, :2], labels, None, folder / "map.png")
    lines = ["split,quantity,step,images,value"]
    for step in range(0, 60001, 1500):
        for split, above in (("train", 0.0), ("val", 2.0)):
            loss = 20 + fid + above + 300 * math.exp(-step / 4000) + math.cos(step)
            lines.append(f"{split},loss,{step // 100},{step},{loss!r}")
        lines.append(f"train,kl_nats,{step // 100},{step},{12 * (1 - math.exp(-step / 9000))!r}")
    (folder / "history.csv").write_text("\n".join(lines) + "\n")


@pytest.fixture(scope="module")
def evaluated(tmp_path_factory):
    """A project whose four models were all evaluated, on real digits with invented numbers."""
    root = tmp_path_factory.mktemp("project")
    data = load_digits()
    digits = torch.tensor(data.images[:360, None] / 16, dtype=torch.float32)
    labels = torch.tensor(data.target[:360])
    generator = torch.Generator().manual_seed(0)
    for name in MODELS:
        write_model(root / "results" / name, name, digits, labels, generator)
    reference = root / "results" / "reference"
    real = {"fid": 1.31, "kid": -0.0002, "precision": 0.74, "recall": 0.75, "density": 1.01}
    measured = {
        "real": real | {"coverage": 0.95, "judge_accuracy": 0.9861},
        "noise": {"fid": 611.4, "kid": 4.1, "precision": 0.0, "recall": 0.0},
        "pca_gaussian": {"fid": 33.3, "latent_dim": 32},
        "pixels": {"probe_accuracy": 0.957},
    }
    write(reference / "metrics.json", measured)
    card = {
        "data": "digits",
        "counts": {"train": 1293, "val": 144, "test": 360},
        "classes": [HOSTILE, *"123456789"],
        "image_shape": [1, 8, 8],
        "features": "judge",
        "num_samples": 360,
        "split_seed": 0,
        "data_sha256": "3f2a" * 16,
    }
    write(reference / "card.json", card)
    plots.save_grid(digits[:64], reference / "originals.png", columns=8)
    return root


@pytest.fixture
def root(evaluated, tmp_path):
    """A copy that a test may damage."""
    return shutil.copytree(evaluated, tmp_path / "project")


def project(root):
    return SimpleNamespace(
        root=root,
        seed=7,
        data=SimpleNamespace(name="digits"),
        models=dict.fromkeys(MODELS, "x"),
        tasks={},
    )


def edit(path, change):
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


def run(root, monkeypatch):
    monkeypatch.setattr(report, "load_project", lambda *_: project(root))
    report.main([])
    return (root / "reports" / "index.html").read_text(encoding="utf-8")


def test_the_stage_writes_two_files_twice_the_same_and_says_where(root, monkeypatch, capsys):
    first = run(root, monkeypatch)
    assert first == run(root, monkeypatch)
    assert sorted(p.name for p in (root / "reports").iterdir()) == ["index.html", "results.csv"]
    assert str(root / "reports" / "index.html") in capsys.readouterr().out
    with pytest.raises(LatentlabError, match="takes no arguments"):
        report.main(["vae"])


def test_text_table_is_aligned_and_holds_models_then_baselines(evaluated):
    table = format_table(read_results(project(evaluated)))
    heading, _, *lines = table.splitlines()
    assert [line.split("  ")[0] for line in lines] == [
        *MODELS, lines[4], "Real images", "PCA-16", "PCA-32", "Raw pixels", "Uniform noise",
    ]  # fmt: skip
    assert set(lines[4]) == {"─"}
    end = heading.index("FID") + 3
    for line, fid in zip(lines[:4], ["16.4", "21.7", "9.8", "4.1"], strict=True):
        assert line[:end].endswith(" " + fid)  # decimal points stand below each other
    assert re.search(r"vae .* 91\.2 +– ", table)  # no judge accuracy: absent, not zero
    assert re.search(r"Raw pixels +baseline +– +– +– +– +95\.7 +– +– +–", table)


def test_csv_holds_every_number_unrounded_and_absent_ones_empty(root, monkeypatch):
    run(root, monkeypatch)
    with (root / "reports" / "results.csv").open(newline="") as file:
        rows = {row["model"]: row for row in csv.DictReader(file)}
    assert list(rows) == [*MODELS, "real", "PCA-16", "PCA-32", "pixels", "noise"]
    for name in MODELS:
        saved = json.loads((root / "results" / name / "metrics.json").read_text())
        assert float(rows[name]["kid"]) == saved["kid"]
        assert float(rows[name]["evaluate_seconds"]) == 3.2
    assert rows["vae"]["judge_accuracy"] == ""
    assert float(rows["vae"]["elbo_nats"]) == float(rows["vae"]["test_loss"]) * -1 == -24.2
    assert rows["PCA-16"]["kind"] == "baseline"


def test_pca_of_one_code_size_is_one_row_completed_by_the_reference(root):
    def without_fid(metrics):
        del metrics["pca"]["fid"]

    for name in ("linear_ae", "stacked_ae", "vae"):
        edit(root / "results" / name / "metrics.json", without_fid)
    reference = root / "results" / "reference" / "metrics.json"
    edit(reference, lambda m: m["pca_gaussian"].update(latent_dim=16, probe_accuracy=0.1))
    (twin,) = [r for r in read_results(project(root)).baselines if r.name == "PCA-16"]
    assert twin.values["fid"] == 33.3
    assert twin.values["probe_accuracy"] == 0.93  # the twin's own number stays


def test_nothing_from_outside_reaches_the_page_unescaped(root, monkeypatch):
    page = run(root, monkeypatch)
    assert HOSTILE not in page
    assert html.escape(HOSTILE) in page
    assert page.count("<script") == 1
    assert "alert(1)</script>" not in page
    assert "{{" not in page


def test_the_page_asks_the_network_for_nothing(root, monkeypatch):
    page = run(root, monkeypatch)
    sources = []

    class Reader(HTMLParser):
        def handle_starttag(self, tag, attrs):
            assert tag not in {"iframe", "object", "embed", "base", "form"}
            sources.extend(value for key, value in attrs if key in {"src", "href", "srcset"})
            assert not [key for key, _ in attrs if key.startswith("on")]

    Reader().feed(page)
    assert len(sources) > 40
    assert all(source.startswith(("data:", "#")) for source in sources)
    assert not re.search(r"url\(|@import|fetch\(|XMLHttp", page)
    assert "default-src 'none'" in page


def test_a_page_without_labels_shows_dashes_and_no_invented_numbers(root, monkeypatch):
    def unlabelled(metrics):
        for part in (metrics, metrics.get("pca", {}), metrics.get("real", {})):
            part.pop("probe_accuracy", None)
            part.pop("judge_accuracy", None)
        metrics.pop("pixels", None)

    for folder in (root / "results").iterdir():
        edit(folder / "metrics.json", unlabelled)
        (folder / "history.csv").unlink(missing_ok=True)
        (folder / "cost.json").unlink(missing_ok=True)
        (folder / "map.png").unlink(missing_ok=True)
    edit(root / "results" / "reference" / "card.json", lambda card: card.update(classes=None))
    page = run(root, monkeypatch)
    assert "no labels" in page
    assert "no picture" in page
    assert "no curves" in page
    table = format_table(read_results(project(root)))
    assert all(re.search(r"– +–  ", line) for line in table.splitlines()[2:6])


def test_values_that_are_not_finite_are_shown_as_such_and_are_never_best(root):
    edit(root / "results" / "dcgan" / "metrics.json", lambda m: m.update(fid=float("nan")))
    edit(root / "results" / "vae" / "metrics.json", lambda m: m.update(fid=float("inf")))
    results = read_results(project(root))
    assert re.search(r"dcgan +GAN +NaN ", format_table(results))
    assert re.search(r"vae +VAE +∞ ", format_table(results))
    assert best_of(BY_KEY["fid"], results.rows) == 16.4
    assert "Linear autoencoder</a> <small>FID 16.4" in render(results)


def test_a_leader_that_was_flagged_leads_with_its_flag(root):
    told = "Deep convolutional GAN</a> <small>FID 4.1, where real images reach"
    before = render(read_results(project(root)))
    assert told in before
    assert "flagged" not in before
    finding = Finding(title="Copying", text="", flags=["copies noise"])
    write_finding(finding, root / "results" / "dcgan" / "studies" / "copying")
    after = render(read_results(project(root)))
    assert re.search(told + " [0-9.]+; flagged: copies noise</small>", after)


def test_what_is_missing_or_damaged_is_named_with_the_command_that_mends_it(root):
    def refused(match):
        with pytest.raises(LatentlabError, match=match):
            read_results(project(root))

    history = root / "results" / "vae" / "history.csv"
    history.write_text("split,quantity,step,images,value\ntrain,loss,1,128\n")
    refused(r"vae/history.csv is damaged .* `dvc repro -f evaluate@vae`")
    edit(root / "results" / "vae" / "card.json", lambda card: card.update(features="inception"))
    history.unlink()
    refused(r"vae was measured in feature space 'inception', the reference in 'judge'")
    (root / "results" / "vae" / "metrics.json").write_text("{")
    refused(r"results/vae/metrics.json is not readable JSON .* `dvc repro evaluate@vae`")
    (root / "results" / "vae" / "metrics.json").write_text("[1]")
    refused("holds a list, not an object")
    (root / "results" / "vae" / "metrics.json").unlink()
    refused(r"results/vae/metrics.json is missing: vae is not evaluated yet; run `dvc repro eval")
    (root / "results" / "dcgan" / "map.png").write_bytes(b"no picture")
    write(root / "results" / "vae" / "metrics.json", {})
    edit(root / "results" / "vae" / "card.json", lambda card: card.update(features="judge"))
    with pytest.raises(LatentlabError, match="not a readable PNG"):
        render(read_results(project(root)))
    (root / "results" / "reference" / "metrics.json").unlink()
    refused(r"reference is not measured yet; run `dvc repro reference`")


CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")


@pytest.fixture
def opened(root, monkeypatch):
    """The page in headless Chromium, and what went wrong there: (page, complaints)."""
    if CHROMIUM is None:
        pytest.skip("no Chromium on this machine (Debian: apt install chromium)")
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    run(root, monkeypatch)
    address = (root / "reports" / "index.html").as_uri()
    complaints = []

    def route(request_route):
        if request_route.request.url == address:
            request_route.continue_()
        else:
            complaints.append(f"request: {request_route.request.url[:100]}")
            request_route.abort()

    with playwright.sync_playwright() as tools:
        browser = tools.chromium.launch(
            executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"]
        )
        page = browser.new_page(viewport={"width": 1400, "height": 900})
        page.on("console", lambda message: complaints.append(f"console: {message.text}"))
        page.on("pageerror", lambda error: complaints.append(f"error: {error}"))
        page.route(re.compile(r"^(?!data:)"), route)
        page.goto(address)
        yield page, complaints
        browser.close()


def names(page):
    return page.eval_on_selector_all(
        "#results tbody tr", "rows => rows.filter(r => !r.hidden).map(r => r.cells[0].innerText)"
    )


BASELINES = ["Real images", "PCA-16", "PCA-32", "Raw pixels", "Uniform noise"]


@pytest.mark.browser
def test_in_a_browser_the_page_is_quiet_whole_and_sorts(opened):
    page, complaints = opened
    widths = page.eval_on_selector_all("img", "all => all.map(image => image.naturalWidth)")
    assert len(widths) == 3 + 2 * 4 * len(MODELS)
    assert min(widths) > 0
    titles = {name: MODELS[name][1] for name in MODELS}
    by_fid = [titles[name] for name in ("dcgan", "vae", "linear_ae", "stacked_ae")]

    def head(key):
        return page.locator(f'#results th[data-key="{key}"]')

    assert names(page) == [*titles.values(), *BASELINES]
    head("fid").get_by_role("button").click()
    assert head("fid").get_attribute("aria-sort") == "ascending"
    assert names(page)[:4] == by_fid
    assert names(page)[4:] == ["Real images", "PCA-16", "PCA-32", "Uniform noise", "Raw pixels"]
    head("fid").get_by_role("button").press("Enter")
    assert head("fid").get_attribute("aria-sort") == "descending"
    assert names(page)[:4] == by_fid[::-1]
    assert names(page)[8] == "Raw pixels"  # absent: last in both directions

    page.locator("#pin").uncheck()
    assert names(page)[0] == "Uniform noise"
    assert names(page)[-2:] == ["Real images", "Raw pixels"]
    head("judge_accuracy").get_by_role("button").click()
    assert head("judge_accuracy").get_attribute("aria-sort") == "descending"
    assert head("fid").get_attribute("aria-sort") == "none"
    assert names(page)[0] == "Real images"
    assert titles["vae"] in names(page)[-4:]
    assert complaints == []


@pytest.mark.browser
def test_in_a_browser_families_filter_and_pictures_enlarge(opened):
    page, complaints = opened
    page.locator('.chips button[data-family="AE"]').click()
    assert names(page) == ["Linear autoencoder", "Stacked autoencoder", *BASELINES]
    assert page.locator("article.model:visible").count() == 2
    assert page.locator(".side-by-side figure:visible").count() == 3 + 4 * 2
    page.locator('.chips button[data-family=""]').click()
    assert page.locator("article.model:visible").count() == len(MODELS)

    page.locator(".side-by-side .zoom").nth(1).click()
    shown = page.locator("dialog[open] img")
    assert shown.get_attribute("alt") == "Samples of Linear autoencoder"
    assert shown.evaluate("image => image.width % image.naturalWidth") == 0
    page.keyboard.press("Escape")
    assert page.locator("dialog[open]").count() == 0
    page.set_viewport_size({"width": 420, "height": 900})
    assert page.evaluate("document.documentElement.scrollWidth") == 420
    assert complaints == []


def test_numbers_of_a_finding_s_column_stand_below_each_other_and_none_is_rounded_to_zero():
    table = {
        "plain": {"auroc": 1.0, "sse": 12.5, "modes": 25.0},
        "cured": {"auroc": 0.99891, "sse": 3e-12, "modes": 1024.0},
        "other": {"auroc": 0.5, "sse": -4.0, "modes": -0.0},
        "fourth": {"auroc": 0.25},
    }
    shown = Shown("x", "X", "", table=table, numbers={}, flags=[], pictures=[])
    cells = re.findall(r"<td>([^<]+)</td>", finding_html(shown))
    wanted = "1.0000 12.500 25, 0.9989 3.0e−12 1,024, 0.5000 −4.000 0, 0.2500 – –"
    assert cells == [cell for row in wanted.split(", ") for cell in row.split()]
