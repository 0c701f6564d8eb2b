"""Files of arrays in results/."""

import numpy as np
import pytest

from latentlab.report.arrays import read_arrays, stage_of_folder
from latentlab.utils.errors import LatentlabError


def test_a_file_is_read_and_a_missing_one_is_empty(tmp_path):
    np.savez(tmp_path / "per_image.npz", ssim=np.arange(3.0))
    assert read_arrays(tmp_path, "per_image.npz")["ssim"].tolist() == [0, 1, 2]
    assert read_arrays(tmp_path) == {}


def test_a_damaged_file_is_named_with_the_stage_that_writes_it(tmp_path):
    folder = tmp_path / "results" / "vae@1"
    folder.mkdir(parents=True)
    (folder / "per_image.npz").write_bytes(b"PK damaged")
    with pytest.raises(LatentlabError, match=r"vae@1/per_image\.npz .*evaluate_seed@vae-1"):
        read_arrays(folder, "per_image.npz")
    assert stage_of_folder(tmp_path / "reference") == "reference"
