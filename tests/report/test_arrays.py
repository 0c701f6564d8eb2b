"""Files of arrays in results/."""

import numpy as np
import pytest

from latentlab.report.arrays import StoredArrays, read_arrays, stage_of_folder
from latentlab.utils.errors import LatentlabError


def test_a_file_is_read_and_a_missing_one_is_empty(tmp_path):
    np.savez(tmp_path / "per_image.npz", ssim=np.arange(3.0))
    assert read_arrays(tmp_path, "per_image.npz")["ssim"].tolist() == [0, 1, 2]
    assert read_arrays(tmp_path) == {}


def test_stored_arrays_are_read_when_they_are_used(tmp_path):
    np.savez(tmp_path / "per_image.npz", ssim=np.arange(3.0), mse=np.zeros(2))
    arrays = StoredArrays(tmp_path, "per_image.npz")
    assert (sorted(arrays), len(arrays), "ssim" in arrays, arrays.loaded) == (
        ["mse", "ssim"], 2, True, {}
    )  # fmt: skip
    assert arrays["ssim"].tolist() == [0, 1, 2]
    assert list(arrays.loaded) == ["ssim"]
    assert arrays.get("psnr_db") is None
    assert not StoredArrays(tmp_path, "absent.npz")


def test_a_damaged_array_is_named_with_the_stage_that_writes_it(tmp_path):
    folder = tmp_path / "results" / "vae"
    folder.mkdir(parents=True)
    np.savez(folder / "per_image.npz", ssim=np.arange(300.0))
    content = bytearray((folder / "per_image.npz").read_bytes())
    content[1000] ^= 255
    (folder / "per_image.npz").write_bytes(content)
    with pytest.raises(LatentlabError, match=r"vae/per_image\.npz .*CRC.*`dvc repro evaluate@vae"):
        StoredArrays(folder, "per_image.npz")["ssim"]


def test_a_damaged_file_is_named_with_the_stage_that_writes_it(tmp_path):
    folder = tmp_path / "results" / "vae@1"
    folder.mkdir(parents=True)
    (folder / "per_image.npz").write_bytes(b"PK damaged")
    with pytest.raises(LatentlabError, match=r"vae@1/per_image\.npz .*evaluate_seed@vae-1"):
        StoredArrays(folder, "per_image.npz")
    assert stage_of_folder(tmp_path / "reference") == "reference"
