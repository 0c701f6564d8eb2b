"""The image files of a project, opened before stage prepare."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from latentlab.cli import main
from latentlab.config import load_project
from latentlab.config.check import check_project
from latentlab.config.problems import Problem, Report
from latentlab.data.files.archive import open_archive
from latentlab.planning.image_files import check_image_files
from latentlab.utils.errors import LatentlabError


@pytest.fixture
def own(small):
    """A project with 40 images of its own, in two classes."""
    folder = small.root / "data" / "images"
    generator = np.random.default_rng(0)
    for number in range(40):
        path = folder / "ab"[number % 2] / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(generator.integers(0, 256, (9, 9), np.uint8)).save(path)
    small.edit("params.yaml", data={"name": "image_folder", "folder": "data/images", "size": 8})
    return small


def found(project):
    report = Report()
    check_image_files(load_project(project.root), report)
    return report


def break_file(project, name="a/0.png"):
    path = project.root / "data" / "images" / name
    path.write_bytes(path.read_bytes()[:60])


def test_all_files_of_a_small_folder_are_read(own) -> None:
    report = found(own)
    assert report.problems == []
    assert report.notes == ["data/images: all 40 images were read"]
    assert [path.name for path in (own.root / "data").iterdir()] == ["images"], "nothing is left"


def test_an_unreadable_file_is_what_stops_stage_prepare(own) -> None:
    break_file(own)
    with pytest.raises(LatentlabError) as stopped:
        own.stage("prepare")
    assert found(own).problems == [Problem("data/images", str(stopped.value))]
    own.edit("params.yaml", data__on_unreadable="skip")
    report = found(own)
    assert report.problems == []
    assert report.notes == ["data/images: all 39 images were read and 1 skipped: a/0.png"]


def test_the_command_reports_a_corrupt_file(own, capsys) -> None:
    break_file(own)
    own.edit("params.yaml", models={}, tasks={})
    with pytest.raises(SystemExit) as stopped:
        main(["check", "--project", str(own.root)])
    assert stopped.value.code == 2
    lines = capsys.readouterr().err.splitlines()
    assert lines[0].startswith("data/images: 1 of 40 files in ")
    assert "cannot be read: a/0.png (" in lines[0]
    assert lines[-1].startswith("error: 1 problem, ")


def test_copies_are_noted_and_refused_if_that_is_wanted(own) -> None:
    images = own.root / "data" / "images"
    (images / "b" / "copy.png").write_bytes((images / "a" / "0.png").read_bytes())
    assert "1 image is equal to others, pixel by pixel" in found(own).notes[-1]
    own.edit("params.yaml", data__on_duplicates="error")
    (problem,) = found(own).problems
    assert "equal an image of another class" in problem.message


def test_of_many_files_a_sample_is_opened_and_counted(own, monkeypatch) -> None:
    monkeypatch.setattr("latentlab.planning.image_files.MAX_FILES", 20)
    read = "20 of 40 files were opened, evenly spaced"
    assert found(own).notes == [f"data/images: {read}"]
    break_file(own)
    (problem,) = found(own).problems
    assert problem.message.startswith(f"{read}. 1 cannot be read: a/0.png (")
    assert "There can be others" in problem.message
    own.edit("params.yaml", data__on_unreadable="skip")
    assert "They will be skipped" in found(own).notes[-1]


def test_public_data_sets_and_missing_folders_are_left_alone(small, own) -> None:
    own.edit("params.yaml", data__folder="data/none")
    assert found(own) == Report()
    own.edit("params.yaml", data={"name": "digits", "folder": "data/images"})
    assert found(own) == Report()


def test_shards_of_other_tools_are_not_opened(own) -> None:
    main(["shard", str(own.root / "data" / "images"), str(own.root / "data" / "shards")])
    own.edit("params.yaml", data={"name": "shards", "folder": "data/shards", "size": 8})
    assert found(own).notes == ["data/shards: all 40 images were read"]
    (own.root / "data" / "shards" / "manifest.json").unlink()
    assert "not opened; stage prepare opens them" in found(own).notes[0]


def test_too_few_test_images_are_a_problem_before_prepare_too(own) -> None:
    for path in (own.root / "data" / "images").rglob("*.png"):
        if int(path.stem) >= 10:
            path.unlink()
    (problem,) = found(own).problems
    assert "the test split has 2 images, and the metrics need at least 6" in problem.message


@pytest.mark.parametrize("damaged", [False, True])
def test_check_reads_the_list_of_an_archive_once(own, monkeypatch, capsys, damaged) -> None:
    images = own.root / "data" / "images"
    archive = Path(shutil.make_archive(str(own.root / "data" / "packed"), "gztar", images))
    if damaged:
        archive.write_bytes(archive.read_bytes()[:-200])
    own.edit("params.yaml", data__folder="data/packed.tar.gz", models={}, tasks={})
    listed = []

    def counting(path, scratch):
        listed.append(path)
        return open_archive(path, scratch)

    monkeypatch.setattr("latentlab.data.files.find.open_archive", counting)
    arguments = ["check", "--project", str(own.root)]
    if damaged:
        with pytest.raises(SystemExit):
            main(arguments)
        assert capsys.readouterr().err.count("cannot be read as an archive") == 1
    else:
        main(arguments)
        assert "all 40 images were read" in capsys.readouterr().out
    assert len(listed) == 1


def test_files_without_an_extension_are_images(own) -> None:
    for path in (own.root / "data" / "images").rglob("*.png"):
        path.rename(path.with_suffix(""))
    assert check_project(own.root).problems == []
    assert found(own).problems == []
