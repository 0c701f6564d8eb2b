"""A split file: its columns, and every fault by a sentence with the row."""

import pytest

from latentlab.data.files.split_file import (
    SplitLine,
    match_files,
    match_names,
    read_split_file,
    refuse_unknown_frames,
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
        (
            "file;split\na;train\n",
            "has the columns: file;split. Wanted: a CSV file in UTF-8, with commas",
        ),
        ("file,split\na,train\nb\n", "has 1 instead of 2 cells in row 3"),
        ("file,split\na,train\na,test\n", "has the file a twice, again in row 3"),
        ("file,split\na,train\nb,holdout\n", "has the split 'holdout' in row 3"),
        ("file,split\na,train\nb,\n", "has no split for 1 file: b"),
        ("file,label\na,cat\nb,\n", "has no label for 1 file: b"),
        ("file,split\na,test\nb,val\n", "has the splits test, val, but no train"),
        ("file,split\na,unused\n", "has no line of an image that is used"),
        ('file\n"a', "is not a CSV file"),
        ("\x00\x01PNG", "is not UTF-8 text: it has bytes that are 0, as in UTF-16"),
        ("file,label\na,x\nb,nan\n", "has the label 'nan' in row 3, as programs write"),
        ("file,group\na,p1\nb,NaN\n", "has the group 'NaN' in row 3, as programs write"),
    ],
)
def test_faults_are_named(text, message) -> None:
    with pytest.raises(LatentlabError, match=rf"images/split.csv.*({message})"):
        read(text)


def test_lines_and_images_must_match() -> None:
    lines = read("file\na.png\nb.tif\n")
    found = match_files(lines, ["a.png", "b.tif#1", "b.tif#2"], ["a.png", "b.tif", "b.tif"], "s")
    assert found == [SplitLine("", "", "")] * 3
    assert list(match_names(read("file\nb.tif#2\n"), {"b.tif"}, "s")) == ["b.tif#2"]
    with pytest.raises(
        LatentlabError, match=r"s names 1 file that cannot be found: b.tif \(there is a.png\)\. W"
    ):
        match_names(lines, {"a.png"}, "s")
    with pytest.raises(LatentlabError, match=r"s has no line for 1 image: c.png\. Each .*unused"):
        match_files(lines, ["a.png", "c.png"], ["a.png", "c.png"], "s")


def test_names_with_backslashes_or_in_the_other_unicode_form_are_matched() -> None:
    known = {"a/1.png", "cafe\u0301.tif", "b\\c.png"}
    lines = read("file,label\na\\1.png,x\ncaf\u00e9.tif#2,y\nb\\c.png,z\n")
    found = match_names(lines, known, "s")
    assert {name: line.label for name, line in found.items()} == {
        "a/1.png": "x",
        "cafe\u0301.tif#2": "y",
        "b\\c.png": "z",
    }
    with pytest.raises(LatentlabError, match=r"has the file a/1.png twice, once as a\\1.png"):
        match_names(read("file\na/1.png\na\\1.png\n"), known, "s")


def test_a_label_that_is_not_utf8_is_refused() -> None:
    with pytest.raises(LatentlabError, match=r"has a label that is not UTF-8 in row 2: caf.udce9"):
        read_split_file("file,label\na,caf\u00e9\n".encode("latin-1"), "s")
    assert list(read_split_file(b"file,label\n\xe9.png,x\n", "s")) == ["\udce9.png"]


def test_lines_of_frames_that_are_not_read_are_refused() -> None:
    lines = read("file,split\na.tif#1,train\na.tif#2,train\nb.tif#9,train\nc.tif#3,unused\n")
    with pytest.raises(LatentlabError, match=r"names 1 frame not to be read: a.tif#2\. The fi"):
        refuse_unknown_frames(lines, ["a.tif#1"], {"b.tif"}, "s", all_frames=False)
    refuse_unknown_frames(lines, ["a.tif#1", "a.tif#2"], {"b.tif"}, "s", all_frames=False)
    with pytest.raises(LatentlabError, match=r"names 1 frame not to be read: c.tif#3\. The fi"):
        refuse_unknown_frames(lines, ["a.tif#1", "a.tif#2"], {"b.tif"}, "s", all_frames=True)


def test_rows_are_counted_with_empty_ones() -> None:
    with pytest.raises(LatentlabError, match=r"the split 'tset' in row 5"):
        read("file,split\n\na,train\n\nb,tset\n")
