"""The page in Chromium: its three layers, its weight, and its printed pages."""

import json
import re
import shutil

import numpy as np
import pytest

from latentlab.report.comparison import read_comparison
from latentlab.report.page import render_page

playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
expect = playwright.expect
pytestmark = pytest.mark.browser
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
FIRST, SECOND = "model_0", "model_3"
MAX_BYTES, MAX_PRINTED = 2_000_000, 19


@pytest.fixture(scope="module")
def browser():
    if CHROMIUM is None:
        pytest.skip("no Chromium on this machine (Debian: apt install chromium)")
    with playwright.sync_playwright() as tools:
        browser = tools.chromium.launch(
            executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"]
        )
        yield browser
        browser.close()


@pytest.fixture
def visit(browser):
    """A function that opens a file with an address. At the end, nothing may have gone wrong."""
    errors, pages = [], []

    def opened(path, address="", *, width=1400, **options):
        page = browser.new_page(viewport={"width": width, "height": 900}, **options)
        pages.append(page)
        own = path.as_uri()

        def route(request_route):
            if request_route.request.url.split("#")[0] == own:
                request_route.continue_()
            else:
                errors.append(f"request: {request_route.request.url[:100]}")
                request_route.abort()

        page.on("console", lambda message: errors.append(f"console: {message.text}"))
        page.on("pageerror", lambda error: errors.append(f"error: {error}"))
        page.route(re.compile(r"^(?!data:)"), route)
        page.goto(own + address)
        return page

    yield opened
    for page in pages:
        page.close()
    assert errors == []


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """A function that writes a page to a file, once for each name."""
    folder = tmp_path_factory.mktemp("pages")

    def write(name, comparison):
        path = folder / f"{name}.html"
        if not path.exists():
            path.write_text(render_page(comparison), encoding="utf-8")
        return path

    return write


@pytest.fixture
def large(written, compared):
    """The page of 14 models and 3 tasks."""
    return written("large", compared)


@pytest.fixture
def small(written, evaluated, read):
    """The page of 4 models without images.npz."""
    return written("small", read(evaluated))


def names(page, kind="model"):
    """The shown rows of the table."""
    return page.eval_on_selector_all(
        f"#table tbody tr.{kind}", "rows => rows.filter(r => !r.hidden).map(r => r.dataset.row)"
    )


def columns(page):
    return page.eval_on_selector_all(
        "#table thead th[data-key]", "heads => heads.filter(h => !h.hidden).map(h => h.dataset.key)"
    )


def best(page, key):
    """The rows that are marked as best in a column."""
    return page.eval_on_selector_all(
        f'#table td.best[data-key="{key}"]',
        "cells => cells.map(cell => cell.parentElement.dataset.row)",
    )


def painted(page, selector):
    """True if a canvas has more than one color."""
    return page.eval_on_selector(
        selector,
        """canvas => {
          const all = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data;
          return new Set(all.filter((_, index) => index % 4 === 0)).size > 1;
        }""",
    )


def test_the_table_sorts_and_marks_the_best_of_the_shown_models(visit, small):
    page = visit(small)
    by_fid = ["dcgan", "vae", "linear_ae", "stacked_ae"]
    head = page.locator('#table th[data-key="fid"]')
    assert names(page) == ["linear_ae", "stacked_ae", "vae", "dcgan"]
    head.get_by_role("button").click()
    assert head.get_attribute("aria-sort") == "ascending"
    assert names(page) == by_fid
    head.get_by_role("button").press("Enter")
    assert head.get_attribute("aria-sort") == "descending"
    assert names(page) == by_fid[::-1]
    assert names(page, "baseline") == ["noise", "PCA-32", "PCA-16", "real", "pixels"]
    assert best(page, "fid") == ["dcgan"]
    page.locator('.chips button[data-family="AE"]').click()
    assert names(page) == ["stacked_ae", "linear_ae"]
    assert best(page, "fid") == ["linear_ae"]
    assert page.locator('.chips button[data-family="VAE"]').get_attribute("aria-pressed") == "false"
    page.locator('.chips button[data-family="AE"]').click()
    assert len(names(page)) == 4
    page.locator("#search").fill("vae")
    assert names(page) == ["vae"]
    assert best(page, "fid") == [], "one model is no comparison"
    page.locator("#baselines").uncheck()
    assert names(page, "baseline") == []


def test_equal_values_and_overlapping_intervals_are_ties(visit, written, root, read, edit_json):
    folder = root / "results"
    edit_json(folder / "vae" / "metrics.json", lambda m: m.update(fid=4.12, ssim=0.9))
    for name, ssim in (("dcgan", 0.91), ("linear_ae", 0.5), ("stacked_ae", 0.6)):
        edit_json(folder / name / "metrics.json", lambda m, v=ssim: m.update(ssim=v))
    for name in ("vae", "dcgan"):
        edit_json(folder / name / "metrics.json", lambda m: m.update(ssim_std=0.006))
    # an interval that reaches 0 overlaps all others, and says nothing
    edit_json(folder / "stacked_ae" / "metrics.json", lambda m: m.update(ssim_std=0.7))
    page = visit(written("ties", read(root)))
    assert best(page, "fid") == ["vae", "dcgan"], "both are printed as 4.1"
    page.locator('[data-preset="Reconstruct"]').click()
    assert sorted(best(page, "ssim")) == ["dcgan", "vae"]


def test_a_goal_chooses_columns_and_order(visit, small):
    page = visit(small)
    page.locator('[data-preset="Features"]').click()
    assert columns(page)[:2] == ["title", "probe_accuracy"]
    assert "fid" not in columns(page)
    assert names(page)[0] == "dcgan"
    page.locator("#columns summary").click()
    page.locator('#columns input[value="fid"]').check()
    assert "fid" in columns(page)
    assert page.locator("[data-preset][aria-pressed=true]").count() == 0


def test_points_of_the_scatter_plot_show_samples_and_open_the_card(visit, large):
    page = visit(large)
    assert page.locator("#scatter .point").count() == 14
    point = page.locator(f'#scatter .point[href="#model={FIRST}"]')
    point.focus()
    assert page.locator("#peek canvas").is_visible()
    point.press("Enter")
    expect(page.locator("article.model.open")).to_be_visible()
    assert page.locator("article.model:visible").count() == 1
    assert page.locator("#peek").is_hidden()


def test_one_model_has_no_scatter_plot_and_no_caption_of_it(visit, large):
    page = visit(large)
    caption = page.locator("#scatter figcaption")
    assert caption.is_visible()
    page.fill("#search", "dcgan")
    assert page.locator("#scatter .hint").is_visible()
    assert not caption.is_visible()


def test_a_card_opens_alone_and_has_its_pictures(visit, large):
    page = visit(large, f"#model={SECOND}")
    article = page.locator("article.model:visible")
    assert article.get_attribute("data-model") == SECOND
    expect(page.locator("article.model.open .figure img")).to_have_count(2)
    page.wait_for_timeout(300)
    assert painted(page, f'article[data-model="{SECOND}"] .pictures canvas')
    assert article.locator(".figure img").count() == 2
    assert article.locator(".chart svg[role=img]").count() > 0
    slider = article.locator(".training input[type=range]")
    assert article.locator(".training output").inner_text() == "after 9,000 images"
    slider.press("Home")
    assert article.locator(".training output").inner_text() == "after 0 images"
    surface = article.locator(".surface.with-plane")
    before = article.locator(".explore .hint").last.inner_text()
    surface.press("ArrowRight")
    after = article.locator(".explore .hint").last.inner_text()
    assert re.match(r"code \(.*\) · test image \d+, class", after)
    assert after != before
    article.locator('[data-step="1"]').click()
    expect(page.locator("article.model.open")).to_have_attribute("data-model", "model_4")
    page.go_back()
    expect(page.locator("article.model.open")).to_have_attribute("data-model", SECOND)
    page.locator(".brand").click()
    expect(page.locator("#table")).to_be_visible()
    assert page.locator("article.model:visible").count() == 0


@pytest.mark.parametrize("address", [f"#model={FIRST}", f"#compare={FIRST},{SECOND}"])
def test_a_log_scale_is_named_at_the_y_axis(visit, large, tmp_path, address):
    start, text, end = re.split(
        r'(?<=<script type="application/json" id="data">)(.*?)(?=</script>)',
        large.read_text(encoding="utf-8"),
    )
    data = json.loads(text)
    for lines in (curve["lines"] for curve in data["models"][FIRST]["curves"]):
        for line in lines.values():  # [training images, values]
            line[1] = [0.5 * 1.5**i for i in range(len(line[1]))]
    path = tmp_path / "log.html"
    path.write_text(start + json.dumps(data).replace("<", r"\u003c") + end, encoding="utf-8")

    def axes(page):
        """Text → y of the names and labels of the axes of the first chart."""
        chart = page.locator(".chart:visible").first
        return dict(
            chart.evaluate(
                """chart => [...chart.querySelectorAll(".axis-name, .tick")].map(
                    text => [text.textContent, +text.getAttribute("y")])"""
            )
        )

    plain, log = axes(visit(large, address)), axes(visit(path, address))
    assert "log scale" not in plain
    assert "training images" in plain.keys() & log.keys()
    highest = min(y for text, y in log.items() if text != "log scale")
    assert log["log scale"] + 11 < highest, "above the labels of the axis"


def test_the_map_shows_the_image_at_the_pointer_and_its_reconstruction(visit, large):
    page = visit(large, f"#model={FIRST}")
    surface = page.locator("article.model:visible .surface")
    box = surface.bounding_box()
    seen = set()
    for part in (0.2, 0.5, 0.8):
        surface.hover(position={"x": box["width"] * part, "y": box["height"] * part})
        seen.add(page.locator("article.model:visible .explore .hint").last.inner_text())
    assert len(seen) == 3
    assert page.locator("article.model:visible .single canvas").count() == 2


def test_two_models_are_compared_by_the_address(visit, large):
    page = visit(large, f"#compare={FIRST},{SECOND}")
    view = page.locator("#view-compare")
    assert view.is_visible()
    assert page.locator("#table").is_hidden()
    rows = view.locator(".differences tbody tr")
    fid = rows.filter(has_text="FID").first.locator("td").all_inner_texts()
    # 16.4 and 4.1; the difference is the second minus the first
    assert [text.split()[0] for text in fid] == ["16.4", "4.1", "1.3", "−12.3"]
    aligned = view.locator(".aligned").first.locator(".aligned-row canvas")
    boxes = [aligned.nth(index).bounding_box() for index in range(3)]
    assert len({(box["x"], box["width"]) for box in boxes}) == 1, "images are aligned"
    view.locator(".zoom-all").first.press("ArrowRight")
    wider = [aligned.nth(index).bounding_box()["width"] for index in range(3)]
    assert len(set(wider)) == 1, "the zoom is linked"
    assert wider[0] == boxes[0]["width"] * 1.5
    assert view.locator(".chart .line").count() >= 4
    view.locator("select[aria-label='Add a model']").select_option("model_5")
    expect(view.locator(".chip")).to_have_count(3)
    assert page.url.endswith(f"#compare={FIRST},{SECOND},model_5")


@pytest.fixture
def paired(root, edit_json):
    """A project whose GAN has reconstructions of the first 72 test images only."""
    accuracy = np.r_[np.ones(72), np.zeros(100), np.ones(188)]
    half = np.r_[np.ones(36), np.zeros(36)]
    for name, values in (("vae", accuracy), ("dcgan", half)):
        folder = root / "results" / name
        np.savez(folder / "per_image.npz", classifier_accuracy=values)
        found = {"classifier_accuracy": float(values.mean()), "num_reconstructed": len(values)}
        edit_json(folder / "metrics.json", lambda m, found=found: m.update(found))
    return root


def test_a_difference_is_that_of_the_command(visit, written, paired, read):
    """All 72 images of the VAE are right, half of the GAN: −50 and not 50 − 72.2."""
    path = written("paired", read(paired))
    for address, value in (
        ("vae,dcgan", "−50.0 [−61.1, −38.9]"),
        ("dcgan,vae", "+50.0 [+38.9, +61.1]"),
    ):
        page = visit(path, f"#compare={address}")
        rows = page.locator(".differences tbody tr")
        cells = rows.filter(has_text="Classifier %").locator("td")
        assert cells.last.inner_text() == f"{value}, 72 images"
        assert cells.last.locator("span").get_attribute("title") == "95 % interval by 72 images"
        assert cells.nth(address.split(",").index("dcgan")).get_attribute("title") == (
            "first 72 test images"
        )
        mse = rows.filter(has_text="MSE").locator("td").last.inner_text()
        assert mse == "measured on different images"
    point = page.locator('#scatter .point[href="#model=dcgan"]')
    assert point.locator("title").text_content().endswith("(first 72 test images)")


def test_ticks_lead_to_the_comparison_and_are_at_most_four(visit, large):
    page = visit(large)
    ticks = page.locator("#table .tick input")
    ticks.nth(0).check()
    assert page.locator("#tray a").count() == 0
    for index in (1, 2, 3):
        ticks.nth(index).check()
    assert ticks.nth(4).is_disabled()
    page.locator("#tray a").click()
    expect(page.locator("#view-compare .chip")).to_have_count(4)


def test_the_lecture_view_goes_with_arrow_keys(visit, large):
    page = visit(large, "#lecture")
    title = page.locator("#lecture h2")
    assert title.inner_text() == "14 models on digits"
    page.keyboard.press("ArrowRight")
    expect(title).to_have_text("Real test images")
    assert page.url.endswith("#lecture=2")
    page.keyboard.press("ArrowLeft")
    expect(title).to_have_text("14 models on digits")
    page.keyboard.press("Escape")
    expect(page.locator("#lecture")).to_be_hidden()


@pytest.mark.parametrize(
    "address", ["#model=none", "#compare=none,also", "#model=%E0%A4%A", "#lecture=x"]
)
def test_an_unknown_address_is_no_error(visit, small, address):
    page = visit(small, address)
    assert page.locator("h1").count() == 1


def test_the_page_is_light_and_prints_on_few_pages(visit, large):
    assert large.stat().st_size < MAX_BYTES
    page = visit(large)
    page.wait_for_timeout(1500)
    printed = page.pdf(prefer_css_page_size=True, print_background=True)
    count = len(re.findall(rb"/Type\s*/Page[^s]", printed))
    assert 3 <= count <= MAX_PRINTED
    page.emulate_media(media="print")
    card = page.locator(f'article[data-model="{FIRST}"]')
    assert card.locator(".metrics tr:visible th[scope=row]").all_inner_texts() == [
        "FID", "Recall", "MSE", "SSIM", "Probe %", "Train s"
    ]  # fmt: skip
    assert painted(page, f'article[data-model="{FIRST}"] .prints canvas')
    assert card.locator(".pictures").is_hidden()


@pytest.mark.parametrize("address", ["", f"#model={SECOND}", f"#compare={FIRST},{SECOND}"])
def test_nothing_is_wider_than_a_phone(visit, large, address):
    page = visit(large, address, width=390, device_scale_factor=2)
    page.wait_for_timeout(300)
    assert page.evaluate("document.documentElement.scrollWidth") == 390


def test_pictures_are_enlarged_by_whole_factors(visit, small):
    page = visit(small)
    page.locator("#gallery").scroll_into_view_if_needed()
    page.locator(".gallery .zoom").nth(1).click()
    shown = page.locator("dialog[open] canvas")
    assert shown.get_attribute("aria-label") == "Samples of Linear autoencoder"
    assert shown.evaluate("canvas => canvas.getBoundingClientRect().width % canvas.width") == 0
    page.keyboard.press("Escape")
    assert page.locator("dialog[open]").count() == 0


def test_hostile_names_are_inert_and_work(visit, written, root, project_of, edit_json):
    name = "<\\script>'\"&"
    (root / "results" / "vae").rename(root / "results" / name)
    title = "</script><script>document.title = 1</script>"
    edit_json(root / "results" / name / "card.json", lambda card: card.update(title=title))
    page = visit(written("hostile", read_comparison(project_of(root, [name, "dcgan"]))))
    assert page.title() == "latentlab · digits"
    page.get_by_role("link", name=title).first.click()
    expect(page.locator("article.model.open h2")).to_have_text(title)
    page.locator("[data-add]:visible").click()
    expect(page.locator("#view-compare .chip")).to_have_count(2)


def test_without_scripts_the_table_and_the_cards_are_readable(visit, large):
    page = visit(large, java_script_enabled=False)
    assert page.locator("#table").is_visible()
    assert page.locator("article.model").first.is_visible()
    assert page.locator(".needs-script:visible").count() == 0
