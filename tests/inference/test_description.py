"""The parts of a docstring. tests/evaluation/test_model_card.py checks that of every model."""

from latentlab.inference.description import describe


def test_an_empty_docstring_has_empty_parts():
    described = describe(None)
    assert (described.title, described.objective, described.papers) == ("", "", ())


def test_a_paper_ends_at_an_empty_line():
    described = describe("A: b.\n\n    x = y\n\nPaper: one\nmore.\n\nNo paper.\n")
    assert (described.title, described.summary, described.objective) == ("A", "b.", "x = y")
    assert described.papers == ("one more.",)
