"""A configuration from somebody else: classes that are not allowed are never imported."""

import json
import re
import shutil
import sys

import jsonargparse
import pytest
from lightning import LightningModule

import latentlab
from latentlab.cli import main
from latentlab.config import load_experiment, load_project
from latentlab.utils.errors import LatentlabError

DATA_SPEC = {"image_shape": (1, 8, 8), "num_classes": 10}
PACKAGE = """
import pathlib
pathlib.Path({trace!r}).touch()
from latentlab.models.vae import VAE
from latentlab.samplers import StandardNormal

class Mine(VAE):
    pass

class Odd(VAE):
    def __init__(self, image_shape, *, prior_of: StandardNormal | None = None, kind: type = int):
        super().__init__(image_shape)
"""


@pytest.fixture
def trace(tmp_path, monkeypatch):
    """A file that is created when the package `stranger` is imported."""
    trace = tmp_path / "was imported"
    (tmp_path / "code").mkdir()
    (tmp_path / "code" / "stranger.py").write_text(PACKAGE.format(trace=str(trace)))
    monkeypatch.syspath_prepend(tmp_path / "code")
    yield trace
    sys.modules.pop("stranger", None)


def load(project):
    return load_experiment("vae", DATA_SPEC, project.root)


@pytest.mark.parametrize(
    ("edit", "at"),
    [
        ({"model__class_path": "stranger.Mine"}, "model.class_path"),
        ({"model__class_path": "latentlabs.Mine"}, "model.class_path"),
        ({"model__class_path": ["stranger.Mine"]}, "model.class_path"),
        ({"sampler__class_path": "stranger.Mine"}, "sampler.class_path"),
        ({"sampler__class_path": "os.system"}, "sampler.class_path"),
        (
            {"model__init_args__hidden": [{"class_path": "stranger.Mine"}]},
            "model.init_args.hidden.0.class_path",
        ),
        ({"model__init_args__beta": {"a.class_path": "stranger.Mine"}}, "beta.a.class_path"),
        ({"sampler__dict_kwargs": {"x": {"class_path": "stranger.Mine"}}}, "x.class_path"),
    ],
)
def test_a_class_that_is_not_allowed_is_not_imported_and_the_error_names_its_key(
    project, trace, edit, at
):
    project.edit("configs/vae.yaml", **edit)
    with pytest.raises(LatentlabError, match=rf"{re.escape(at)} names .*was not imported.*`allow:"):
        load(project)
    assert not trace.exists()


def test_a_bare_class_name_is_answered_with_the_form_of_a_full_one(project):
    project.edit("configs/vae.yaml", model__class_path="VAE")
    with pytest.raises(LatentlabError, match=r"model.class_path is 'VAE'; .* full name of a class"):
        load(project)


@pytest.mark.parametrize(
    "hidden",
    ["{class_path: stranger.Mine}", '{"cl\\u0061ss_path": "stranger.Mine"}', "stranger.Mine"],
)
@pytest.mark.parametrize("key", ["prior_of", "kind"])
def test_a_class_path_inside_a_string_is_not_imported_either(project, trace, hidden, key):
    """jsonargparse parses YAML inside of strings, and reads a plain name as a class."""
    own = trace.parent / "code" / "own.py"
    own.write_text(PACKAGE.format(trace=str(trace.parent / "ours")))
    project.edit("params.yaml", allow=["own"])
    project.edit("configs/vae.yaml", model={"class_path": "own.Odd", "init_args": {key: hidden}})
    with pytest.raises(LatentlabError):
        load(project)
    assert not trace.exists()
    sys.modules.pop("own")


def test_what_an_allowed_module_imports_is_not_allowed(project):
    project.edit("configs/vae.yaml", sampler__class_path="latentlab.utils.files.os.system")
    with pytest.raises(LatentlabError, match=r"names 'posix.system', which was not imported"):
        load(project)


def test_only_params_yaml_allows_a_package(project, trace):
    project.edit("configs/vae.yaml", model__class_path="stranger.Mine")
    project.edit("configs/vae.yaml", allow=["stranger"])
    with pytest.raises(LatentlabError, match=r"vae.yaml sets `allow`: only params.yaml may"):
        load(project)
    assert not trace.exists()
    project.edit("configs/vae.yaml", allow=None)
    project.edit("params.yaml", allow=["stranger"])
    assert type(load(project).model).__name__ == "Mine"
    assert trace.exists()


@pytest.mark.parametrize("allow", ["stranger", [1], ["a b"], ["jsonargparse"], {"a": 1}, ["*"]])
def test_allow_must_be_a_list_of_packages(project, allow):
    project.edit("params.yaml", allow=allow)
    for attempt in (load_project, lambda root: load(project)):
        with pytest.raises(
            LatentlabError, match=r"params.yaml: allow is .* must be a list of packages"
        ):
            attempt(project.root)


def test_a_run_folder_cannot_allow_its_own_classes(tiny, tmp_path, trace, monkeypatch, capsys):
    """Only the params.yaml of the user counts, not one above the run folder or inside of it."""
    theirs = tmp_path / "theirs"
    folder = shutil.copytree(tiny.root / "runs" / "vae", theirs / "runs" / "vae")
    (theirs / "params.yaml").write_text("allow: [stranger]\n")
    card = json.loads((folder / "experiment.json").read_text())
    card["resolved"]["model"]["class_path"] = "stranger.Mine"
    card["resolved"]["allow"] = card["allow"] = ["stranger"]
    (folder / "experiment.json").write_text(json.dumps(card))
    monkeypatch.chdir(tmp_path)
    with pytest.raises(LatentlabError, match=r"experiment.json: model.class_path names 'stranger"):
        latentlab.load(folder)
    with pytest.raises(SystemExit) as stopped:
        main(["sample", str(folder)])
    assert stopped.value.code == 2
    assert "names 'stranger.Mine', which was not imported" in capsys.readouterr().err
    assert not trace.exists()
    (tmp_path / "params.yaml").write_text("allow: [stranger]\n")
    assert type(latentlab.load(folder).module).__name__ == "Mine"


def test_the_settings_of_jsonargparse_are_restored(project):
    class Own(LightningModule):
        pass

    sys.modules["own_code"] = sys.modules[__name__]
    Own.__module__, Own.__qualname__ = "own_code", "Own"
    sys.modules[__name__].Own = Own
    load(project)
    parser = jsonargparse.ArgumentParser(exit_on_error=False)
    parser.add_subclass_arguments(LightningModule, "model")
    parsed = parser.parse_object({"model": {"class_path": "own_code.Own"}})
    assert parsed.model.class_path == "own_code.Own"
    del sys.modules["own_code"], sys.modules[__name__].Own
