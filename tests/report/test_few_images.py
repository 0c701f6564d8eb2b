"""Values that are means over some of the test images are named as such."""

import re

import pytest

from latentlab.report.facts import lead_of
from latentlab.report.few_images import few_clause, few_of, few_sentence
from latentlab.report.page import render_page

FAMILIES = {"AE": "autoencoders", "GAN": "GANs"}


@pytest.fixture
def few(root, read, edit_json):
    for name, count in (("vae", 360), ("dcgan", 72)):
        edit_json(
            root / "results" / name / "metrics.json",
            lambda m, n=count: m.update(num_reconstructed=n),
        )
    return read(root)


def test_the_lead_says_which_images_reconstructions_are_of(few, evaluated, read):
    assert "on the same 360 test images (GANs' reconstructions: the first 72), and" in lead_of(few)
    assert "on the same 360 test images, and" in lead_of(read(evaluated))


def test_a_family_of_both_kinds_is_not_named(few, root, read, edit_json):
    edit_json(root / "results" / "linear_ae" / "card.json", lambda card: card.update(family="GAN"))
    expected = "reconstructions without an encoder: the first 72"
    assert few_clause(read(root), FAMILIES) == expected


def test_only_reconstructions_are_of_few_images(few):
    rows = {row.name: row for row in few.rows}
    assert few_of(rows["dcgan"], "psnr_db", few) == 72
    assert few_of(rows["dcgan"], "fid", few) is None
    assert few_of(rows["vae"], "psnr_db", few) is None
    assert few_of(rows["real"], "classifier_accuracy", few) is None
    assert few_sentence("ssim", few) == "Here, dcgan: the first 72 test images."
    assert few_sentence("fid", few) == ""


def test_cells_and_the_glossary_say_it(few):
    page = render_page(few)
    row = page.split('data-row="dcgan"')[1].split("</tr>")[0]
    assert re.search(r'data-key="reconstruction_mse" title="first 72 test images"', row)
    assert not re.search(r'data-key="fid" title', row)
    card = page.split('data-model="dcgan"')[1].split("</article>")[0]
    assert card.count('<td title="first 72 test images">') == 5
    assert page.count("Here, dcgan: the first 72 test images.") == 5
