"""`latentlab select` writes two sections of params.yaml from configs/, and changes nothing else."""

import pytest
import yaml

from latentlab.config import load_experiment, load_project, load_task
from latentlab.config.selection import (
    code_of,
    model_entry,
    model_names,
    select,
    task_entry,
    task_names,
)
from latentlab.utils.errors import LatentlabError

DATA_SPEC = {"image_shape": (1, 8, 8), "num_classes": 10}


def params(root):
    return yaml.safe_load((root / "params.yaml").read_text())


def test_all_selects_every_config(project):
    select(project.root, ["all"])
    listed = params(project.root)
    assert sorted(listed["models"]) == model_names(project.root)
    assert sorted(listed["tasks"]) == task_names(project.root)
    assert "classifier" not in listed["models"]
    assert load_project(project.root).tasks == listed["tasks"]


def test_names_are_kept_in_order_and_a_task_brings_its_model(project):
    models, tasks = select(project.root, ["vae", "gan", "linear_svm"])
    assert (models, tasks) == (["vae", "gan", "dcgan"], ["linear_svm"])
    listed = params(project.root)
    assert list(listed["models"]) == ["vae", "gan", "dcgan"]
    assert listed["tasks"]["linear_svm"]["model"] == "dcgan"


def test_everything_else_stays_to_the_letter(project):
    path = project.root / "params.yaml"
    text = path.read_text()
    head, end = text[: text.index("models:")], "\n# the end\nallow: ['a', \"b\"] # two\n"
    middle = "\n# between\n\n"
    listed = "models:\n  vae: x # note\n  gan: x\n" + middle + "tasks:\n  t:\n    code: x\n"
    path.write_text(head + listed + "    model: gan # note\n" + end)
    select(project.root, ["vae"])
    assert (
        path.read_text()
        == head + "models:\n  vae: configs/vae.yaml\n" + middle + "tasks: {}\n" + end
    )
    select(project.root, ["vae", "gan_1d"])
    task = "  gan_1d: {code: configs/tasks/gan_1d.yaml, model: classifier}\n"
    whole = head + "models:\n  vae: configs/vae.yaml\n" + middle + "tasks:\n" + task + end
    assert path.read_text() == whole
    select(project.root, ["vae", "gan_1d"])
    assert path.read_text() == whole, "a second time changes nothing"


def test_a_file_without_the_sections_gets_them(project):
    (project.root / "params.yaml").write_text("seed: 0\n")
    select(project.root, ["vae"])
    assert params(project.root) == {"seed": 0, "models": {"vae": "configs/vae.yaml"}, "tasks": {}}


def test_an_unknown_name_is_an_error_and_nothing_is_written(project):
    before = (project.root / "params.yaml").read_text()
    with pytest.raises(LatentlabError, match=r"no model or task 'vea'; did you mean 'vae'\?"):
        select(project.root, ["gan", "vea"])
    with pytest.raises(LatentlabError, match=r"'xyz'; models: adversarial_ae, .*; tasks: "):
        select(project.root, ["xyz"])
    with pytest.raises(LatentlabError, match=r"no model or task 'classifier'"):
        select(project.root, ["classifier"])
    assert (project.root / "params.yaml").read_text() == before


def test_the_path_is_the_file_of_the_class_if_it_is_in_the_project(project, repo):
    assert model_entry(project.root, "vae_mixture") == "configs/vae_mixture.yaml"
    assert model_entry(repo, "vae_mixture") == "src/latentlab/models/vae.py"
    assert task_entry(repo, "gan_1d") == {
        "code": "src/latentlab/tasks/gan_1d.py",
        "model": "classifier",
    }
    (project.root / "my_models").mkdir()
    (project.root / "my_models" / "own.py").touch()
    assert code_of(project.root, {"class_path": "my_models.own.Own"}) == "my_models/own.py"
    assert code_of(project.root, {"class_path": "my_models.other.Own"}) is None
    assert code_of(project.root, {"class_path": 5}) is None
    assert code_of(project.root, "my_models.own.Own") is None


def test_a_path_that_is_not_the_class_of_the_config_is_an_error(project):
    project.add_pipeline()
    load_experiment("vae", DATA_SPEC, project.root)
    for around in ("src", "src/latentlab/models"):
        project.edit("params.yaml", models__vae=around)
        load_experiment("vae", DATA_SPEC, project.root)
    project.edit("params.yaml", models__vae="src/latentlab/models/gan.py")
    with pytest.raises(LatentlabError, match=r"models.vae is .*gan.py', but .* is src/.*/vae.py"):
        load_experiment("vae", DATA_SPEC, project.root)
    project.edit("params.yaml", tasks__gan_1d__code="src/latentlab/tasks/retrieval.py")
    with pytest.raises(LatentlabError, match=r"tasks.gan_1d.code is .*retrieval.py', but"):
        load_task("gan_1d", project.root)


def test_a_task_has_one_model(project):
    project.edit("params.yaml", tasks__gan_1d__model="vae")
    with pytest.raises(LatentlabError, match=r"tasks.gan_1d.model is 'vae', but 'classifier' in"):
        load_task("gan_1d", project.root)
    project.edit("configs/tasks/gan_1d.yaml", model="vea")
    with pytest.raises(LatentlabError, match=r"gan_1d.yaml: model is 'vea'; it must be the name"):
        select(project.root, ["gan_1d"])
