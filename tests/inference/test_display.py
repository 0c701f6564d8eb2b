"""A trained model at a prompt and in a notebook."""

import base64
import io
import json
import re

from PIL import Image

import latentlab


def test_a_model_is_one_line(tiny):
    vae = latentlab.load("vae", project=tiny.root)
    folder = tiny.root / "runs" / "vae"
    assert repr(vae) == (
        f"TrainedModel('vae', VAE, codes of 20 values, images 1×8×8, {str(folder)!r}, cpu)"
    )
    assert "classifier" in repr(latentlab.load("classifier", project=tiny.root))


def test_the_card_of_a_notebook_has_equation_samples_and_metrics(tiny):
    html = latentlab.load("vae", project=tiny.root)._repr_html_()
    assert "Variational autoencoder" in html
    assert "<pre>q(z|x) = N(" in html
    (png,) = re.findall(r"data:image/png;base64,([^\"]+)", html)
    with Image.open(io.BytesIO(base64.b64decode(png))) as image:
        assert image.width > image.height, "10 columns, 2 rows"
    fid = json.loads((tiny.root / "results" / "vae" / "metrics.json").read_text())["fid"]
    assert f"FID {fid:.1f}" in html


def test_a_model_that_is_not_measured_has_no_metrics(conditional):
    html = latentlab.load(conditional)._repr_html_()
    assert "Conditional VAE" in html
    assert "FID" not in html


def test_a_classifier_has_no_samples(tiny):
    assert "<img" not in latentlab.load("classifier", project=tiny.root)._repr_html_()


def test_titles_are_escaped(fork):
    path = fork.root / "runs" / "vae" / "experiment.json"
    content = json.loads(path.read_text())
    content["resolved"]["title"] = "<script>"
    path.write_text(json.dumps(content))
    html = latentlab.load("vae", project=fork.root)._repr_html_()
    assert "<script>" not in html
    assert "&lt;script&gt;" in html
