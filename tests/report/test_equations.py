"""The objective of every model as MathML, and what one should see."""

import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

import latentlab
from latentlab.report.equations import mathml, note_of

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
