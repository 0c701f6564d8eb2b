"""The page as a whole and, with the marker `browser`, in Chromium."""

import html
import re
import shutil
from html.parser import HTMLParser

import pytest

from latentlab.evaluation.results import Result, write_result
from latentlab.report.comparison import format_table, read_comparison
from latentlab.report.page import render_page
from latentlab.stages import report
from latentlab.utils.errors import LatentlabError

BASELINES = ["Real images", "PCA-16", "PCA-32", "Raw pixels", "Uniform noise"]
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")


def test_the_stage_writes_two_files_with_equal_bytes_each_time(root, run_stage, capsys):
    first = run_stage(root)
    assert first == run_stage(root)
    assert sorted(p.name for p in (root / "reports").iterdir()) == ["index.html", "results.csv"]
    assert str(root / "reports" / "index.html") in capsys.readouterr().out
    with pytest.raises(LatentlabError, match="takes no arguments"):
        report.main(["vae"])


def test_text_from_outside_is_escaped(root, run_stage, hostile):
    page = run_stage(root)
    assert hostile not in page
    assert html.escape(hostile) in page
    assert page.count("<script") == 1
    assert "alert(1)</script>" not in page
    assert "{{" not in page


def test_the_page_loads_nothing_from_the_network(root, run_stage):
    page = run_stage(root)
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


def test_a_page_without_labels_has_dashes_for_missing_values(root, run_stage, read, edit_json):
    def unlabelled(metrics):
        for part in (metrics, metrics.get("pca", {}), metrics.get("real", {})):
            part.pop("probe_accuracy", None)
            part.pop("classifier_accuracy", None)
        metrics.pop("pixels", None)

    for folder in (root / "results").iterdir():
        edit_json(folder / "metrics.json", unlabelled)
        (folder / "history.csv").unlink(missing_ok=True)
        (folder / "cost.json").unlink(missing_ok=True)
        (folder / "map.png").unlink(missing_ok=True)
    edit_json(root / "results" / "reference" / "card.json", lambda card: card.update(classes=None))
    page = run_stage(root)
    assert "no labels" in page
    assert "no figure" in page
    assert "no curves" in page
    table = format_table(read(root))
    assert all(re.search(r"– +–  ", line) for line in table.splitlines()[2:6])


def test_values_that_are_not_finite_are_not_highlighted(root, read, edit_json):
    edit_json(root / "results" / "dcgan" / "metrics.json", lambda m: m.update(fid=float("nan")))
    edit_json(root / "results" / "vae" / "metrics.json", lambda m: m.update(fid=float("inf")))
    comparison = read(root)
    assert re.search(r"dcgan +GAN +NaN ", format_table(comparison))
    assert re.search(r"vae +VAE +∞ ", format_table(comparison))
    assert "Linear autoencoder</a> <small>FID 16.4" in render_page(comparison)


def test_warnings_of_the_best_model_are_highlighted(root, read):
    best = "Deep convolutional GAN</a> <small>FID 4.1, real vs. real"
    before = render_page(read(root))
    assert best in before
    assert "warning:" not in before
    result = Result(title="Identity mapping", summary="", warnings=["copies noise"])
    write_result(result, root / "results" / "dcgan" / "diagnostics" / "identity_mapping")
    after = render_page(read(root))
    assert re.search(best + " [0-9.]+; warning: copies noise</small>", after)


def test_all_papers_of_a_model_are_listed(evaluated, read):
    page = render_page(read(evaluated))
    assert "<dt>Papers</dt><dd>Somebody &amp; Others 1989" in page
    assert "<dd>Other 1990.</dd>" in page


def test_a_task_has_a_section_of_its_own(root, read, project_of):
    assert "Downstream tasks" not in render_page(read(root))
    result = Result("Anomaly detection", "AUROC of one class.", table={"PCA": {"mean": 0.957}})
    write_result(result, root / "results" / "tasks" / "anomaly_detection" / "result")
    project = project_of(root)
    project.tasks["anomaly_detection"] = {}
    page = render_page(read_comparison(project))
    assert 'id="anomaly_detection"><h3>Anomaly detection</h3>' in page
    assert page.index("Downstream tasks") < page.index("0.9570")


@pytest.fixture
def opened(root, run_stage):
    """The page in headless Chromium, and its errors: (page, errors)."""
    if CHROMIUM is None:
        pytest.skip("no Chromium on this machine (Debian: apt install chromium)")
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    run_stage(root)
    address = (root / "reports" / "index.html").as_uri()
    errors = []

    def route(request_route):
        if request_route.request.url == address:
            request_route.continue_()
        else:
            errors.append(f"request: {request_route.request.url[:100]}")
            request_route.abort()

    with playwright.sync_playwright() as tools:
        browser = tools.chromium.launch(
            executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"]
        )
        page = browser.new_page(viewport={"width": 1400, "height": 900})
        page.on("console", lambda message: errors.append(f"console: {message.text}"))
        page.on("pageerror", lambda error: errors.append(f"error: {error}"))
        page.route(re.compile(r"^(?!data:)"), route)
        page.goto(address)
        yield page, errors
        browser.close()


def names(page):
    return page.eval_on_selector_all(
        "#results tbody tr", "rows => rows.filter(r => !r.hidden).map(r => r.cells[0].innerText)"
    )


@pytest.mark.browser
def test_the_page_sorts_without_errors_in_a_browser(opened, model_titles):
    page, errors = opened
    widths = page.eval_on_selector_all("img", "all => all.map(image => image.naturalWidth)")
    assert len(widths) == 3 + 2 * 4 * len(model_titles)
    assert min(widths) > 0
    by_fid = [model_titles[name] for name in ("dcgan", "vae", "linear_ae", "stacked_ae")]

    def head(key):
        return page.locator(f'#results th[data-key="{key}"]')

    assert names(page) == [*model_titles.values(), *BASELINES]
    head("fid").get_by_role("button").click()
    assert head("fid").get_attribute("aria-sort") == "ascending"
    assert names(page)[:4] == by_fid
    assert names(page)[4:] == ["Real images", "PCA-16", "PCA-32", "Uniform noise", "Raw pixels"]
    head("fid").get_by_role("button").press("Enter")
    assert head("fid").get_attribute("aria-sort") == "descending"
    assert names(page)[:4] == by_fid[::-1]
    assert names(page)[8] == "Raw pixels"  # missing: last in both orders

    page.locator("#pin").uncheck()
    assert names(page)[0] == "Uniform noise"
    assert names(page)[-2:] == ["Real images", "Raw pixels"]
    head("classifier_accuracy").get_by_role("button").click()
    assert head("classifier_accuracy").get_attribute("aria-sort") == "descending"
    assert head("fid").get_attribute("aria-sort") == "none"
    assert names(page)[0] == "Real images"
    assert model_titles["vae"] in names(page)[-4:]
    assert errors == []


@pytest.mark.browser
def test_families_and_enlarged_figures_work_in_a_browser(opened, model_titles):
    page, errors = opened
    page.locator('.chips button[data-family="AE"]').click()
    assert names(page) == ["Linear autoencoder", "Stacked autoencoder", *BASELINES]
    assert page.locator("article.model:visible").count() == 2
    assert page.locator(".gallery figure:visible").count() == 3 + 4 * 2
    page.locator('.chips button[data-family=""]').click()
    assert page.locator("article.model:visible").count() == len(model_titles)

    page.locator(".gallery .zoom").nth(1).click()
    shown = page.locator("dialog[open] img")
    assert shown.get_attribute("alt") == "Samples of Linear autoencoder"
    assert shown.evaluate("image => image.width % image.naturalWidth") == 0
    page.keyboard.press("Escape")
    assert page.locator("dialog[open]").count() == 0
    page.set_viewport_size({"width": 420, "height": 900})
    assert page.evaluate("document.documentElement.scrollWidth") == 420
    assert errors == []
