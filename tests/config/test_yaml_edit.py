"""Values of YAML files change, comments stay."""

import pytest

from latentlab.config.yaml_edit import set_values
from latentlab.utils.errors import LatentlabError

TEXT = """# about the file
data: # the images
  name: digits # a comment
  size: null
trainer:
  max_epochs: 10
"""


def test_comments_and_order_stay(tmp_path) -> None:
    path = tmp_path / "params.yaml"
    path.write_text(TEXT)
    set_values(path, {"data.name": "mnist", "trainer.batch_size": 8, "goal": "features"})
    text = path.read_text().replace("mnist  #", "mnist #")  # the column of a comment may stay
    assert text == TEXT.replace("digits", "mnist") + "  batch_size: 8\ngoal: features\n"


def test_a_new_section(tmp_path) -> None:
    path = tmp_path / "a.yaml"
    path.write_text("seed: 0\n")
    set_values(path, {"trainer.max_epochs": 3})
    assert path.read_text() == "seed: 0\ntrainer:\n  max_epochs: 3\n"


def test_a_file_that_is_no_mapping_is_refused(tmp_path) -> None:
    path = tmp_path / "a.yaml"
    path.write_text("- 1\n")
    with pytest.raises(LatentlabError, match="it must be a mapping"):
        set_values(path, {"seed": 1})
