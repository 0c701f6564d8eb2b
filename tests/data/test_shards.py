"""Tar shards: what is packed comes back, and every kind of damage is named."""

import hashlib
import io
import json
import os
import tarfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from latentlab.cli import main
from latentlab.contracts import LatentlabError
from latentlab.data import tar
from latentlab.data.manifest import read_manifest
from latentlab.data.pack import pack_folder, sample_key
from latentlab.data.prepared import write_prepared
from latentlab.data.settings import DataSettings
from latentlab.data.sources import open_source

ODD = ["cat/dot.dot.png", "cat/a.b.jpg", "dog/new\nline.png", 'dog/quo"te,.png', "Ärger/猫 %41.png"]


def paint(path: Path, seed: int, size: tuple[int, int] = (9, 12)) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    noise = np.random.default_rng(seed).integers(0, 256, (*size, 3), dtype=np.uint8)
    Image.fromarray(noise).save(path)


@pytest.fixture
def images(tmp_path) -> Path:
    for number, name in enumerate(ODD):
        paint(tmp_path / "images" / name, number)
    return tmp_path / "images"


def load(root: Path, name: str = "shards", **settings):
    given = {"name": name, "folder": name.replace("image_folder", "images"), "size": 8}
    return open_source(DataSettings(**given | settings), root)


def content(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def put(path: Path, members: dict[str, bytes]) -> None:
    """A tar as another tool would make it."""
    path.parent.mkdir(exist_ok=True)
    with tarfile.open(path, "w") as file:
        for name, data in members.items():
            member = tarfile.TarInfo(name)
            member.size, member.mtime, member.uname = len(data), 1e9, "somebody"
            file.addfile(member, io.BytesIO(data))


def png(value: int) -> bytes:
    target = io.BytesIO()
    Image.new("RGB", (8, 8), (value, value, value)).save(target, "png")
    return target.getvalue()


@pytest.mark.parametrize("size", [None, 8])
def test_shards_prepare_to_the_very_bytes_of_the_folder(tmp_path, images, size) -> None:
    pack_folder(images, tmp_path / "shards", size=size, per_shard=2)
    made = []
    for name in ("image_folder", "shards"):
        settings = DataSettings(name=name, size=8)
        source = load(tmp_path, name)
        assert source.classes == ("cat", "dog", "Ärger")
        write_prepared(source, settings, 0, tmp_path / name)
        made.append(content(tmp_path / name))
    metas = [json.loads(folder.pop("meta.json")) for folder in made]
    assert [meta.pop("name") for meta in metas] == ["image_folder", "shards"]
    assert metas[0] == metas[1]
    assert made[0] == made[1]


def test_a_name_that_is_not_utf8_survives(tmp_path, images) -> None:
    paint(tmp_path / "x.png", 9)
    os.rename(tmp_path / "x.png", os.fsencode(images / "dog") + b"/\xff.png")
    pack_folder(images, tmp_path / "shards")
    assert load(tmp_path).train.names == load(tmp_path, "image_folder").train.names


def test_other_tools_read_the_members_in_pairs(tmp_path, images) -> None:
    """By WebDataset's rule: the key ends at the first dot of the file's name."""
    pack_folder(images, tmp_path / "shards", per_shard=3)
    samples: dict[str, dict[str, bytes]] = {}
    for path in sorted((tmp_path / "shards").glob("*.tar")):
        with tarfile.open(path) as file:
            for member in file:
                assert member.isreg()
                assert member.name.isascii()
                folder, _, last = member.name.rpartition("/")
                stem, ending = last.split(".")
                samples.setdefault(f"{folder}/{stem}", {})[ending] = file.extractfile(member).read()
    assert [set(sample) for sample in samples.values()] == [
        {"jpg" if b"jpg" in sample_key(name).encode() else "png", "cls"} for name in sorted(ODD)
    ]
    for name, sample in zip(sorted(ODD), samples.values(), strict=True):
        (image,) = (data for ending, data in sample.items() if ending != "cls")
        assert image == (images / name).read_bytes()
    assert [int(sample["cls"]) for sample in samples.values()] == [0, 0, 1, 1, 2]


def test_the_manifest_tells_counts_lengths_and_checksums(tmp_path, images) -> None:
    out = tmp_path / "shards"
    made = pack_folder(images, out, size=8, per_shard=2)
    told = json.loads((out / "manifest.json").read_text())
    assert (told["images"], told["size"], told["classes"]) == (5, 8, ["cat", "dog", "Ärger"])
    assert [shard["images"] for shard in told["shards"]] == [2, 2, 1]
    for shard in told["shards"]:
        data = (out / shard["file"]).read_bytes()
        assert shard["bytes"] == len(data)
        assert shard["sha256"] == hashlib.sha256(data).hexdigest()
    assert read_manifest(out).num_images == made.num_images
    pack_folder(images, tmp_path / "again", size=8, per_shard=2)
    assert content(tmp_path / "again") == content(out)


def test_the_command_packs_and_says_so(tmp_path, images, capsys) -> None:
    (images / "cat" / "bad.png").write_bytes(b"")
    out = tmp_path / "shards"
    with pytest.raises(SystemExit) as stopped:
        main(["shard", str(images), str(out)])
    assert stopped.value.code == 2
    assert r"1 of 6 files" in (told := capsys.readouterr().err)
    assert "cat/bad.png (not an image of a known format)" in told
    assert [path.name for path in tmp_path.iterdir()] == ["images"], "nothing half-written"
    main(["shard", str(images), str(out), "--per-shard", "4", "--on-unreadable", "skip"])
    told = capsys.readouterr().out
    assert told.startswith("5 images, 3 classes, 1 unreadable skipped: 2 shards, 0.0 MB in")
    source = load(tmp_path)
    assert source.unreadable == ("cat/bad.png",)


def test_what_cannot_be_packed_is_refused(tmp_path, images) -> None:
    with pytest.raises(LatentlabError, match=r"nowhere is not a folder"):
        pack_folder(tmp_path / "nowhere", tmp_path / "out")
    with pytest.raises(LatentlabError, match=r"is there already; name a new folder"):
        pack_folder(images, images / "cat")
    with pytest.raises(LatentlabError, match=r"out lies in .*images; name a folder outside"):
        pack_folder(images, images / "out")
    with pytest.raises(LatentlabError, match=r"size None, per shard 0: both must be 1 or more"):
        pack_folder(images, tmp_path / "out", per_shard=0)
    (tmp_path / "empty").mkdir()
    with pytest.raises(LatentlabError, match=r"empty holds no images; name a folder that does"):
        pack_folder(tmp_path / "empty", tmp_path / "out")
    paint(tmp_path / "secret.png", 1)
    (images / "cat" / "link.png").symlink_to(tmp_path / "secret.png")
    with pytest.raises(LatentlabError, match=r"cat/link.png \(a link that leaves the folder\)"):
        pack_folder(images, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_full_disk_leaves_nothing(tmp_path, images, monkeypatch) -> None:
    def full(*_args):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("latentlab.data.pack._Hashed.write", full)
    with pytest.raises(LatentlabError, match=r"out cannot be written .*No space left"):
        pack_folder(images, tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir()] == ["images"]


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[700] ^= 1
    path.write_bytes(data)


def replace_by_link(path: Path) -> None:
    path.rename(path.parents[1] / "elsewhere.tar")
    path.symlink_to(path.parents[1] / "elsewhere.tar")


@pytest.mark.parametrize(
    ("harm", "message"),
    [
        (lambda p: os.truncate(p, 1024), r"truncated: it has 1024 bytes, manifest.json says \d+"),
        (lambda p: p.write_bytes(p.read_bytes() + b"x"), "too long: it has"),
        (flip, "corrupt: its SHA-256 is [0-9a-f]{64}, manifest.json says"),
        (Path.unlink, "absent"),
        (lambda p: (p.unlink(), os.mkfifo(p)), "a file of another kind"),
        (replace_by_link, "a link that leaves the folder"),
    ],
)
def test_a_bad_shard_is_named_with_what_to_do(tmp_path, images, harm, message) -> None:
    pack_folder(images, tmp_path / "shards", per_shard=2)
    harm(tmp_path / "shards" / "shard-000001.tar")
    with pytest.raises(
        LatentlabError,
        match=rf"1 of 3 shards .* shard-000001.tar \({message}.*Copy them anew .*`latentlab shard`",
    ):
        load(tmp_path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda m: m["shards"].clear(), "0 images in its shards, 5 in all"),
        (lambda m: m["shards"][0].update(file="../x.tar"), "no plain name of a .tar"),
        (lambda m: m["shards"][0].update(images=-1), "no positive integers"),
        (lambda m: m["shards"][0].update(sha256=None), "a checksum that is no text"),
        (lambda m: m["shards"][0].update(more=1), "TypeError"),
        (lambda m: m.pop("classes"), "KeyError"),
        (lambda m: m.update(format="else"), "format 'else', not 'latentlab-shards-1'"),
        (lambda m: m.update(size="big"), "size 'big'"),
        (lambda m: m.update(classes=[1]), "names that are no text"),
    ],
)
def test_a_damaged_manifest_is_named(tmp_path, images, change, message) -> None:
    out = tmp_path / "shards"
    pack_folder(images, out)
    told = json.loads((out / "manifest.json").read_text())
    change(told)
    (out / "manifest.json").write_text(json.dumps(told))
    with pytest.raises(LatentlabError, match=rf"manifest.json is no manifest .*{message}"):
        load(tmp_path)
    (out / "manifest.json").write_text(json.dumps(told)[:-9])
    with pytest.raises(LatentlabError, match=r"is no manifest of shards"):
        load(tmp_path)


def test_shards_and_manifest_must_agree(tmp_path, images) -> None:
    out = tmp_path / "shards"
    pack_folder(images, out)
    told = json.loads((out / "manifest.json").read_text())
    put(out / "stale.tar", {"a.png": png(1)})
    with pytest.raises(LatentlabError, match=r"that manifest.json does not list: stale.tar. Move"):
        load(tmp_path)
    (out / "stale.tar").unlink()
    told["classes"] = ["one"]
    (out / "manifest.json").write_text(json.dumps(told))
    with pytest.raises(LatentlabError, match=r"classes that manifest.json does not name"):
        load(tmp_path)
    told["images"] = told["shards"][0]["images"] = 6
    (out / "manifest.json").write_text(json.dumps(told))
    with pytest.raises(LatentlabError, match=r"5 images, manifest.json says 6"):
        load(tmp_path)


@pytest.mark.parametrize(
    ("texts", "classes", "labels"),
    [
        (["7", "10", "7"], ("7", "10"), [0, 1, 0]),
        (["cat\n", "ant", "10"], ("10", "ant", "cat"), [2, 1, 0]),
        (["3", "3", "3"], None, None),
        ([None] * 3, None, None),
    ],
)
def test_plain_tars_have_the_classes_of_their_cls_files(tmp_path, texts, classes, labels) -> None:
    for shard in (0, 1):  # the same keys again, as other tools write them
        members = {}
        for row, text in enumerate(texts):
            members[f"./k{row}.png"] = png(20 * row + shard)
            members |= {f"./k{row}.cls": text.encode()} if text else {}
        put(tmp_path / "shards" / f"{shard}.tar", {"README": b"hello", "./._x.png": b"", **members})
    source = load(tmp_path)
    assert source.classes == classes
    if labels is None:
        assert source.train.labels is None
    else:
        assert source.train.labels.tolist() == labels * 2
    assert source.train.names == [f"{s}.tar/./k{row}" for s in (0, 1) for row in range(3)]
    assert source.train.pixels[:][:, 0, 0, 0].tolist() == [0, 20, 40, 1, 21, 41]


def test_some_images_without_a_class_are_refused(tmp_path) -> None:
    put(tmp_path / "shards" / "a.tar", {"a.png": png(1), "a.cls": b"1", "b.png": png(2)})
    with pytest.raises(
        LatentlabError, match=r"1 of 2 images .* have no .cls beside them; give all"
    ):
        load(tmp_path)


def special(kind: bytes, **fields):
    def make(path: Path) -> None:
        with tarfile.open(path, "w") as file:
            member = tarfile.TarInfo("a.png")
            member.type = kind
            for key, value in fields.items():
                setattr(member, key, value)
            file.addfile(member)

    return make


def long_name(path: Path) -> None:
    """A header that claims three megabytes of name."""
    path.write_bytes(b"")
    with tarfile.open(path, "w", format=tarfile.GNU_FORMAT) as file:
        member = tarfile.TarInfo("x" * 3_000_000 + ".png")
        file.addfile(member)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (special(tarfile.SYMTYPE, linkname="/etc/passwd"), "'a.png' is not a regular file"),
        (special(tarfile.LNKTYPE, linkname="a"), "'a.png' is not a regular file"),
        (special(tarfile.CHRTYPE), "'a.png' is not a regular file"),
        (special(tarfile.REGTYPE, name="/a.png"), "'/a.png' leaves the folder"),
        (special(tarfile.REGTYPE, name="b/../../a.png"), "leaves the folder"),
        (special(tarfile.REGTYPE, size=1 << 40), "truncated in 'a.png'"),
        (lambda p: put(p, {"a.png": b"1", "a.jpg": b"1"}), "two images of the key 'a'"),
        (lambda p: put(p, {"a.npy": b"1", "a.cls": b"1"}), "'a' has a class, but beside it no im"),
        (lambda p: put(p, {"a.png": b"1", "a.cls": b"1" * 5000}), "has 5000 bytes, too many for"),
        (lambda p: put(p, {"a.png": b"1", "a.cls": b"\xff"}), "'a.cls' is not UTF-8"),
        (lambda p: put(p, {"big.png": bytes(3000)}), "'big.png' has 3000 bytes, too many"),
        (long_name, r"a header of 30\d+ bytes"),
        (lambda p: p.write_bytes(b"hello" * 500), "no tar that can be read"),
        (lambda p: p.write_bytes(b""), "no tar that can be read: empty file"),
    ],
)
def test_tars_that_no_honest_tool_makes_are_refused(tmp_path, make, message, monkeypatch) -> None:
    monkeypatch.setattr(tar, "LARGEST_FILE", 2000)
    (tmp_path / "shards").mkdir()
    put(tmp_path / "shards" / "good.tar", {"a.png": png(1)})
    make(tmp_path / "shards" / "bad.tar")
    with pytest.raises(LatentlabError, match=rf"1 of 2 shards .*: bad.tar \(.*{message}"):
        load(tmp_path)


def test_a_tar_cut_anywhere_is_noticed_without_a_checksum(tmp_path) -> None:
    path = tmp_path / "shards" / "a.tar"
    put(path, {f"{n}.png": png(n) for n in range(4)})
    whole = path.read_bytes()
    end = 4 * (512 + 512)  # a png of one grey takes less than a block
    for length in [*range(0, end, 256), end]:
        path.write_bytes(whole[:length])
        with pytest.raises(LatentlabError, match=r"a.tar \((truncated|no tar)"):
            load(tmp_path)


def test_bombs_and_junk_inside_a_whole_shard(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    big = io.BytesIO()
    Image.new("L", (11, 10)).save(big, "png")
    members = {"good.png": png(5), "bomb.png": big.getvalue(), "junk.jpg": b"junk", "nil.png": b""}
    put(tmp_path / "shards" / "a.tar", members)
    with pytest.raises(LatentlabError, match=r"3 of 4 images .*a.tar/bomb \(DecompressionBombW"):
        load(tmp_path)
    source = load(tmp_path, on_unreadable="skip")
    assert source.unreadable == ("a.tar/bomb", "a.tar/junk", "a.tar/nil")
    assert source.train.names == ["a.tar/good"]
    assert (source.train.pixels[:] == 5).all()


def test_no_shards_is_an_error(tmp_path) -> None:
    with pytest.raises(LatentlabError, match=r"shards holds no images in .tar files; make shards"):
        load(tmp_path)
    with pytest.raises(LatentlabError, match=r"data.size is null; shards has no size of its own"):
        load(tmp_path, size=None)
