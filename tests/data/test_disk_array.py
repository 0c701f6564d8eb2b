"""An array of images in a file, compared with an array in memory."""

import numpy as np
import pytest

from latentlab.data.disk_array import DiskArray


def test_indexing_gives_the_images_of_an_array(tmp_path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (9, 3, 4, 5), dtype=np.uint8)
    (tmp_path / "x").write_bytes(b"head" + pixels.tobytes())
    with (tmp_path / "x").open("rb") as file:
        array = DiskArray(file.fileno(), pixels.shape, 4)
    assert len(array) == 9
    for index in (3, slice(2, 7), slice(None), np.array([5, 0, 5, 8]), np.array([], int)):
        np.testing.assert_array_equal(array[index], pixels[index])
    np.testing.assert_array_equal(array.first(2)[:], pixels[:2])
    for outside in (9, -1):
        with pytest.raises(IndexError, match=rf"row {outside} of 9"):
            array[np.array([0, outside])]
    (tmp_path / "x").write_bytes(b"short")
    with pytest.raises(OSError, match="the file ends before image 1"):
        array[1]
