"""The model card: the docstring of the model's file, and of every file of models/."""

import ast
from types import SimpleNamespace

import pytest
import yaml

from latentlab.evaluation.model_card import describe, model_card
from latentlab.models import vae

DOCSTRING = """Some model: a summary that
is longer than one line.

    loss = a + b

    and = more

Prose of the file. Papers: none in this line.

Paper: First & Author 2014, "A title", eq. 1.
Paper: Second 2017, "A title that is so long that it does not fit into one
line", eq. 4.

Measured with 3 seeds.
"""


def test_the_parts_of_a_docstring():
    described = describe(DOCSTRING)
    assert described.title == "Some model"
    assert described.summary == "a summary that is longer than one line."
    assert described.objective == "loss = a + b"
    assert described.papers == (
        'First & Author 2014, "A title", eq. 1.',
        'Second 2017, "A title that is so long that it does not fit into one line", eq. 4.',
    )


def test_an_objective_of_several_lines_keeps_its_columns():
    text = "T: s.\n\n    q(z|x) = N(mu, sigma²)      z = mu + eps\n    loss   = 1\n      + 2\n\nA."
    assert describe(text).objective == "q(z|x) = N(mu, sigma²)      z = mu + eps\nloss   = 1\n  + 2"


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        (None, ("", "", "", ())),
        ("Only a title", ("Only a title", "", "", ())),
        ("T: a: b.", ("T", "a: b.", "", ())),
        ("T: s.\n\nProse.\n\nPaper: A.", ("T", "s.", "", ("A.",))),
        ("T: s.\nPaper: A.", ("T", "s. Paper: A.", "", ())),
    ],
)
def test_parts_that_are_not_there_are_empty(text, parts):
    described = describe(text)
    found = described.title, described.summary, described.objective, described.papers
    assert found == parts


def card(**resolved):
    trained = SimpleNamespace(
        name="own",
        module=object.__new__(vae.VAE),
        sampler=None,
        metadata={"device": "cpu", "images_seen": 7, "resolved": resolved},
    )
    return model_card(trained, SimpleNamespace(feature_space="classifier"))


def test_the_text_is_that_of_the_file_unless_the_config_has_its_own():
    described = describe(vae.__doc__)
    of_file = card()
    assert of_file["title"] == described.title == "Variational autoencoder"
    assert of_file["summary"] == described.summary
    assert of_file["papers"] == list(described.papers)
    assert (of_file["family"], of_file["images_seen"]) == ("VAE", 7)
    of_config = card(title="Mine", summary="my own.")
    assert (of_config["title"], of_config["summary"]) == ("Mine", "my own.")
    assert of_config["objective"] == of_file["objective"] == described.objective


def files(repo):
    return sorted(path for path in (repo / "src/latentlab/models").glob("[a-z]*.py"))


def test_every_model_has_a_title_a_summary_an_objective_and_a_paper(repo):
    """And the summary is a sentence; prose is not taken for a paper."""
    missing = {}
    for path in files(repo):
        described = describe(ast.get_docstring(ast.parse(path.read_text())))
        complete = {
            "title": bool(described.title) and len(described.title) < 70,
            "summary": described.summary.endswith("."),
            "objective": bool(described.objective),
            "papers": bool(described.papers)
            and all(any(c.isdigit() for c in paper) for paper in described.papers),
        }
        if lacking := [part for part, there in complete.items() if not there]:
            missing[path.name] = lacking
    assert missing == {}
    assert len(files(repo)) > 30


def test_two_configs_of_one_class_have_different_titles(repo):
    titles = {}
    for path in sorted((repo / "configs").glob("*.yaml")):
        content = yaml.safe_load(path.read_text())
        module, _, name = content["model"]["class_path"].rpartition(".")
        file = repo / "src" / f"{module.replace('.', '/')}.py"
        described = describe(ast.get_docstring(ast.parse(file.read_text())))
        title = content.get("title", described.title)
        titles.setdefault((name, title), []).append(path.stem)
    assert {key: names for key, names in titles.items() if len(names) > 1} == {}
