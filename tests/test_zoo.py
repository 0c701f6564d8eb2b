"""`make zoo`: the lists of zoo.yaml come into params.yaml, and nothing else of it changes."""

import shutil

import pytest
import yaml

from latentlab.contracts import LatentlabError
from latentlab.zoo import list_all


@pytest.fixture
def root(repo, tmp_path):
    for name in ("params.yaml", "zoo.yaml"):
        shutil.copy(repo / name, tmp_path)
    return tmp_path


def test_the_lists_change_and_all_else_stays_to_the_letter(root):
    before = (root / "params.yaml").read_text()
    list_all(root)
    after = (root / "params.yaml").read_text()
    zoo, listed = (yaml.safe_load((root / n).read_text()) for n in ("zoo.yaml", "params.yaml"))
    assert {key: listed[key] for key in ("models", "tasks")} == zoo
    head = before[: before.index("\nmodels:")]
    assert after.startswith(head)
    assert len(listed["models"]) > len(yaml.safe_load(before)["models"])
    list_all(root)
    assert (root / "params.yaml").read_text() == after, "twice is once"


def test_a_file_without_the_section_is_named_and_nothing_is_written(root):
    before = (root / "params.yaml").read_text()
    (root / "zoo.yaml").write_text("models:\n  vae: vae\n")
    with pytest.raises(LatentlabError, match=r"zoo\.yaml has no section 'tasks'"):
        list_all(root)
    assert (root / "params.yaml").read_text() == before
