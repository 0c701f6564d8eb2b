"""The files of a folder: junk, links, cycles."""

import os
from pathlib import Path

import pytest

from latentlab.data.files import listing
from latentlab.data.files.listing import is_junk, list_folder


@pytest.fixture
def folder(tmp_path) -> Path:
    """A folder with two classes; other/ beside it has one more."""
    for name in ("images/cat/a.png", "images/dog/b.png", "other/eel/c.png"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"")
    return tmp_path / "images"


@pytest.mark.parametrize(
    "name",
    [
        *("@eaDir/a.jpg/SYNOPHOTO_THUMB_XL.jpg", "cat/SYNOPHOTO_THUMB_M.jpg", "Thumbs.db"),
        *(".DS_Store", "__MACOSX/cat/._a.png", "cat/._a.png", ".ipynb_checkpoints/a.png"),
        *("cat/desktop.ini", "#recycle/a.png", "$RECYCLE.BIN/a.png", "Picasa.ini", ".@__thumb/a"),
        *("@Recycle/x.png", "System Volume Information/a.png", "~$notes.png", "cat/Icon\r"),
    ],
)
def test_files_of_other_programs_are_no_images(folder, name) -> None:
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    (folder / name).write_bytes(b"")
    found = list_folder(folder)
    assert found.names == ["cat/a.png", "dog/b.png"]
    assert found.refused == {}


def test_usual_names_are_no_junk() -> None:
    assert not any(map(is_junk, ("thumbs", "a.png", "eadir", "macosx", "notes.txt", "@me.png")))


def test_links_on_the_device_of_the_folder_are_followed(folder) -> None:
    (folder / "eel").symlink_to(folder.parent / "other" / "eel")
    (folder / "cat" / "link.png").symlink_to(folder.parent / "other" / "eel" / "c.png")
    found = list_folder(folder)
    assert found.names == ["cat/a.png", "cat/link.png", "dog/b.png", "eel/c.png"]
    assert found.linked == ("eel",)
    assert found.refused == {}
    assert found.open("eel/c.png") == folder / "eel" / "c.png"


def test_links_to_another_device_are_named(folder, monkeypatch) -> None:
    other = folder.parent / "other"
    monkeypatch.setattr(listing, "_device", lambda path: int(path.is_relative_to(other)))
    (folder / "eel").symlink_to(other / "eel")
    (folder / "cat" / "link.png").symlink_to(other / "eel" / "c.png")
    found = list_folder(folder)
    assert found.names == ["cat/a.png", "dog/b.png"]
    assert found.refused == dict.fromkeys(
        ("cat/link.png", "eel"), "a link that leaves the device of the folder"
    )


def test_the_cache_of_dvc_can_be_on_another_device(folder, monkeypatch) -> None:
    """`cache.type symlink`: each file is a link to an object named by its checksum."""
    target = folder.parent / "cache" / "files" / "md5" / "0a" / ("1b" * 15)
    target.parent.mkdir(parents=True)
    target.write_bytes(b"")
    monkeypatch.setattr(listing, "_device", lambda path: int("cache" in path.parts))
    (folder / "cat" / "a.png").unlink()
    (folder / "cat" / "a.png").symlink_to(target)
    assert list_folder(folder).names == ["cat/a.png", "dog/b.png"]


def test_cycles_end_and_no_folder_is_read_twice(folder) -> None:
    (folder / "up").symlink_to(folder.parent)
    (folder / "self").symlink_to(folder)
    (folder / "cat" / "again").symlink_to(folder / "dog")
    (folder / "loop").symlink_to(folder / "loop")
    (folder / "eel").symlink_to(folder.parent / "other" / "eel")
    (folder.parent / "other" / "eel" / "back").symlink_to(folder)
    (folder / "zeel").symlink_to(folder.parent / "other")
    found = list_folder(folder)
    assert found.names == ["cat/a.png", "dog/b.png", "eel/c.png"]
    assert found.refused == {
        "up": "a link to a folder that contains it",
        "self": "a link to a folder that is read already: the folder itself",
        "cat/again": "a link to a folder that is read already: dog",
        "loop": "a link to nothing",
        "eel/back": "a link to a folder that is read already: the folder itself",
        "zeel/eel": "a folder that is read already: eel",
    }


def test_a_folder_without_permission_is_named(folder) -> None:
    (folder / "dog").chmod(0)
    try:
        if os.access(folder / "dog", os.R_OK):
            pytest.skip("this user may read everything (root)")
        assert list_folder(folder).refused == {"dog": "Permission denied"}
    finally:
        (folder / "dog").chmod(0o755)
