"""Tars that are damaged, dangerous or too large are an error."""

import tarfile
from pathlib import Path

import pytest

from image_files import png, write_tar
from latentlab.data.settings import DataSettings
from latentlab.data.shards import tar
from latentlab.data.sources import load_source
from latentlab.utils.errors import LatentlabError


def load(root: Path):
    return load_source(DataSettings(name="shards", folder="shards", size=8), root)


def member_of(member_type: bytes, **fields):
    """A function that writes a tar with one member of this type."""

    def make(path: Path) -> None:
        with tarfile.open(path, "w") as file:
            member = tarfile.TarInfo("a.png")
            member.type = member_type
            for key, value in fields.items():
                setattr(member, key, value)
            file.addfile(member)

    return make


def long_name(path: Path) -> None:
    """Write a header with a name of three megabytes."""
    path.write_bytes(b"")
    with tarfile.open(path, "w", format=tarfile.GNU_FORMAT) as file:
        member = tarfile.TarInfo("x" * 3_000_000 + ".png")
        file.addfile(member)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (member_of(tarfile.SYMTYPE, linkname="/etc/passwd"), "'a.png' is not a regular file"),
        (member_of(tarfile.LNKTYPE, linkname="a"), "'a.png' is not a regular file"),
        (member_of(tarfile.CHRTYPE), "'a.png' is not a regular file"),
        (member_of(tarfile.REGTYPE, name="/a.png"), "'/a.png' leaves the folder"),
        (member_of(tarfile.REGTYPE, name="b/../../a.png"), "leaves the folder"),
        (member_of(tarfile.REGTYPE, size=1 << 40), "truncated at 'a.png'"),
        (lambda p: write_tar(p, {"a.png": b"1", "a.jpg": b"1"}), "two images have the key 'a'"),
        (lambda p: write_tar(p, {"a.npy": b"1", "a.cls": b"1"}), "'a' has a class but no image"),
        (
            lambda p: write_tar(p, {"a.png": b"1", "a.cls": b"1" * 5000}),
            "has 5000 bytes, more than 4096",
        ),
        (lambda p: write_tar(p, {"a.png": b"1", "a.cls": b"\xff"}), "'a.cls' is not UTF-8"),
        (
            lambda p: write_tar(p, {"big.png": bytes(3000)}),
            "'big.png' has 3000 bytes, more than 2000",
        ),
        (long_name, r"a header of 30\d+ bytes"),
        (lambda p: p.write_bytes(b"hello" * 500), "not a readable tar"),
        (lambda p: p.write_bytes(b""), "not a readable tar: empty file"),
    ],
)
def test_damaged_or_dangerous_tars_are_an_error(tmp_path, make, message, monkeypatch) -> None:
    monkeypatch.setattr(tar, "MAX_FILE_BYTES", 2000)
    (tmp_path / "shards").mkdir()
    write_tar(tmp_path / "shards" / "good.tar", {"a.png": png(1)})
    make(tmp_path / "shards" / "bad.tar")
    with pytest.raises(LatentlabError, match=rf"1 of 2 shards .*: bad.tar \(.*{message}"):
        load(tmp_path)


def test_a_tar_cut_anywhere_is_an_error_without_a_checksum(tmp_path) -> None:
    path = tmp_path / "shards" / "a.tar"
    write_tar(path, {f"{n}.png": png(n) for n in range(4)})
    whole = path.read_bytes()
    end = 4 * (512 + 512)  # a PNG of one grey takes less than one block
    for length in [*range(0, end, 256), end]:
        path.write_bytes(whole[:length])
        with pytest.raises(LatentlabError, match=r"a.tar \((truncated|not a readable tar)"):
            load(tmp_path)
