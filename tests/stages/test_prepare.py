"""Stage prepare: what it writes and says, and that DVC watches the images that it reads."""

import csv
import json
import shutil
import subprocess

import numpy as np
import pytest
import yaml
from PIL import Image

from image_files import files_of, write_grey, write_noise
from latentlab.data.prepared import read_meta
from latentlab.utils.errors import LatentlabError


@pytest.fixture
def own(project):
    """A project of 60 own images in two classes."""
    for n in range(60):
        write_noise(project.root / "data" / "images" / ("cat", "dog")[n % 2] / f"{n}.png", n)
    project.edit("params.yaml", data__name="image_folder", data__size=8, data__channels=1)
    project.edit("params.yaml", models={}, tasks={})
    return project


def splits(project) -> dict[str, str]:
    with (project.root / "data" / "prepared" / "split.csv").open(newline="") as file:
        return {row["file"]: row["split"] for row in csv.DictReader(file)}


def test_the_summary_and_the_picture_are_results(own, capsys) -> None:
    write_grey(own.root / "data" / "images" / "cat" / "black.png", 0, (4, 4))
    own.stage("prepare")
    said = capsys.readouterr()
    assert said.out == (
        "prepared image_folder: 61 images of 1 × 8 × 8 (43 train, 6 val, 12 test), 2 classes\n"
    )
    assert "note: 1 image is nearly all black\n" in said.err
    assert "note: 1 file was smaller than data.size, and enlarged\n" in said.err
    folder = own.root / "results" / "data"
    assert set(files_of(folder)) == {"summary.json", "examples.png"}
    summary = json.loads((folder / "summary.json").read_text())
    assert summary["counts"] == {"train": 43, "val": 6, "test": 12}
    assert sum(counts["train"] for counts in summary["classes"].values()) == 43


def test_without_a_size_the_images_keep_theirs_or_the_error_says_what_to_set(own) -> None:
    folder = own.root / "data" / "images" / "cat"
    own.edit("params.yaml", data__channels=3)
    for number, path in enumerate(sorted((own.root / "data" / "images").rglob("*.png"))):
        write_noise(path, number, (12, 12))
    content = yaml.safe_load((own.root / "params.yaml").read_text())
    content["data"]["size"] = None
    (own.root / "params.yaml").write_text(yaml.safe_dump(content))
    own.stage("prepare")
    prepared = own.root / "data" / "prepared"
    assert read_meta(prepared).image_shape == (3, 12, 12)
    images = np.load(prepared / "train_images.npy")
    known = {np.asarray(Image.open(path)).transpose(2, 0, 1).tobytes() for path in
             (own.root / "data" / "images").rglob("*.png")}  # fmt: skip
    assert {image.tobytes() for image in images} <= known
    write_noise(folder / "wide.png", 99, (12, 16))
    with pytest.raises(
        LatentlabError, match=r"16 × 12 \(cat/wide.png\)\. Set data.size to the heig"
    ):
        own.stage("prepare")


def test_a_channel_that_is_not_used_is_said(own, capsys) -> None:
    tifffile = pytest.importorskip("tifffile")
    values = np.random.default_rng(0).integers(0, 256, (8, 8, 4), dtype=np.uint8)
    options = {"photometric": "rgb", "extrasamples": ["unspecified"]}
    tifffile.imwrite(own.root / "data" / "images" / "cat" / "infrared.tif", values, **options)
    own.stage("prepare")
    assert (
        "note: 1 file has a channel that is neither colour nor alpha, which is not used:"
        " cat/infrared.tif\n"
    ) in capsys.readouterr().err


def test_the_split_of_an_earlier_run_can_be_given_back(own) -> None:
    own.stage("prepare")
    first, given = files_of(own.root / "data" / "prepared"), splits(own)
    images = own.root / "data" / "images"
    shutil.copy(own.root / "data" / "prepared" / "split.csv", images / "split.csv")
    own.edit("params.yaml", data__split_file="split.csv")
    own.stage("prepare")
    assert files_of(own.root / "data" / "prepared") == first
    own.edit("params.yaml", seed=7)
    own.stage("prepare")
    assert splits(own) == given, "another seed changes the order, not the splits"


def test_equal_images_stop_only_if_the_settings_say_so(own, capsys) -> None:
    images = own.root / "data" / "images"
    for n in range(0, 60, 2):
        shutil.copy(images / "cat" / f"{n}.png", images / "dog" / f"copy{n}.png")
    own.stage("prepare")
    found = splits(own)
    for n in range(0, 60, 2):
        assert found[f"cat/{n}.png"] == found[f"dog/copy{n}.png"]
    assert "note: 60 images equal an image of another class (" in capsys.readouterr().err
    before = files_of(own.root / "data" / "prepared")
    own.edit("params.yaml", data__on_duplicates="error")
    with pytest.raises(LatentlabError, match=r"60 images equal .*data.on_duplicates is error"):
        own.stage("prepare")
    assert files_of(own.root / "data" / "prepared") == before


def test_official_test_images_stay_test_images(own) -> None:
    images = own.root / "data" / "images"
    for split in ("train", "test"):
        for n in range(40):
            write_noise(images.parent / "set" / split / ("a", "b")[n % 2] / f"{n}.png", n)
    own.edit("params.yaml", data__folder="data/set")
    own.stage("prepare")
    assert read_meta(own.root / "data" / "prepared").classes == ("a", "b")
    found = splits(own)
    assert {name.split("/")[0] for name, split in found.items() if split == "test"} == {"test"}
    assert sum(split == "test" for split in found.values()) == 40
    summary = json.loads((own.root / "results" / "data" / "summary.json").read_text())
    assert summary["duplicates"]["test"] == 40


def test_an_experiment_of_dvc_sees_new_images_or_stops(own) -> None:
    """`dvc exp run --temp` runs in a copy of the project, without the ignored images."""
    own.add_pipeline()
    (own.root / ".dvc" / "config.local").unlink()
    (own.root / "data" / "images" / ".gitkeep").touch()
    ignored = "/data/prepared/\n/data/images/*\n!/data/images/.gitkeep\n/results/\n__pycache__/\n"
    (own.root / ".gitignore").write_text(ignored)
    for command in (["init", "-q"], ["add", "-A"], ["commit", "-qm", "a"]):
        identity = ["-c", "user.name=a", "-c", "user.email=a@b"]
        subprocess.run(["git", *identity, *command], cwd=own.root, check=True)

    def run(*options: str) -> tuple[int, str]:
        process = own.start("dvc", "exp", "run", "--temp", *options, "prepare")
        output, _ = process.communicate(timeout=120)
        return process.returncode, output

    images = own.root / "data" / "images"
    code, output = run()
    assert code != 0
    assert "no images in this copy of the project. DVC made the copy" in output
    assert f"`-S data.folder={images}`" in output
    for count in (60, 61):
        code, output = run("-S", f"data.folder={images}")
        assert code == 0, output
        assert f"prepared image_folder: {count} images of 1 × 8 × 8 ({count - 18} train" in output
        write_noise(images / "cat" / "new.png", 99)
