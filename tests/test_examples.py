"""The notebooks in examples/ run from the first cell to the last, and show what their text says."""

import os
import re
import sys
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

EXAMPLES = Path(__file__).parents[1] / "examples"
NOTEBOOKS = ("autoencoders", "vaes", "gans", "own_images")
MAX_CODE_LINES = 60


def read(name):
    return nbformat.read(EXAMPLES / f"{name}.ipynb", as_version=4)


def code_cells(notebook):
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def text_of(notebook):
    """All text that the cells printed, without the colours of a terminal."""
    outputs = [output for cell in code_cells(notebook) for output in cell.outputs]
    text = "".join(output.text for output in outputs if output.output_type == "stream")
    return re.sub(r"\x1b\[[\d;]*[a-zA-Z]", "", text)


def figures_of(notebook):
    outputs = [output for cell in code_cells(notebook) for output in cell.outputs]
    return [output for output in outputs if "image/png" in output.get("data", {})]


@pytest.fixture
def execute(tmp_path, monkeypatch):
    """A function that runs a notebook in an empty folder and returns it with its outputs."""
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("DVC_NO_ANALYTICS", "true")

    def run(name):
        notebook = read(name)
        resources = {"metadata": {"path": str(tmp_path)}}
        NotebookClient(notebook, timeout=600, resources=resources).execute()
        errors = re.findall(r"^(?:error|ERROR): .*", text_of(notebook), re.M)
        assert not errors, "a shell command that fails does not stop a notebook"
        return notebook

    return run


def test_every_notebook_is_tested():
    assert {path.stem for path in EXAMPLES.glob("*.ipynb")} == set(NOTEBOOKS)


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_a_notebook_is_stored_without_outputs_and_is_short(name):
    notebook = read(name)
    nbformat.validate(notebook)
    assert notebook.cells[0].cell_type == "markdown"
    for cell in code_cells(notebook):
        assert cell.outputs == []
        assert cell.execution_count is None
    lines = [line for cell in code_cells(notebook) for line in cell.source.splitlines()]
    assert len([line for line in lines if line.strip()]) <= MAX_CODE_LINES
    assert max(map(len, lines)) <= 100


@pytest.mark.docs
def test_autoencoders(execute):
    """The linear autoencoder is close to PCA, the nonlinear one better, and noise is removed."""
    notebook = execute("autoencoders")
    text = text_of(notebook)
    errors = re.findall(r"(\w+) +squared error of a test image ([\d.]+)", text)
    sse = {name: float(value) for name, value in errors}
    assert 0.97 * sse["PCA"] < sse["linear_ae"] < 1.1 * sse["PCA"]
    assert sse["stacked_ae"] < 0.9 * sse["PCA"]
    noisy, denoised = map(
        float, re.search(r"noisy ([\d.]+) dB, denoised ([\d.]+) dB", text).groups()
    )
    assert denoised > noisy + 3
    assert len(figures_of(notebook)) == 2


@pytest.mark.docs
def test_vaes(execute):
    notebook = execute("vaes")
    found = re.search(r"(\d+) of (\d+) code values are active, KL ([\d.]+) nats", text_of(notebook))
    active, dimensions, kl = map(float, found.groups())
    assert 2 <= active <= dimensions
    assert kl > 0.1 * active, "an active value has a KL above 0.1"
    assert len(figures_of(notebook)) == 6


@pytest.mark.docs
def test_gans(execute):
    """The discriminator prefers test images, and inversion improves the closest sample."""
    notebook = execute("gans")
    text = text_of(notebook)
    real, fake = re.search(r"([\d.]+) for test images, ([\d.]+) for generated", text).groups()
    assert 0 <= float(fake) < float(real) <= 1
    sse = {n: float(v) for n, v in re.findall(r"(.+): squared error ([\d.]+)", text)}
    assert 0 < sse["latent inversion"] < sse["closest sample"]
    assert len(figures_of(notebook)) == 5


@pytest.mark.docs
def test_own_images(execute):
    """The four crosses, which the training images do not contain, have the largest errors."""
    notebook = execute("own_images")
    text = text_of(notebook)
    ranking = re.findall(r"(circle|square|cross)_\d+\.png\tSSE", text)
    assert ranking[:4] == ["cross"] * 4
    assert re.search(r"^stacked_ae +AE", text, re.M), "the table of results"
    assert len(figures_of(notebook)) == 2
