"""What a configuration of unknown origin may do: be refused before anything of it runs."""

import json
import re
import shutil
import sys

import jsonargparse
import pytest
import torch
import yaml
from lightning import LightningModule

import latentlab
from latentlab.cli import main
from latentlab.config import building, load_experiment, load_project
from latentlab.contracts import LatentlabError

FACTS = {"image_shape": (1, 8, 8), "num_classes": 10}
PACKAGE = """
import pathlib
pathlib.Path({trace!r}).touch()
from latentlab.models.vae import VAE
from latentlab.priors import StandardNormal

class Mine(VAE):
    pass

class Odd(VAE):
    def __init__(self, image_shape, *, prior_of: StandardNormal | None = None, kind: type = int):
        super().__init__(image_shape)
"""


@pytest.fixture
def trace(tmp_path, monkeypatch):
    """A file that appears when the package `stranger` is imported."""
    trace = tmp_path / "was imported"
    (tmp_path / "code").mkdir()
    (tmp_path / "code" / "stranger.py").write_text(PACKAGE.format(trace=str(trace)))
    monkeypatch.syspath_prepend(tmp_path / "code")
    yield trace
    sys.modules.pop("stranger", None)


def load(project):
    return load_experiment("vae", FACTS, project.root)


@pytest.mark.parametrize(
    ("edit", "at"),
    [
        ({"model__class_path": "stranger.Mine"}, "model.class_path"),
        ({"model__class_path": "latentlabs.Mine"}, "model.class_path"),
        ({"model__class_path": "VAE"}, "model.class_path"),
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
def test_a_foreign_class_is_refused_by_its_key_and_not_imported(project, trace, edit, at):
    project.edit("configs/vae.yaml", **edit)
    with pytest.raises(LatentlabError, match=rf"{re.escape(at)} names .*was not imported.*`allow:"):
        load(project)
    assert not trace.exists()


@pytest.mark.parametrize(
    "hidden",
    ["{class_path: stranger.Mine}", '{"cl\\u0061ss_path": "stranger.Mine"}', "stranger.Mine"],
)
@pytest.mark.parametrize("key", ["prior_of", "kind"])
def test_a_name_that_hides_in_a_string_is_refused_as_well(project, trace, hidden, key):
    """jsonargparse reads YAML within strings, and takes a plain name for a class."""
    own = trace.parent / "code" / "own.py"
    own.write_text(PACKAGE.format(trace=str(trace.parent / "ours")))
    project.edit("params.yaml", allow=["own"])
    project.edit("configs/vae.yaml", model={"class_path": "own.Odd", "init_args": {key: hidden}})
    with pytest.raises(LatentlabError):
        load(project)
    assert not trace.exists()
    sys.modules.pop("own")


def test_what_an_allowed_module_merely_imports_is_not_allowed(project):
    project.edit("configs/vae.yaml", sampler__class_path="latentlab.files.os.system")
    with pytest.raises(LatentlabError, match=r"names 'posix.system', which was not imported"):
        load(project)


def test_the_user_allows_a_package_in_params_yaml_and_nowhere_else(project, trace):
    project.edit("configs/vae.yaml", model__class_path="stranger.Mine")
    project.edit("configs/vae.yaml", allow=["stranger"])
    with pytest.raises(LatentlabError, match=r"vae.yaml sets `allow`: that is params.yaml's alone"):
        load(project)
    assert not trace.exists()
    project.edit("configs/vae.yaml", allow=None)
    project.edit("params.yaml", allow=["stranger"])
    assert type(load(project).model).__name__ == "Mine"
    assert trace.exists()


@pytest.mark.parametrize("allow", ["stranger", [1], ["a b"], ["jsonargparse"], {"a": 1}, ["*"]])
def test_allow_lists_packages(project, allow):
    project.edit("params.yaml", allow=allow)
    for attempt in (load_project, lambda root: load(project)):
        with pytest.raises(LatentlabError, match=r"params.yaml: allow must list packages"):
            attempt(project.root)


def test_a_run_folder_brings_no_permission_along(tiny, tmp_path, trace, monkeypatch, capsys):
    """Neither by its description nor by a params.yaml above it; the user's project may allow."""
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


def test_other_users_of_jsonargparse_keep_their_settings(project):
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


@pytest.mark.parametrize(
    ("name", "key", "value"),
    [
        ("vae", "hidden", [320_000_000]),
        ("stacked_ae", "widths", [10**6] * 3),
        ("judge", "width", 10**5),
    ],
)
def test_a_network_that_cannot_fit_is_refused_before_it_takes_memory(project, name, key, value):
    project.edit(f"configs/{name}.yaml", **{f"model__init_args__{key}": value})
    message = rf"{name} cannot be built .* numbers need .* GiB to train .* there are"
    with pytest.raises(LatentlabError, match=message):
        load_experiment(name, FACTS, project.root)


def test_the_size_is_four_times_that_of_the_weights(project, monkeypatch):
    model = load(project).model
    needed = 4 * sum(4 * p.numel() for p in model.parameters())
    monkeypatch.setattr(building, "memory_limit", lambda: needed)
    load(project)
    monkeypatch.setattr(building, "memory_limit", lambda: needed - 1)
    with pytest.raises(LatentlabError, match=f"its {needed // 16:,} numbers need"):
        load(project)


def test_measuring_first_changes_no_weight(project, monkeypatch):
    measured = load(project).model.state_dict()
    monkeypatch.setattr(building, "_check_size", lambda *_: None)
    plain = load(project).model.state_dict()
    assert all(torch.equal(measured[key], plain[key]) for key in plain)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("seed: 0\ndata: {}\nseed: 1\n", r"line 3: the key 'seed' stands here twice"),
        ("seed: 0\ndata:\n  size: 8\n  size: 9\n", r"line 4: the key 'size' stands here twice"),
        ("seed: &a 0\ndata: {size: *a}\n", r"line 2: aliases are not read: write the value out"),
        ("a: &a [x, x]\nb: &b [*a, *a]\nc: [*b, *b]\n", r"aliases are not read"),
        ("seed: 0\ndata: {<<: {size: 8}}\n", r"the key '<<' is not read as text"),
        ("seed: 0\nmodels: {on: vae}\n", r"line 2: the key 'on' is not read as text: put it in q"),
        ("[" * 3000, r"nested too deeply"),
        ("seed: 2020-13-45\n", r"params.yaml is not valid YAML: month must be in"),
        ("seed: !!python/object/apply:os.getcwd []\n", r"could not determine a constructor"),
        ("seed: 0\n#" + "x" * 2**20, r"params.yaml has 1,048,585 bytes: a configuration has at"),
        ("- 1\n", r"must be a mapping of sections, got \[1\]"),
        (b"seed: \xff\n", r"params.yaml is not valid YAML: 'utf-8' codec"),
    ],
    ids=range(12),
)
def test_what_pyyaml_passes_over_or_stumbles_on_is_named(project, text, message):
    content = text if isinstance(text, bytes) else text.encode()
    (project.root / "params.yaml").write_bytes(content)
    for attempt in (load_project, lambda root: load(project)):
        with pytest.raises(LatentlabError, match=message) as caught:
            attempt(project.root)
        assert "\n" not in str(caught.value)


def test_a_params_file_that_is_a_folder_or_forbidden(project, monkeypatch):
    path = project.root / "configs" / "vae.yaml"

    def refuse(self, *_, **__):
        raise PermissionError(13, "Permission denied", str(self))

    monkeypatch.setattr(type(path), "read_text", refuse)
    with pytest.raises(LatentlabError, match=r"params.yaml cannot be read: .*Permission denied"):
        load_project(project.root)


def test_sections_whose_keys_are_commented_out_are_empty(project):
    content = yaml.safe_load((project.root / "params.yaml").read_text())
    content["evaluation"] = None
    (project.root / "params.yaml").write_text(yaml.safe_dump(content))
    assert load_project(project.root).evaluation.inversion_images == 1000
