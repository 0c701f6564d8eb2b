"""Names in a compressed file are not trusted."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from latentlab.inference.compression import container
from latentlab.inference.compression.container import CodeDimension, Container
from latentlab.inference.compression.files import file_name, model_name, save_images
from latentlab.utils.errors import LatentlabError


def test_names_in_a_file_never_leave_the_folder(tmp_path):
    names = ["../../etc/passwd", "/a", "a/b", "..", ".hidden", "", "a\0b", "x" * 300, "Cat", "cat"]
    images = ((name, torch.zeros(1, 2, 2)) for name in names)
    folder = tmp_path / "out"
    folder.mkdir()
    assert save_images(images, folder) == len(names)
    written = {path.name for path in tmp_path.rglob("*.png")}
    assert len(written) == len(names)
    assert {path.parent for path in tmp_path.rglob("*.png")} == {folder}
    assert "Cat.png" in written
    assert file_name("image-000000", 7, set()) == "image-000000"


def test_a_path_as_model_name_is_an_error():
    dimension = CodeDimension(0.0, 1.0, 0, np.array([8192, 8192]))
    file = Container(bytes(32), "vae", ("a",), (dimension,), bytes(100))
    assert model_name(container.write(file)) == "vae"
    for name in ("../vae", "/tmp/x", "", "a b"):
        with pytest.raises(LatentlabError, match=r"has the model name .* Allowed are letters"):
            model_name(container.write(replace(file, model=name)))
