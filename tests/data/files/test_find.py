"""Listings of folders and archives that several readers share."""

import pytest

from image_files import write_grey
from latentlab.data.files.find import find_files, listed_once
from latentlab.utils.errors import LatentlabError


def test_a_folder_is_listed_once_in_the_block_and_again_after_it(tmp_path) -> None:
    write_grey(tmp_path / "images" / "a.png", 1)
    with listed_once():
        first = find_files(tmp_path / "images", tmp_path)
        write_grey(tmp_path / "images" / "b.png", 1)
        assert find_files(tmp_path / "images", tmp_path) is first
        assert find_files(tmp_path, tmp_path).names == ["images/a.png", "images/b.png"]
    assert find_files(tmp_path / "images", tmp_path).names == ["a.png", "b.png"]


def test_an_error_is_raised_at_each_use(tmp_path) -> None:
    with listed_once():
        for _ in range(2):
            with pytest.raises(LatentlabError, match=r"none is not a folder\. Put your images"):
                find_files(tmp_path / "none", tmp_path)
