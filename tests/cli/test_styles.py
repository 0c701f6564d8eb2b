"""Styles of the terminal: those of rich, in each environment."""

import io

import pytest
from rich.console import Console
from rich.text import Text

from latentlab.cli.results import COLOURS
from latentlab.cli.styles import has_styles, styled


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.mark.parametrize("stream", [Terminal, io.StringIO])
@pytest.mark.parametrize(
    "variables",
    [
        {},
        {"TERM": "dumb"},
        {"TERM": "vt100"},
        {"TERM": "xterm-256color", "COLORTERM": "truecolor"},
        {"NO_COLOR": "1"},
        {"NO_COLOR": ""},
        {"FORCE_COLOR": "1"},
        {"FORCE_COLOR": "1", "NO_COLOR": "1"},
        {"FORCE_COLOR": ""},
        {"TTY_COMPATIBLE": "1"},
        {"TTY_COMPATIBLE": "0", "FORCE_COLOR": "1"},
        {"TTY_COMPATIBLE": "yes"},
    ],
    ids=str,
)
def test_styles_are_those_of_rich(monkeypatch, stream, variables):
    for name in ("TERM", "COLORTERM", "NO_COLOR", "FORCE_COLOR", "TTY_COMPATIBLE"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr("sys.stdout", stream())
    styles = ["", "bold", "dim", "bold green", *COLOURS.values()]
    shown, expected = has_styles(), stream()
    for style in styles:
        Console(file=expected, highlight=False, soft_wrap=True).print(Text("12.5 ± 1", style))
    ours = [styled("12.5 ± 1", style) if shown else "12.5 ± 1" for style in styles]
    assert ours == expected.getvalue().splitlines()
