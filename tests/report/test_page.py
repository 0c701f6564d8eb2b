"""The page as a whole: one file, escaped, complete."""

import base64
import hashlib
import json
import re
from html.parser import HTMLParser

import pytest
from markupsafe import escape

from latentlab.evaluation.results import Result, write_result
from latentlab.report.comparison import read_comparison
from latentlab.report.page import render_page
from latentlab.stages import report
from latentlab.utils.errors import LatentlabError


def data_of(page, name="data"):
    """The JSON of a data block."""
    return json.loads(re.search(rf'id="{name}">(.*?)</script>', page, re.S)[1])


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
    assert str(escape(hostile)) in page
    assert page.count("<script") == 3, "two of them are JSON, which is not run"
    assert "alert(1)</script>" not in page
    assert "{{" not in page
    assert data_of(page)["classes"][0] == hostile


def test_the_security_policy_names_the_script_by_its_hash(root, run_stage):
    page = run_stage(root)
    script = re.search(r"<script>(.*?)</script>", page, re.S)[1]
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}'" in page
    assert "unsafe-inline'; script-src" in page
    assert "script-src 'unsafe" not in page


def test_names_that_end_a_script_are_inert(root, project_of, edit_json):
    name = "</script><b>'\"\u2028"
    (root / "results" / "vae").rename(root / "results" / name.replace("/", "-"))
    name = name.replace("/", "-")
    edit_json(root / "results" / name / "card.json", lambda c: c.update(title="</script><i>"))
    page = render_page(read_comparison(project_of(root, [name, "dcgan"])))
    assert page.count("</script>") == 3
    assert "<i>" not in page.replace('<i class="mark"', "")
    assert "\u2028" not in data_of.__doc__ + page[page.index('id="data"') :]
    assert list(data_of(page)["models"]) == [name, "dcgan"]


def test_the_page_loads_nothing_from_the_network(root, run_stage):
    page = run_stage(root)
    sources = []

    class Reader(HTMLParser):
        def handle_starttag(self, tag, attrs):
            assert tag not in {"iframe", "object", "embed", "base", "form"}
            sources.extend(value for key, value in attrs if key in {"src", "href", "srcset"})
            assert not [key for key, _ in attrs if key.startswith("on")]

    Reader().feed(page)
    assert len(sources) > 10
    assert all(source.startswith(("data:", "#")) for source in sources)
    assert not re.search(r"url\(|@import|fetch\(|XMLHttp|WebSocket|sendBeacon", page)
    assert "default-src 'none'" in page


def test_a_page_without_labels_has_dashes_for_missing_values(
    root, run_stage, read, edit_json, text_table
):
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
    assert data_of(page)["models"]["vae"]["curves"] == []
    assert "mapFigure" not in data_of(page)["models"]["vae"]
    table = text_table(read(root))
    assert all(re.search(r"– +–  ", line) for line in table.splitlines()[2:6])


def test_values_that_are_not_finite_are_not_highlighted(root, read, edit_json, text_table):
    edit_json(root / "results" / "dcgan" / "metrics.json", lambda m: m.update(fid=float("nan")))
    edit_json(root / "results" / "vae" / "metrics.json", lambda m: m.update(fid=float("inf")))
    comparison = read(root)
    assert re.search(r"dcgan +GAN +NaN ", text_table(comparison))
    assert re.search(r"vae +VAE +∞ ", text_table(comparison))
    assert headline(render_page(comparison), "Best samples") == "Linear autoencoder FID 16.4"


def headline(page, title):
    """The model and the value of a headline, as text."""
    part = page.split(f">{title}<")[1].split('<span class="strip')[0]
    model, value = (
        re.search(r"<a [^>]*>([^<]+)</a>", part)[1],
        re.search(r"<b>([^<]+)</b>", part)[1],
    )
    return f"{model} {value}"


def test_warnings_are_short_labels_with_their_sentence(root, read):
    assert 'class="flag"' not in render_page(read(root))
    warnings = ["mode collapse: 4 of 10 classes", "mode collapse: variance ratio 0.2"]
    result = Result(title="GAN training", summary="", warnings=warnings)
    write_result(result, root / "results" / "dcgan" / "diagnostics" / "gan_training")
    page = render_page(read(root))
    flag = re.search(
        r'<span class="flag" title="([^"]+)"><span class="sr">Warning: </span>([^<]+)', page
    )
    assert flag.groups() == ("; ".join(warnings), "mode collapse")
    row = page.split('data-row="dcgan"')[1].split("</tr>")[0]
    assert "mode collapse" in row
    assert page.count("<b>Warning:</b> mode collapse") == 4, (
        "card and diagnostic, two sentences each"
    )


def test_code_in_backticks_is_an_element_and_escaped(root, read, edit_json):
    differs = ["needs `a <b> c`."]
    edit_json(
        root / "results" / "vae" / "card.json",
        lambda card: card.update(differs_from_the_paper=differs),
    )
    page = render_page(read(root))
    assert "<dd>Needs <code>a &lt;b&gt; c</code>.</dd>" in page
    assert "<code>evaluation.inversion_num_images</code>" in page.split('id="glossary"')[1]
    assert "`" not in page.split("<body>")[1].split("<script")[0]


@pytest.mark.parametrize(
    ("folder", "name"), [("data/leaves", "leaves"), ("../leaves.tar.gz", "leaves"), ("", "digits")]
)
def test_own_images_have_the_name_of_their_folder(root, read, edit_json, folder, name):
    results = root / "results"
    loader = "image_folder" if folder else "digits"
    edit_json(results / "reference" / "card.json", lambda card: card.update(data=loader))
    config = {"data": {"name": loader, "folder": folder}}
    edit_json(results / "linear_ae" / "card.json", lambda card: card.update(config=config))
    page = render_page(read(root))
    assert f"<h1>4 models on {name}</h1>" in page
    assert f"<title>latentlab · {name}</title>" in page
    assert data_of(page)["name"] == name


def test_all_papers_of_a_model_are_listed(evaluated, read):
    page = render_page(read(evaluated))
    assert "<dt>Paper</dt><dd>Somebody &amp; Others 1989" in page
    assert "<dt></dt><dd>Other 1990.</dd>" in page


def test_differences_from_the_paper_are_on_the_card(root, read, edit_json):
    differs = ["one <b> thing.", "another."]
    edit_json(
        root / "results" / "vae" / "card.json",
        lambda card: card.update(differs_from_the_paper=differs),
    )
    page = render_page(read(root))
    assert "<dt>Differs from the paper</dt><dd>One &lt;b&gt; thing.</dd>" in page
    assert "<dt></dt><dd>Another.</dd>" in page


def test_uses_of_labels_are_on_the_card_of_data_with_labels(root, read, edit_json):
    uses = ["training: <all> labels", "tuning: alpha."]
    edit_json(
        root / "results" / "vae" / "card.json", lambda card: card.update(uses_labels_for=uses)
    )
    page = render_page(read(root))
    assert "<dt>Uses labels for</dt><dd>training: &lt;all&gt; labels</dd>" in page
    assert "<dt></dt><dd>tuning: alpha.</dd>" in page
    assert page.count("<dt>Uses labels for</dt><dd>nothing</dd>") == 3, "the other models"
    edit_json(root / "results" / "reference" / "card.json", lambda card: card.update(classes=None))
    assert "Uses labels for" not in render_page(read(root))


def test_a_paper_with_an_identifier_is_a_link(root, read, edit_json):
    papers = ["Kingma & Welling 2014, arXiv:1312.6114."]
    edit_json(root / "results" / "vae" / "card.json", lambda card: card.update(papers=papers))
    assert '<a href="https://arxiv.org/abs/1312.6114" rel="noreferrer">Kingma' in render_page(
        read(root)
    )


def test_the_table_has_every_metric_of_every_row(evaluated, read):
    page = render_page(read(evaluated))
    table = page.split('<table id="table">')[1].split("</table>")[0]
    row = table.split('data-row="linear_ae"')[1].split("</tr>")[0]
    cell = row.split('data-key="reconstruction_mse"')[1].split("</td>")[0]
    assert "<span>0.0121</span>" in cell
    assert "worse than PCA-16" in cell
    assert table.count("<tr data-row=") == 4 + 5
    heads = re.findall(r'<th scope="col" data-key="([^"]+)"', table)
    assert {"fid", "likelihood/elbo_nats", "peak_memory_mb"} <= set(heads)


def test_a_card_compares_a_model_with_pca_of_its_size_and_real_images(evaluated, read):
    page = render_page(read(evaluated))
    heads = {
        name: re.findall(r'<th scope="col">([^<]+)</th>', text.split("</thead>")[0])
        for name, text in re.findall(r'data-model="(\w+)".*?metrics">(.*?)</table>', page, re.S)
    }
    assert heads["vae"] == ["This model", "PCA-16", "Real images"]
    assert heads["dcgan"] == ["This model", "Real images"]
    assert "<dt>Loss, test</dt><dd>24.20</dd>" in page


def test_a_card_has_the_equation_or_the_text_of_a_users_model(root, read, edit_json):
    def config_of(class_path):
        return lambda card: card.update(config={"model": {"class_path": class_path}})

    edit_json(root / "results" / "vae" / "card.json", config_of("latentlab.models.vae.VAE"))
    edit_json(root / "results" / "dcgan" / "card.json", config_of("my_models.dcgan.DCGAN"))
    articles = dict(re.findall(r'data-model="(\w+)"(.*?)</article>', render_page(read(root)), re.S))
    assert "<math" in articles["vae"]
    assert "What you should see" in articles["vae"]
    assert "src/latentlab/models/vae.py" in articles["vae"]
    assert "<math" not in articles["dcgan"]
    assert "L(x) = ‖x − x̂‖²" in articles["dcgan"]
    assert "my_models/dcgan.py" in articles["dcgan"]
    assert "latentlab.load(&#34;dcgan&#34;)" in articles["dcgan"]


def test_the_date_is_that_of_the_newest_result(root, read, edit_json):
    assert "Newest result" not in render_page(read(root))
    for name, day in (("vae", "02"), ("dcgan", "03"), ("linear_ae", "01")):
        stored = {"time": f"2026-01-{day}T10:20:30+00:00", "commit": "0123456789abcdef"}
        stored |= {"versions": {"latentlab": "0.1.0"}, "mlflow_run_id": f"run-of-{name}"}
        edit_json(
            root / "results" / name / "cost.json", lambda cost, s=stored: cost.update(provenance=s)
        )
    assert "Threads of a training" not in render_page(read(root)), "results of older versions"
    for name, threads in (("vae", 1), ("dcgan", 4)):
        used = {"threads": threads, "cpu": "AVX2", "system": "Linux x86_64"}
        edit_json(
            root / "results" / name / "cost.json",
            lambda cost, used=used: cost["provenance"].update(environment=used),
        )
    page = render_page(read(root))
    assert re.search(r"Threads of a training.*1 or 4.*AVX2, Linux x86_64", page, re.S)
    assert "2026-01-03 10:20" in page
    assert "commit 0123456789" in page
    assert "run-of-vae" in page


def test_a_task_has_a_section_of_its_own(root, read, project_of):
    assert "Downstream tasks" not in render_page(read(root))
    result = Result("Anomaly detection", "AUROC of one class.", table={"PCA": {"mean": 0.957}})
    write_result(result, root / "results" / "tasks" / "anomaly_detection" / "result")
    project = project_of(root)
    project.tasks["anomaly_detection"] = {}
    page = render_page(read_comparison(project))
    assert 'id="task-anomaly_detection"><h3>Anomaly detection</h3>' in page
    assert page.index("Downstream tasks") < page.index("<td>0.9570</td>")
