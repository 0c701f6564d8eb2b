"""The model card: the docstring of the model's file, and of every file of models/."""

import ast
import re
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

Differs from the paper: one thing that is so long
that it needs two lines.
Differs from the paper: another.

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
    assert described.differences == (
        "one thing that is so long that it needs two lines.",
        "another.",
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
        classes=None,
        metadata={"device": "cpu", "images_seen": 7, "resolved": resolved},
    )
    return model_card(trained, SimpleNamespace(feature_space="classifier", stored=None))


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


def test_differences_of_the_file_and_of_the_config_are_both_on_the_card():
    own = ["a sentence of the config."]
    found = card(differs_from_the_paper=own)["differs_from_the_paper"]
    assert found == [*describe(vae.__doc__).differences, *own]
    assert len(found) == 2


DEVIATIONS = {  # config: words of its deviations; {key} is the value of that setting
    "dcgan": ["same generated images"],
    "hinge_gan": ["same generated images", "betas {optim.betas.0} and {optim.betas.1}"],
    "conditional_gan": ["same generated images", "without ψ"],
    "wgan": [
        "Adam",
        "{optim.discriminator_steps} critic steps (paper: 5)",
        "clip {clip} (paper: 0.01)",
    ],
    "wgan_gp": ["{optim.discriminator_steps} critic steps (paper: 5)", "(paper: 1e-4)"],
    "began": ["same generated images", "batch normalization", "λ_k is {lambda_k} by default"],
    "infogan": [
        "same generated images",
        "multiplied by {codes.noise_scale}",
        "strength {recognition.affine_strength}",
        "standard deviation",
    ],
    "bigan": ["same generated images", "latent cycle loss has weight {latent_cycle_weight:g}"],
    "semi_supervised_gan": ["affine maps", "consistency loss", "0.93 %"],
    "adversarial_ae": ["weighted sum"],
    "vae_gan": ["averaged", "normalized"],
    "vae": ["binary pixels"],
    "iwae": ["ε = 1e-4", "10 nats"],
    "vae_200": ["ε = 1e-4", "3 nats"],
    "vq_vae": ["batch normalization before the codebook"],
    "vae_two_stage": ["posterior means"],
    "style_gan": ["mapping layers", "path length", "16/17"],
    "ddpm": ["cosine", "{sampling_steps} steps of DPM-Solver++", "hundredth of the network"],
}


def arguments(init_args, at=""):
    """Dotted keys of nested settings → values, with dots as attributes of names for `format`."""
    for key, value in init_args.items():
        place = f"{at}{key}"
        if isinstance(value, dict):
            yield from arguments(value, f"{place}.")
        elif isinstance(value, list):
            yield from ((f"{place}.{i}", each) for i, each in enumerate(value))
        else:
            yield place, value


@pytest.mark.parametrize("name", list(DEVIATIONS))
def test_the_card_says_where_a_model_differs_from_its_paper(repo, name):
    """Numbers in the sentences are those of the config."""
    content = yaml.safe_load((repo / "configs" / f"{name}.yaml").read_text())
    module = content["model"]["class_path"].rpartition(".")[0]
    file = repo / "src" / f"{module.replace('.', '/')}.py"
    described = describe(ast.get_docstring(ast.parse(file.read_text())))
    sentences = [*described.differences, *content.get("differs_from_the_paper", ())]
    assert all(sentence.endswith(".") for sentence in sentences)
    values = dict(arguments(content["model"]["init_args"]))
    for words in DEVIATIONS[name]:
        wanted = re.sub(
            r"\{([\w.]+)(:\w+)?\}", lambda m: format(values[m[1]], (m[2] or ":")[1:]), words
        )
        assert wanted in " ".join(sentences), sentences


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
