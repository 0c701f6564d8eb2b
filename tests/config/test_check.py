"""`latentlab check`: all problems in one list."""

import shutil

import pytest
import yaml
from PIL import Image

from latentlab.cli import main
from latentlab.config.check import check_project
from latentlab.data.settings import DataSettings
from latentlab.data.sources import SOURCES, load_source
from latentlab.utils.errors import LatentlabError


@pytest.fixture
def listed(small):
    """A project that lists two models and no task; its data are not prepared."""
    models = {name: f"configs/{name}.yaml" for name in ("vae", "dcgan")}
    small.edit("params.yaml", models=models)
    return small


def found(project, *names):
    return [(p.file, p.message) for p in check_project(project.root, names).problems]


def test_a_project_without_a_problem(listed, capsys):
    assert found(listed) == []
    main(["check", "--project", str(listed.root)])
    assert capsys.readouterr().out == "no problem in 2 models, the classifier and 0 tasks\n"


def test_every_error_is_listed_with_its_file(listed, capsys):
    listed.edit("configs/vae.yaml", model__init_args__latnet_dim=3)
    listed.edit("configs/dcgan.yaml", model__init_args__width="wide")
    listed.edit("params.yaml", trainer__precison=1, evaluation__features="pixels")
    listed.edit(
        "params.yaml", tasks__retrieval={"code": "configs/tasks/retrieval.yaml", "model": "conv_ae"}
    )
    with pytest.raises(SystemExit) as stopped:
        main(["check", "--project", str(listed.root)])
    assert stopped.value.code == 2
    lines = capsys.readouterr().err.splitlines()
    assert lines[-1] == "error: 5 problems, 2 models, the classifier and 1 task checked"
    for start, rest in (
        ("params.yaml: trainer has no key 'precison'", "precision"),
        ("params.yaml: evaluation.features is 'pixels'", "classifier, inception"),
        ("params.yaml: tasks.retrieval reads the model 'conv_ae', which is not under `models`", ""),
        ("configs/vae.yaml: ", "has no key 'latnet_dim'; did you mean 'latent_dim'?"),
        ("configs/dcgan.yaml: ", "width of latentlab.models.dcgan.DCGAN is 'wide'"),
    ):
        (line,) = [line for line in lines if line.startswith(start)]
        assert rest in line


def test_a_listed_model_without_a_config_and_a_wrong_path(listed):
    (listed.root / "dvc.yaml").write_text("stages: {}\n")  # the paths are for DVC
    (listed.root / "data" / "images").mkdir(parents=True)
    listed.edit("params.yaml", models={"nope": "configs/nope.yaml", "vae": "src/vae.py"})
    problems = dict(found(listed))
    assert (
        "lists the model 'nope', but there is no configs/nope.yaml" in problems["configs/nope.yaml"]
    )
    assert "models.vae is 'src/vae.py', which does not exist" in problems["params.yaml"]


def test_images_that_do_not_fit_a_model(listed):
    """A super-resolution model halves the images."""
    listed.edit("params.yaml", models={"superres_ae": "configs/superres_ae.yaml"}, data__size=15)
    ((file, message),) = found(listed)
    assert file == "configs/superres_ae.yaml"
    assert "15" in message


def test_a_conditional_model_needs_classes(listed, tmp_path):
    from PIL import Image

    folder = listed.root / "data" / "mine"
    folder.mkdir(parents=True)
    for row in range(3):
        Image.new("L", (9, 9)).save(folder / f"{row}.png")
    listed.edit("params.yaml", models={"conditional_vae": "configs/conditional_vae.yaml"})
    listed.edit("params.yaml", data={"name": "image_folder", "folder": "data/mine", "size": 16})
    ((file, message),) = found(listed)
    assert file == "configs/conditional_vae.yaml"
    assert "0 classes" in message


def test_folders_of_images(listed):
    listed.edit("params.yaml", data={"name": "image_folder", "folder": "data/none", "size": 16})
    ((file, message),) = found(listed)
    assert (file, message[:45]) == ("params.yaml", "data.folder is 'data/none', which does not ex")
    (listed.root / "data" / "none").mkdir(parents=True)
    ((_, message),) = found(listed)
    assert message == "data.folder: data/none has no image: put your images there"


def test_prepared_images_are_used_if_they_are_those_of_the_settings(tiny, tmp_path):
    root = tmp_path / "copy"
    shutil.copytree(tiny.root / "configs", root / "configs")
    shutil.copy(tiny.root / "params.yaml", root)
    shutil.copytree(tiny.root / "data" / "prepared", root / "data" / "prepared")
    content = yaml.safe_load((root / "params.yaml").read_text())
    content["models"] = {name: f"configs/{name}.yaml" for name in content["models"]}
    (root / "params.yaml").write_text(yaml.safe_dump(content))
    report = check_project(root)
    assert report.problems == []
    (note,) = report.notes
    assert note.startswith("the test split has 108 images, which is few for FID")
    content["data"]["name"] = "mnist"
    (root / "params.yaml").write_text(yaml.safe_dump(content))
    assert any("data/prepared is of other settings" in n for n in check_project(root).notes)


def test_names_choose_what_is_checked(listed):
    listed.edit("configs/vae.yaml", model__init_args__beta="large")
    assert found(listed, "dcgan", "gan_1d") == []
    assert [file for file, _ in found(listed, "vae")] == ["configs/vae.yaml"]
    with pytest.raises(LatentlabError, match="unknown model or task 'dcgam': did you mean 'dcgan'"):
        check_project(listed.root, ["dcgam"])


def test_more_seeds_is_checked_with_seed_and_with_dvc_yaml(listed):
    listed.edit("params.yaml", more_seeds=[1, 0])
    expected = "more_seeds has 0, which is `seed`, that of the first training: remove it from"
    assert found(listed, "vae") == [("params.yaml", f"{expected} more_seeds")]
    listed.edit("params.yaml", more_seeds=None)  # removes the key
    assert found(listed, "vae") == []
    (listed.root / "dvc.yaml").write_text("matrix: {seed: ${more_seeds}}")
    (listed.root / "data" / "images").mkdir(parents=True)
    expected = "more_seeds is missing, and dvc.yaml reads it: write `more_seeds: []`"
    assert found(listed, "vae") == [("params.yaml", expected)]


def test_a_file_that_is_no_yaml_is_one_problem(listed):
    (listed.root / "params.yaml").write_text("models: [")
    ((file, _),) = found(listed)
    assert file == "params.yaml"


@pytest.mark.parametrize("name", ["digits", "mnist_5k"])
def test_the_shapes_of_sources_are_right(name, tmp_path):
    source = load_source(DataSettings(name=name), tmp_path)
    assert source.train.pixels.shape[1:] == SOURCES[name].image_shape
    assert len(source.classes) == SOURCES[name].num_classes


@pytest.mark.parametrize("side", [8, 50])
def test_without_a_size_the_models_are_checked_for_that_of_the_images(listed, side):
    """50 pixels are no multiple of what the DCGAN halves; 8 pixels are."""
    folder = listed.root / "data" / "images"
    folder.mkdir(parents=True)
    for name in ("a.png", "b.png"):
        Image.new("L", (side, side), 100).save(folder / name)
    listed.edit("params.yaml", data__name="image_folder", data__size=None)
    problems = found(listed, "dcgan")
    assert [file for file, _ in problems] == ["configs/dcgan.yaml"] * (side == 50)
