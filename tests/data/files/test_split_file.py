"""A split file: its columns, and every fault by a sentence with the row."""

import pytest

from latentlab.data.files.split_file import (
    SplitLine,
    match_files,
    read_split_file,
    refuse_unknown_files,
)
from latentlab.utils.errors import LatentlabError


def read(text: str) -> dict[str, SplitLine]:
    return read_split_file(text.encode(), "images/split.csv")


def test_columns_in_any_order_with_a_byte_order_mark_and_windows_line_ends() -> None:
    text = '\ufeffLabel,File,group,split\r\ncat,"a,1.png",p 7,Train\r\ndog,./b.png,,TESTING\r\n'
    assert read(text) == {
        "a,1.png": SplitLine("train", "cat", "p 7"),
        "b.png": SplitLine("test", "dog", ""),
    }


def test_only_the_files_are_needed() -> None:
    assert read("file\na.png\n") == {"a.png": SplitLine("", "", "")}


def test_unused_lines_need_no_label() -> None:
    lines = read("file,split,label\na.png,train,cat\nb.png,unused,\n")
    assert lines["b.png"].split == "unused"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "has the columns: nothing"),
        ("path,split\na,train\n", "has the columns: path, split"),
        ("file,split,colour\na,train,x\n", "has the columns: file, split, colour"),
        ("file,file\na,a\n", "has the columns: file, file"),
        ("file;split\na;train\n", "has the columns: file;split. Wanted: a CSV file with commas"),
        ("file,split\na,train\nb\n", "has 1 instead of 2 cells in row 3"),
        ("file,split\na,train\na,test\n", "has the file a twice, again in row 3"),
        ("file,split\na,train\nb,holdout\n", "has the split 'holdout' in row 3"),
        ("file,split\na,train\nb,\n", "has no split for 1 files: b"),
        ("file,label\na,cat\nb,\n", "has no label for 1 files: b"),
        ("file,split\na,test\nb,val\n", "has the splits test, val, but no train"),
        ("file,split\na,unused\n", "has no line of an image that is used"),
        ('file\n"a', "is not a CSV file"),
        ("\x00\x01PNG", "has the columns|is not a CSV file"),
    ],
)
def test_faults_are_named(text, message) -> None:
    with pytest.raises(LatentlabError, match=rf"images/split.csv.*({message})"):
        read(text)


def test_lines_and_images_must_match() -> None:
    lines = read("file\na.png\nb.tif\n")
    found = match_files(lines, ["a.png", "b.tif#1", "b.tif#2"], ["a.png", "b.tif", "b.tif"], "s")
    assert found == [SplitLine("", "", "")] * 3
    refuse_unknown_files(read("file\nb.tif#2\n"), {"b.tif"}, "s")
    with pytest.raises(LatentlabError, match=r"s names 1 files that are not there: b.tif\. Wanted"):
        refuse_unknown_files(lines, {"a.png"}, "s")
    with pytest.raises(LatentlabError, match=r"s has no line for 1 images: c.png\. Each .*unused"):
        match_files(lines, ["a.png", "c.png"], ["a.png", "c.png"], "s")
