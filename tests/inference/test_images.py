"""Images of any kind, as the tensor that a model takes."""

import json
import shutil

import numpy as np
import pytest
import torch
from PIL import Image

import latentlab
from latentlab.data.preprocessing import preprocess_image
from latentlab.inference.images import as_images
from latentlab.utils.errors import LatentlabError

GREY, COLOUR = (1, 8, 8), (3, 6, 6)


@pytest.fixture
def pixels():
    return np.random.default_rng(0).integers(256, size=(5, 8, 8), dtype=np.uint8)


@pytest.fixture
def colours():
    return np.random.default_rng(0).integers(256, size=(4, 6, 6, 3), dtype=np.uint8)


def test_a_tensor_stays_as_it_is():
    x = torch.rand(2, *GREY)
    assert as_images(x, GREY) is x


@pytest.mark.parametrize("shape", [(5, 8, 8), (5, 1, 8, 8), (5, 8, 8, 1)])
@pytest.mark.parametrize("scale", ["uint8", "float64", "float32"])
def test_grey_arrays(pixels, shape, scale):
    x = pixels.reshape(shape)
    given = x if scale == "uint8" else (x / 255).astype(scale)
    images = as_images(given, GREY)
    assert images.dtype == torch.float32
    torch.testing.assert_close(images[:, 0], torch.from_numpy(pixels / 255).float())


def test_colour_arrays_in_both_orders(colours):
    last = as_images(colours, COLOUR)
    first = as_images(np.ascontiguousarray(colours.transpose(0, 3, 1, 2)), COLOUR)
    assert torch.equal(last, first)
    assert torch.equal(last[1, 2], torch.from_numpy(colours[1, :, :, 2]) / 255)


def test_if_both_orders_fit_channels_come_first():
    x = np.arange(27, dtype=np.float32).reshape(1, 3, 3, 3) / 27
    assert torch.equal(as_images(x, (3, 3, 3)), torch.from_numpy(x))


def test_a_list_of_arrays_is_one_batch(pixels, colours):
    assert torch.equal(as_images(list(pixels), GREY), as_images(pixels, GREY))
    assert torch.equal(as_images(list(colours), COLOUR), as_images(colours, COLOUR))
    x = torch.rand(2, *GREY)
    assert torch.equal(as_images(list(x), GREY), x)


def test_files_and_pillow_images_are_prepared_as_the_training_images(tmp_path):
    rng = np.random.default_rng(0)
    image = Image.fromarray(rng.integers(256, size=(20, 31, 3), dtype=np.uint8))
    path = tmp_path / "image.png"
    image.save(path)
    for shape in (GREY, COLOUR):
        expected = torch.tensor(preprocess_image(image, shape[1], shape[0])) / 255
        for given in (image, path, str(path), [image], [path], tmp_path):
            assert torch.equal(as_images(given, shape), expected[None]), given
        assert as_images([image, path, str(path)], shape).shape == (3, *shape)


@pytest.mark.parametrize(
    ("x", "message"),
    [
        (np.zeros((2, 9, 8)), r"shape \(2, 9, 8\). vae needs \(N, 1, 8, 8\), \(N, 8, 8, 1\) or"),
        (np.zeros((8, 8)), r"shape \(8, 8\).*one image as x\[None\]"),
        (np.zeros((2, 8, 8), np.int64), "is int64. It must be uint8 in 0…255, or float"),
        (np.full((2, 8, 8), 255.0), r"values from 255 to 255. They must be in \[0, 1\]"),
        (np.full((2, 8, 8), np.nan), "values from nan"),
        ([np.zeros((8, 8)), np.zeros((9, 9))], r"shapes \(8, 8\) and \(9, 9\)"),
        ([], "Images are an empty list"),
        (7, "Images are <class 'int'>. They must be a tensor, a NumPy array, a Pillow image"),
        ([7], "Images are a list of int"),
        ("absent.png", "absent.png"),
    ],
)
def test_what_cannot_be_used_says_what_can(x, message):
    with pytest.raises(LatentlabError, match=message):
        as_images(x, GREY, name="vae")


def test_three_grey_images_are_no_colour_image():
    with pytest.raises(LatentlabError, match=r"needs \(N, 3, 6, 6\) or \(N, 6, 6, 3\)"):
        as_images(np.zeros((3, 6, 6)), COLOUR)


def test_all_methods_take_all_kinds(tiny, pixels):
    vae = latentlab.load("vae", project=tiny.root)
    x = torch.from_numpy(pixels[:, None]) / 255
    for method in (vae.encode, vae.reconstruct, vae.features):
        assert torch.equal(method(pixels), method(x))
        assert torch.equal(method([Image.fromarray(p) for p in pixels]), method(x))


def test_a_trained_model_reads_files_by_the_settings_of_its_training(conditional, tmp_path):
    run = tmp_path / "run"
    shutil.copytree(conditional, run)
    path = tmp_path / "deep.png"
    Image.fromarray(np.full((8, 8), 4095, np.uint16)).save(path)
    with pytest.raises(LatentlabError, match=r"largest value is 4095: .*Set data.white"):
        latentlab.load(run).as_images(path)
    stored = json.loads((run / "experiment.json").read_text())
    stored["whites"] = [65535]  # the training images use the range of 16 bits
    (run / "experiment.json").write_text(json.dumps(stored))
    assert latentlab.load(run).as_images(path).unique().tolist() == [pytest.approx(16 / 255)]
    stored["resolved"]["data"]["white"] = 4095
    (run / "experiment.json").write_text(json.dumps(stored))
    assert latentlab.load(run).as_images(path).unique().tolist() == [1]
