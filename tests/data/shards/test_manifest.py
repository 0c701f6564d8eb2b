"""manifest.json: counts, lengths and checksums, and every type of damage."""

import hashlib
import json
from pathlib import Path

import pytest

from image_files import files_of, write_noise
from latentlab.data.shards.manifest import read_manifest
from latentlab.data.shards.write import pack_folder
from latentlab.utils.errors import LatentlabError


@pytest.fixture
def images(tmp_path) -> Path:
    for number, name in enumerate(
        ["cat/a.png", "cat/b.jpg", "dog/c.png", "dog/d.png", "Ärger/e.png"]
    ):
        write_noise(tmp_path / "images" / name, number)
    return tmp_path / "images"


def test_the_manifest_has_counts_lengths_and_checksums(tmp_path, images) -> None:
    out = tmp_path / "shards"
    made = pack_folder(images, out, size=8, per_shard=2)
    content = json.loads((out / "manifest.json").read_text())
    assert (content["images"], content["size"], content["classes"]) == (
        5,
        8,
        ["cat", "dog", "Ärger"],
    )
    assert [shard["images"] for shard in content["shards"]] == [2, 2, 1]
    for shard in content["shards"]:
        data = (out / shard["file"]).read_bytes()
        assert shard["bytes"] == len(data)
        assert shard["sha256"] == hashlib.sha256(data).hexdigest()
    assert read_manifest(out).num_images == made.num_images
    pack_folder(images, tmp_path / "again", size=8, per_shard=2)
    assert files_of(tmp_path / "again") == files_of(out)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda m: m["shards"].clear(), "0 images in the shards, but 5 in total"),
        (lambda m: m["shards"][0].update(file="../x.tar"), "not a plain file name of a .tar"),
        (lambda m: m["shards"][0].update(images=-1), "counts are not positive integers"),
        (lambda m: m["shards"][0].update(sha256=None), "the checksum is not text"),
        (lambda m: m["shards"][0].update(more=1), "TypeError"),
        (lambda m: m.pop("classes"), "KeyError"),
        (lambda m: m.update(format="else"), "format 'else' instead of 'latentlab-shards-1'"),
        (lambda m: m.update(size="big"), "size 'big' is not an integer"),
        (lambda m: m.update(classes=[1]), "names are not text"),
    ],
)
def test_a_damaged_manifest_is_an_error(tmp_path, images, change, message) -> None:
    out = tmp_path / "shards"
    pack_folder(images, out)
    content = json.loads((out / "manifest.json").read_text())
    change(content)
    (out / "manifest.json").write_text(json.dumps(content))
    with pytest.raises(LatentlabError, match=rf"manifest.json is not a manifest .*{message}"):
        read_manifest(out)
    (out / "manifest.json").write_text(json.dumps(content)[:-9])
    with pytest.raises(LatentlabError, match=r"is not a manifest of shards"):
        read_manifest(out)
