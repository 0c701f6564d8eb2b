"""The list of sources: one module and one entry add a source."""

import importlib
import sys
from types import SimpleNamespace

import numpy as np
import pytest

from latentlab.config.problems import Report
from latentlab.data import sources
from latentlab.data.prepared import read_meta, read_split
from latentlab.data.settings import DataSettings
from latentlab.data.sources import SOURCES, SourceEntry, load_source, raw_folder
from latentlab.utils.errors import LatentlabError

STRIPES = """
import numpy as np

from latentlab.data.sources import Images, Source


def load(settings, root):
    pixels = np.zeros((40, 1, 4, 4), np.uint8)
    pixels[::2, :, ::2], pixels[1::2, :, :, ::2] = 255, 255
    images = Images(pixels, np.arange(40) % 2, range(40))
    return Source("stripes", images, None, ("rows", "columns"))
"""


@pytest.fixture
def stripes(tmp_path, monkeypatch):
    """A new source: one file in a folder of sources, and one entry."""
    (tmp_path / "stripes.py").write_text(STRIPES)
    monkeypatch.setattr(sources, "__path__", [*sources.__path__, str(tmp_path)])
    monkeypatch.setitem(SOURCES, "stripes", SourceEntry("stripes"))
    importlib.invalidate_caches()
    yield
    sys.modules.pop("latentlab.data.sources.stripes", None)


def test_a_file_and_an_entry_add_a_source(tmp_path, stripes, monkeypatch) -> None:
    from latentlab.stages import prepare

    place = tmp_path / "data" / "prepared"
    settings = DataSettings(name="stripes", size=8)
    project = SimpleNamespace(root=tmp_path, seed=0, data=settings, prepared=place)
    monkeypatch.setattr(prepare, "load_project", lambda: project)
    monkeypatch.setattr(prepare, "check_project", lambda root: Report())
    prepare.main([])
    info, train = read_meta(place), read_split(place, "train")
    assert (info.name, info.image_shape, info.classes) == (
        "stripes",
        (1, 8, 8),
        ("rows", "columns"),
    )
    means = train.images[:, 0].double().mean(2)  # of each row of pixels
    assert ((means.std(1) > 1) == (train.labels == 0)).all()
    with pytest.raises(LatentlabError, match=r"'stripe'. Choose one of: mnist_5k, .*, stripes\."):
        DataSettings(name="stripe")


def test_every_entry_names_a_module_with_a_load_function() -> None:
    for name, entry in SOURCES.items():
        module = importlib.import_module(f"latentlab.data.sources.{entry.module}")
        assert callable(module.load), name


def test_params_and_docs_list_every_source(repo) -> None:
    for file in ("params.yaml", "docs/quick-start.md"):
        (line,) = (
            line for line in (repo / file).read_text().splitlines() if "# mnist_5k, digits" in line
        )
        assert line.split("# ")[1].split(", ") == list(SOURCES), file
    assert all(name in (DataSettings.__doc__ or "") for name in SOURCES)


def test_a_source_is_loaded_by_its_name(tmp_path) -> None:
    source = load_source(DataSettings(), tmp_path)
    assert source.name == "mnist_5k"
    assert isinstance(source.train.pixels, np.ndarray)


def test_the_folder_of_public_data_sets(tmp_path, monkeypatch) -> None:
    monkeypatch.delenv("LATENTLAB_DATA", raising=False)
    assert raw_folder(tmp_path / "copy") == tmp_path / "copy" / "data" / "raw"
    (tmp_path / "data" / "raw").mkdir(parents=True)
    monkeypatch.setenv("DVC_ROOT", str(tmp_path))
    assert raw_folder(tmp_path / "copy") == tmp_path / "data" / "raw", "of the original project"
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("LATENTLAB_DATA", "~/sets")
    assert raw_folder(tmp_path) == tmp_path / "sets"
