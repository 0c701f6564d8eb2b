"""Archives are read like the folder inside of them; faults are named and nothing expands far."""

import bz2
import gzip
import io
import lzma
import shutil
import stat
import struct
import tarfile
import zipfile
import zlib
from pathlib import Path

import pytest

from image_files import png, write_tar
from latentlab.data.files import archive
from latentlab.data.files.archive import open_archive
from latentlab.utils.errors import LatentlabError

MEMBERS = {"pets/cat/a.png": png(1), "pets/dog/b.png": png(2)}
JUNK = {"__MACOSX/pets/cat/._a.png": b"x", "pets/.DS_Store": b"x", "pets/Thumbs.db": b"x"}


def write_zip(path: Path, members: dict[str, bytes]) -> None:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("pets/", b"")
        for name, content in members.items():
            file.writestr(name, content)


def write_compressed(path: Path, members: dict[str, bytes]) -> None:
    plain = path.parent / "plain.tar"
    write_tar(plain, members)
    opener = {".gz": gzip.open, ".tgz": gzip.open, ".bz2": bz2.open, ".xz": lzma.open}[path.suffix]
    with plain.open("rb") as source, opener(path, "wb") as target:
        shutil.copyfileobj(source, target)


@pytest.mark.parametrize(
    ("name", "write"),
    [
        ("images.zip", write_zip),
        ("images.tar", write_tar),
        ("images", write_zip),
        *((f"images.{ending}", write_compressed) for ending in ("tar.gz", "tgz", "tar.bz2")),
        ("images.tar.xz", write_compressed),
    ],
)
def test_names_and_contents_are_those_of_the_folder(tmp_path, name, write) -> None:
    write(tmp_path / name, MEMBERS | JUNK)
    found = open_archive(tmp_path / name, tmp_path / "scratch")
    assert found.names == sorted(MEMBERS)
    assert found.refused == {}
    for member, content in MEMBERS.items():
        assert found.open(member).read() == content
    assert list((tmp_path / "scratch").glob("*")) == []


def test_members_that_leave_the_archive_are_named(tmp_path) -> None:
    bad = {"../evil.png": b"x", "/etc/evil.png": b"x", "C:\\evil.png": b"x", "a/../../b.png": b"x"}
    write_zip(tmp_path / "a.zip", MEMBERS | bad)
    found = open_archive(tmp_path / "a.zip", tmp_path)
    assert found.names == sorted(MEMBERS)
    assert set(found.refused.values()) == {"a path that leaves the archive"}
    assert len(found.refused) == len(bad)
    for name in ("../evil.png", "/etc/evil.png"):
        write_tar(tmp_path / "a.tar", MEMBERS | {name: b"x"})
        with pytest.raises(LatentlabError, match=r"a\.tar .*evil.png' leaves the folder"):
            open_archive(tmp_path / "a.tar", tmp_path)


def test_links_devices_and_encrypted_members_are_named(tmp_path) -> None:
    link = zipfile.ZipInfo("link.png")
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as file:
        file.writestr(link, "/etc/passwd")
        file.writestr("secret.png", b"x")
    content = bytearray((tmp_path / "a.zip").read_bytes())
    place = content.rindex(b"secret.png") - 46  # its entry in the directory
    content[place + 8] |= 1  # the flag of encryption
    (tmp_path / "a.zip").write_bytes(content)
    found = open_archive(tmp_path / "a.zip", tmp_path)
    assert found.refused == {"link.png": "a link", "secret.png": "encrypted"}
    with tarfile.open(tmp_path / "a.tar", "w") as file:
        member = tarfile.TarInfo("link.png")
        member.type, member.linkname = tarfile.SYMTYPE, "/etc/passwd"
        file.addfile(member)
        member = tarfile.TarInfo("hard.png")
        member.type, member.linkname = tarfile.LNKTYPE, "link.png"
        file.addfile(member)
    assert open_archive(tmp_path / "a.tar", tmp_path).refused == dict.fromkeys(
        ("link.png", "hard.png"), "a link"
    )
    with tarfile.open(tmp_path / "b.tar", "w") as file:
        member = tarfile.TarInfo("fifo.png")
        member.type = tarfile.FIFOTYPE
        file.addfile(member)
    with pytest.raises(LatentlabError, match=r"'fifo.png' is not a regular file"):
        open_archive(tmp_path / "b.tar", tmp_path)


@pytest.mark.parametrize(("name", "write"), [("a.zip", write_zip), ("a.tar.gz", write_compressed)])
def test_archives_that_expand_too_far_are_refused(tmp_path, monkeypatch, name, write) -> None:
    monkeypatch.setattr(archive, "MAX_EXTRA", 0)
    write(tmp_path / name, {"a.bmp": bytes(10**6)})
    with pytest.raises(LatentlabError, match=r"expands to more than .* over 100 times its size"):
        open_archive(tmp_path / name, tmp_path)


def test_two_files_of_one_name_in_a_zip_are_not_read(tmp_path) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as file:
        for name in ("./a/1.png", "a//1.png", "./a/2.png"):
            file.writestr(name, png(1))
    found = open_archive(tmp_path / "a.zip", tmp_path)
    assert found.names == ["a/2.png"]
    assert found.refused == {"a/1.png": "two files of this name are in the archive"}


def test_a_member_is_never_longer_than_its_entry_says(tmp_path) -> None:
    write_zip(tmp_path / "a.zip", {"a.bmp": bytes(10**6)})
    content = bytearray((tmp_path / "a.zip").read_bytes())
    place = content.rindex(b"a.bmp") - 46
    content[place + 24 : place + 28] = struct.pack("<I", 100)  # in truth a million bytes
    (tmp_path / "a.zip").write_bytes(content)
    found = open_archive(tmp_path / "a.zip", tmp_path)
    with pytest.raises(zipfile.BadZipFile):
        found.open("a.bmp")


def test_files_beyond_64_mib_are_named(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(archive, "MAX_FILE_BYTES", 2**20)
    members = {"a.png": b"x", "big.png": bytes(2**20 + 1)}
    for name, write in (("a.zip", write_zip), ("a.tar", write_tar)):
        write(tmp_path / name, members)
        found = open_archive(tmp_path / name, tmp_path)
        assert (found.names, found.refused) == (["a.png"], {"big.png": "more than 1 MiB"})


@pytest.mark.parametrize(
    ("name", "write"),
    [("a.zip", write_zip), ("a.tar", write_tar), ("a.tar.gz", write_compressed)],
)
def test_truncated_archives_are_named(tmp_path, name, write) -> None:
    write(tmp_path / name, MEMBERS)
    whole = (tmp_path / name).read_bytes()
    end = len(whole.rstrip(b"\0"))  # a tar ends with blocks of zeros, more than it needs
    for size in range(0, end, max(1, end // 37)):
        (tmp_path / name).write_bytes(whole[:size])
        with pytest.raises(LatentlabError, match=rf"{name} .*cannot be read as an archive.*Copy"):
            open_archive(tmp_path / name, tmp_path)


def test_a_damaged_member_is_not_read(tmp_path) -> None:
    write_zip(tmp_path / "a.zip", {"a.png": bytes(range(256))})
    content = (tmp_path / "a.zip").read_bytes()
    (tmp_path / "a.zip").write_bytes(content.replace(b"\x10\x11\x12", b"\x10\x99\x12", 1))
    with pytest.raises((zipfile.BadZipFile, zlib.error)):
        open_archive(tmp_path / "a.zip", tmp_path).open("a.png")


def test_another_file_is_an_error(tmp_path) -> None:
    (tmp_path / "a.png").write_bytes(png(3))
    with pytest.raises(LatentlabError, match=r"a\.png is no folder, .*Allowed are folders"):
        open_archive(tmp_path / "a.png", tmp_path)


def test_a_full_disk_is_not_a_damaged_archive(tmp_path, monkeypatch) -> None:
    write_compressed(tmp_path / "a.tar.gz", MEMBERS)

    class Full(io.BytesIO):
        def write(self, data) -> int:
            raise OSError(28, "No space left on device")

    monkeypatch.setattr(archive.tempfile, "TemporaryFile", lambda dir: Full())
    with pytest.raises(LatentlabError, match=r"has no space for the expanded archive"):
        open_archive(tmp_path / "a.tar.gz", tmp_path)
