"""Names and stages of several trainings of one model, and the seeds that are allowed."""

import pytest

from latentlab.config import load_experiment, load_project
from latentlab.config.project import find_root
from latentlab.config.run_folder import find_run
from latentlab.config.seeds import Training, check_seeds, stage_of
from latentlab.utils.errors import LatentlabError

SPEC = {"image_shape": (1, 8, 8), "num_classes": 10}


@pytest.mark.parametrize(
    ("name", "model", "seed", "train"),
    [
        ("vae", "vae", None, "train@vae"),
        ("vae@1", "vae", 1, "train_seed@vae-1"),
        ("my-vae@12", "my-vae", 12, "train_seed@my-vae-12"),
        ("vae-1@2", "vae-1", 2, "train_seed@vae-1-2"),
        ("vae@01", "vae@01", None, "train@vae@01"),  # a folder of this name does not exist
    ],
)
def test_a_name_has_one_training_and_one_stage(name, model, seed, train):
    training = Training.parse(name)
    assert training == Training(model, seed)
    assert training.name == name
    assert stage_of("train", name) == train
    assert seed is None or Training.of_stage(train) == training


def test_a_stage_of_a_first_training_or_a_task_has_no_seed():
    assert Training.of_stage("evaluate@vae-1") == Training("vae-1")
    assert Training.of_stage("tasks@retrieval").name == "retrieval"
    assert Training.of_stage("report").name == ""


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ([0], r"more_seeds has 0, which is `seed`"),
        ([2, 1, 2], "more_seeds has 2 twice: write each seed once"),
        ([-1], r"more_seeds is -1; it must be >= 0 and < 2\^32"),
        ([2**32], r"more_seeds is 4294967296; it must be"),
    ],
)
def test_seeds_that_are_not_allowed(more, message):
    with pytest.raises(LatentlabError, match=f"params.yaml: {message}"):
        check_seeds(0, more, "params.yaml")


@pytest.mark.parametrize(
    ("value", "message"), [("x", "more_seeds"), ([1.5], "more_seeds"), (3, "more_seeds")]
)
def test_more_seeds_is_a_list_of_whole_numbers(project, value, message):
    project.edit("params.yaml", more_seeds=value)
    with pytest.raises(LatentlabError, match=message):
        load_project(project.root)


def test_null_is_an_error_as_dvc_cannot_loop_over_it(project):
    path = project.root / "params.yaml"
    path.write_text(path.read_text().replace("more_seeds: []", "more_seeds: null"))
    with pytest.raises(LatentlabError, match=r"more_seeds is null; it must be a list, such as"):
        load_project(project.root)


def test_a_training_with_another_seed_has_the_same_settings(project):
    project.edit("params.yaml", more_seeds=[1])
    first, other = (load_experiment(n, SPEC, project.root) for n in ("linear_ae", "linear_ae@1"))
    assert (other.name, other.project.seed, other.resolved["seed"]) == ("linear_ae@1", 1, 1)
    assert {**other.resolved, "seed": 0} == first.resolved
    weights = [next(each.model.parameters()) for each in (first, other)]
    assert not weights[0].equal(weights[1]), "another initialization"


def test_the_first_seed_is_the_first_training(project):
    folder = project.root / "runs" / "vae"
    folder.mkdir(parents=True)
    (folder / "experiment.json").write_text("{}")
    root = find_root(project.root)
    assert find_run("vae@0", root) == find_run("vae", root) == root / "runs" / "vae"
    with pytest.raises(LatentlabError) as error:
        find_run("vae@3", root)
    assert "add 3 to `more_seeds` in params.yaml, then run `dvc repro train_seed@vae-3`" in str(
        error.value
    )
