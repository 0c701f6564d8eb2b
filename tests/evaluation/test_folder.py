"""The folder of a model that was left out has all that DVC and the page need."""

import json

import yaml
from PIL import Image

from latentlab.evaluation.folder import save_skipped


def test_a_model_that_was_left_out_has_every_output_that_dvc_yaml_lists(tmp_path, repo):
    save_skipped(tmp_path / "conditional_vae", "conditional_vae", "it needs labels")
    stage = yaml.safe_load((repo / "dvc.yaml").read_text())["stages"]["evaluate"]["do"]
    listed = [*stage["outs"], *stage["metrics"], *stage["plots"]]
    for each in listed:
        path = each if isinstance(each, str) else next(iter(each))
        assert (tmp_path / path.replace("results/${key}", "conditional_vae")).exists(), path
    card = json.loads((tmp_path / "conditional_vae" / "card.json").read_text())
    assert card == {"title": "conditional_vae", "skipped": "it needs labels"}
    for figure in (tmp_path / "conditional_vae").glob("*.png"):
        with Image.open(figure) as image:
            image.verify()
