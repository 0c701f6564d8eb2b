"""params.yaml → Project: sections, and the entries of models and tasks."""

import re

import pytest
import yaml

from latentlab.config import load_project
from latentlab.config.check import check_project
from latentlab.utils.errors import LatentlabError


def test_the_values_of_the_file_and_the_defaults(project):
    project.edit("params.yaml", trainer__num_validations=7, evaluation__seed=3)
    loaded = load_project(project.root)
    assert loaded.root == project.root
    assert (loaded.trainer.num_validations, loaded.evaluation.seed) == (7, 3)
    assert loaded.trainer.checkpoint == "last"
    assert loaded.prepared == project.root / "data" / "prepared"
    content = yaml.safe_load((project.root / "params.yaml").read_text())
    assert loaded.models == content["models"]
    assert loaded.tasks == content["tasks"]


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ({"code": "x", "model": "vea"}, r"tasks.t reads the model 'vea', which is not under"),
        ({"code": "x"}, r"tasks.t has no key 'model': it needs `code`"),
        ({"model": "vae"}, r"tasks.t has no key 'code'"),
        ({"task": "x", "model": "vae"}, r"tasks.t has no key 'task'; allowed: code, model"),
        ("vae", r"tasks is 'vae'; it must be of type dict"),
    ],
)
def test_an_entry_of_a_task_needs_code_and_a_listed_model(project, entry, message):
    project.edit("params.yaml", tasks={"t": entry})
    with pytest.raises(LatentlabError, match=message):
        load_project(project.root)


def test_a_task_may_read_the_classifier(project):
    project.edit("params.yaml", models={}, tasks={"t": {"code": "x", "model": "classifier"}})
    assert load_project(project.root).tasks["t"]["model"] == "classifier"


def test_a_section_whose_keys_are_commented_out_has_its_defaults(project):
    content = yaml.safe_load((project.root / "params.yaml").read_text())
    content["evaluation"] = None
    (project.root / "params.yaml").write_text(yaml.safe_dump(content))
    assert load_project(project.root).evaluation.inversion_num_images == 1000


@pytest.mark.parametrize(
    ("key", "text"),
    [("size", "16"), ("val_fraction", "0.1"), ("channels", "3"), ("white", "0x10")],
)
def test_a_number_in_quotes_is_refused_by_every_reader(project, key, text):
    project.edit("params.yaml", **{f"data__{key}": text})
    message = f"data.{key} is the text '{text}'. Write the number without quotes"
    with pytest.raises(LatentlabError, match=re.escape(message)):
        load_project(project.root)
    assert message in [problem.message for problem in check_project(project.root).problems]
