"""The objective of every model as MathML, and what one should see."""

import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

import latentlab
from latentlab.report.equations import _notes, mathml, note_of

MODELS = sorted(
    path.stem
    for path in (Path(latentlab.__file__).parent / "models").glob("[a-z]*.py")
    if path.stem != "classifier"  # it is no generative model and has no card
)


@pytest.mark.parametrize("name", MODELS)
def test_every_model_has_an_equation_and_two_sentences(name):
    note = note_of(f"latentlab.models.{name}.SomeClass")
    assert note is not None
    assert 1 <= len(note.objective) <= 3
    for formula in note.objective:
        assert ET.fromstring(formula).tag.endswith("math")
    for sentence in (note.see, note.why):
        assert sentence.endswith(".")
        assert 20 < len(sentence) < 200


def test_a_config_can_have_sentences_of_its_own():
    of_class = note_of("latentlab.models.autoencoder.Autoencoder", "stacked_ae")
    of_config = note_of("latentlab.models.autoencoder.Autoencoder", "deep_ae_2d")
    assert "sharp" in of_class.see
    assert "blurred" in of_config.see
    assert of_config.objective == of_class.objective
    other = note_of("latentlab.models.vae.VAE", "deep_ae_2d")
    assert other == note_of("latentlab.models.vae.VAE"), "a config of another class"


@pytest.mark.parametrize("name", MODELS)
def test_sentences_of_configs_are_of_configs(name):
    configs = Path(latentlab.__file__).parents[2] / "configs"
    for config, words in (_notes()[name].get("configs") or {}).items():
        assert f"latentlab.models.{name}." in (configs / f"{config}.yaml").read_text()
        assert set(words) == {"see", "why"}
        assert all(text.endswith(".") and 20 < len(text) < 200 for text in words.values())


def test_a_class_of_a_user_has_no_note():
    assert note_of("my_models.wae.WAE") is None
    assert note_of("latentlab.models.unknown.X") is None
    assert note_of("") is None


def test_an_unknown_command_is_an_error():
    with pytest.raises(ValueError, match="does not know"):
        mathml(r"x \unknowncommand y")


def test_a_relation_and_a_name_are_set_as_such():
    assert "<mo>&#x0223C;</mo>" in mathml(r"x \sim p")
    assert "<mi>KL</mi>" in mathml(r"\operatorname{KL}(q)")
