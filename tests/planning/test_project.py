"""`latentlab init` with options: a project whose models are measured on this machine."""

import json
import os

import numpy as np
import pytest
import yaml
from PIL import Image

from latentlab.config import load_project
from latentlab.pipeline.durations import PLACE
from latentlab.planning.probe import Cost
from latentlab.planning.project import make_project
from latentlab.planning.request import Request
from latentlab.utils.errors import LatentlabError

COMMENT = "# your own images, for image_folder and shards"


@pytest.fixture(autouse=True)
def short(monkeypatch):
    """Measure for an instant, and know two models and a task."""
    monkeypatch.setattr("latentlab.planning.probe.SECONDS", 0.02)
    from latentlab.config.goals import GOALS, Goal

    models = {"linear_ae": "fast", "conditional_gan": "has classes"}
    goal = Goal("a test", models, ("fid",), tasks=("anomaly_detection",))
    monkeypatch.setitem(GOALS, "features", goal)


@pytest.fixture
def images(tmp_path):
    def write(count, *, classes=("",)):
        generator = np.random.default_rng(0)
        for name in classes:
            (tmp_path / "images" / name).mkdir(parents=True, exist_ok=True)
            for number in range(count):
                pixels = generator.integers(0, 256, (16, 16, 3), np.uint8)
                Image.fromarray(pixels).save(tmp_path / "images" / name / f"{number}.png")
        return tmp_path / "images"

    return write


def init(folder, **options):
    return make_project(folder, Request(**options), version="0.1.0", jobs=2)


def test_unlabelled_images(images, tmp_path) -> None:
    folder = images(40)
    text = init(tmp_path / "p", images=folder, goal="features", size=8)
    assert "40 files in" in text
    assert "8×8 pixels, colour" in text
    assert "left out: conditional_gan: the data have 0 classes, but a conditional GAN" in text
    project = load_project(tmp_path / "p")
    assert list(project.models) == ["linear_ae"]
    assert project.tasks == {}
    assert project.goal == "features"
    assert (project.data.folder, project.data.size) == (str(folder), 8)
    assert COMMENT in (tmp_path / "p" / "params.yaml").read_text()
    config = yaml.safe_load((tmp_path / "p" / "configs" / "linear_ae.yaml").read_text())
    assert config["trainer"]["batch_size"] == 4  # of 28 training images
    times = json.loads((tmp_path / "p" / PLACE).read_text())
    assert {"prepare", "train@linear_ae", "evaluate@linear_ae"} <= set(times)


def test_a_white_that_must_be_set_is_said(images, tmp_path, monkeypatch) -> None:
    folder = images(0)
    for number in range(40):
        pixels = np.random.default_rng(number).integers(0, 4096, (16, 16), np.uint16)
        Image.fromarray(pixels).save(folder / f"{number}.png")
    options = {"images": folder, "goal": "features", "size": 8}
    text = init(tmp_path / "p", **options)
    assert "Stage prepare will stop: 40 files have integers up to 65535 by their type, but" in text
    assert "Set data.white to the value that is white, for example 4095, or to" in text
    monkeypatch.setattr("latentlab.planning.survey.SAMPLE", 35)
    text = init(tmp_path / "q", **options)
    assert "Stage prepare will stop if all files are alike: 20 files have integers" in text


def test_a_test_folder_with_too_few_images_is_refused_as_by_check(images, tmp_path) -> None:
    folder = images(40, classes=("train", "test"))
    for number in range(2, 40):
        (folder / "test" / f"{number}.png").unlink()
    with pytest.raises(LatentlabError, match=r"the test split has 2 images, .* at least 6: add"):
        init(tmp_path / "p", images=folder, goal="features", size=8)
    assert not (tmp_path / "p").exists()


def test_seeds_are_trainings_of_each_model_and_cost_time(images, tmp_path) -> None:
    options = {"images": images(40), "goal": "features", "size": 8}
    text = init(tmp_path / "p", **options, seeds=3)
    assert load_project(tmp_path / "p").more_seeds == (1, 2)
    assert "more_seeds: [1, 2] # more trainings" in (tmp_path / "p" / "params.yaml").read_text()
    assert ", 3 trainings of each model" in text
    with pytest.raises(LatentlabError, match="--seeds is 0; it must be from 1 to 100"):
        init(tmp_path / "q", **options, seeds=0)


def test_labelled_images_bring_models_and_tasks_that_need_classes(images, tmp_path) -> None:
    text = init(tmp_path / "p", images=images(20, classes=("a", "b")), goal="features", size=8)
    assert "2 classes" in text
    project = load_project(tmp_path / "p")
    assert list(project.models) == ["linear_ae", "conditional_gan", "stacked_ae"]
    assert list(project.tasks) == ["anomaly_detection"]


def test_images_inside_of_the_project_have_a_relative_path(images, tmp_path) -> None:
    init(tmp_path, images=images(30), goal="features", size=8)
    assert load_project(tmp_path).data.folder == "images"


def test_minutes_shorten_the_trainings(images, tmp_path, monkeypatch) -> None:
    cost = Cost(1.0, 0.0, 32, 60 * 128, 60, True, False, False)  # 128 s for an epoch
    monkeypatch.setattr("latentlab.planning.plan.measure", lambda *_: cost)
    text = init(tmp_path / "p", images=images(200), goal="features", size=8, minutes=100)
    config = yaml.safe_load((tmp_path / "p" / "configs" / "linear_ae.yaml").read_text())
    assert 20 <= config["trainer"]["max_epochs"] < 60
    assert "asked for: 100" in text


def test_too_few_minutes_say_how_many_are_needed_and_write_nothing(images, tmp_path) -> None:
    with pytest.raises(LatentlabError, match=r"--minutes 0.01 is too short: .* about \d+\.\d min"):
        init(tmp_path / "p", images=images(40), goal="features", size=8, minutes=0.01)
    assert not (tmp_path / "p").exists()


def test_large_images_shrink_if_the_minutes_are_few(images, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr("latentlab.planning.project.SMALL", 8)
    monkeypatch.setattr("latentlab.planning.plan.Plan.is_crowded", True)
    text = init(tmp_path / "p", images=images(40), goal="features", minutes=30)
    assert "The project uses them as 8×8 pixels" in text
    assert "With 16 pixels, most models do not fit into 30 minutes; --size 16 uses" in text


def test_without_images_the_data_set_stays(tmp_path) -> None:
    assert init(tmp_path / "p", goal="features").startswith("data: mnist_5k")
    project = load_project(tmp_path / "p")
    assert project.data.name == "mnist_5k"
    assert "linear_ae" in project.models


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"minutes": 0.0}, r"--minutes is 0; it must be above 0"),
        ({"minutes": float("nan")}, r"--minutes is nan"),
        ({"goal": "feature"}, "did you mean 'features'"),
        ({"size": 4}, "--size is 4; it must be from 8 to 1024 pixels"),
        ({"size": 10**8}, "--size is 100000000; it must be from 8 to 1024 pixels"),
        ({"seeds": 10**8}, "--seeds is 100000000; it must be from 1 to 100"),
    ],
)
def test_options_are_checked(tmp_path, options, message) -> None:
    with pytest.raises(LatentlabError, match=message):
        init(tmp_path / "p", **options)
    assert not (tmp_path / "p").exists()


def test_folders_are_checked(images, tmp_path) -> None:
    folder = images(30)
    with pytest.raises(LatentlabError, match="would lie in the image folder"):
        init(folder / "p", images=folder)
    (tmp_path / "file").write_text("x")
    with pytest.raises(LatentlabError, match="is a file: choose another name"):
        init(tmp_path / "file", images=folder)
    with pytest.raises(LatentlabError, match="give the folder of the new project"):
        Request(images=folder).check(None)


def test_threads_are_restored(images, tmp_path) -> None:
    import torch

    before = torch.get_num_threads()
    init(tmp_path / "p", images=images(30), goal="features", size=8)
    assert torch.get_num_threads() == before
    assert os.environ["OMP_NUM_THREADS"] == "1"
