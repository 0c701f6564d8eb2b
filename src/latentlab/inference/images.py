"""Images of any kind → the tensor that a model takes: arrays, Pillow images, files."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from latentlab.contracts import ImageShape, to_float
from latentlab.data.pixels.settings import PixelSettings
from latentlab.data.reading import read_images, read_pillow
from latentlab.utils.errors import LatentlabError

ImageInput = Any
"""A tensor, a NumPy array, a Pillow image, a path, or a list of the last three: see `as_images`."""


def as_images(
    x: ImageInput,
    image_shape: ImageShape,
    *,
    name: str = "The model",
    settings: PixelSettings | None = None,
) -> Tensor:
    """Return float32 images (N, C, H, W) in [0, 1] of the model's `image_shape` (C, H, W).

    - A tensor: float (N, C, H, W) in [0, 1]. It is passed on as it is.
    - A NumPy array: uint8 in 0…255 or float in [0, 1], of shape (N, C, H, W), (N, H, W, C), or
      (N, H, W) for grey images. If both orders fit, channels come first.
    - A Pillow image, or the path of an image file or of a folder of them: converted to grey or RGB,
      resized and centre-cropped in the same way as the training images, by `settings`.
    - A list of single images: arrays of one shape, or Pillow images and paths.

    A tensor or an array is never resized. One image needs an axis for the batch: `x[None]`.

    Raises:
        LatentlabError: another type, shape or range, or a file that cannot be read. `name` is that
            of the model, for the message.
    """
    if isinstance(x, Tensor):
        return _in_range(_of_shape(x, image_shape, name))
    if isinstance(x, np.ndarray):
        return _in_range(_from_array(x, image_shape, name))
    items = list(x) if isinstance(x, list | tuple) else [x]
    if items and all(isinstance(item, np.ndarray | Tensor) for item in items):
        return as_images(_stacked(items, name), image_shape, name=name)
    settings = settings or PixelSettings()
    if items and all(isinstance(item, str | os.PathLike) for item in items):
        return read_images([Path(item) for item in items], image_shape, settings)[1]
    if items and all(_is_pillow(item) or isinstance(item, str | os.PathLike) for item in items):
        return torch.cat([_from_one(item, image_shape, settings) for item in items])
    found = f"a list of {type(items[0]).__name__}" if items and items[0] is not x else type(x)
    raise LatentlabError(
        f"Images are {found if items else 'an empty list'}. They must be a tensor, a NumPy array, a"
        " Pillow image, the path of a file or folder, or a list of images of one of these types."
    )


def allowed_shapes(image_shape: ImageShape) -> str:
    """The shapes of arrays of images, for a message."""
    channels, height, width = image_shape
    shapes = [f"(N, {channels}, {height}, {width})", f"(N, {height}, {width}, {channels})"]
    if channels == 1:
        shapes.append(f"(N, {height}, {width})")
    return ", ".join(shapes[:-1]) + f" or {shapes[-1]}"


def _of_shape(x: Tensor, image_shape: ImageShape, name: str) -> Tensor:
    if x.ndim != 4 or tuple(x.shape[1:]) != image_shape:
        raise LatentlabError(
            f"Images have shape {tuple(x.shape)}. {name} needs"
            f" (N, {', '.join(map(str, image_shape))}). Resize the images, or give one"
            " image as x[None]."
        )
    if not x.is_floating_point():
        raise LatentlabError(
            f"Images are {x.dtype}. They must be float in [0, 1]. Divide uint8 images by 255."
        )
    return x


def _in_range(x: Tensor) -> Tensor:
    # so written, NaN fails as well
    if x.numel() and not (x.min() >= 0 and x.max() <= 1):
        raise LatentlabError(
            f"Images have values from {x.min():g} to {x.max():g}. They must be in [0, 1]."
        )
    return x.to(torch.float32)


def _from_array(x: np.ndarray, image_shape: ImageShape, name: str) -> Tensor:
    """Images as a float tensor (N, C, H, W), not checked for their range."""
    channels, height, width = image_shape
    if x.shape[1:] == (height, width) and channels == 1:
        x = x[:, None]
    elif x.ndim == 4 and x.shape[1:] == (height, width, channels) != image_shape:
        x = x.transpose(0, 3, 1, 2)
    if x.ndim != 4 or x.shape[1:] != image_shape:
        raise LatentlabError(
            f"The array of images has shape {x.shape}. {name} needs {allowed_shapes(image_shape)}."
            " Resize the images, or give one image as x[None]. Pillow images and paths are resized."
        )
    if x.dtype != np.uint8 and not np.issubdtype(x.dtype, np.floating):
        raise LatentlabError(
            f"The array of images is {x.dtype}. It must be uint8 in 0…255, or float in [0, 1]."
        )
    tensor = torch.from_numpy(np.array(x, order="C"))  # a copy: torch needs a writable array
    return to_float(tensor) if x.dtype == np.uint8 else tensor


def _stacked(items: Sequence[Any], name: str) -> Any:
    shapes = {tuple(item.shape) for item in items}
    if len(shapes) > 1:
        listed = " and ".join(map(str, sorted(shapes)[:2]))
        raise LatentlabError(
            f"The images of the list have shapes {listed}. {name} needs images of one shape."
        )
    if all(isinstance(item, Tensor) for item in items):
        return torch.stack(list(items))
    return np.stack([np.asarray(item) for item in items])


def _is_pillow(item: object) -> bool:
    from PIL.Image import Image

    return isinstance(item, Image)


def _from_one(item: Any, image_shape: ImageShape, settings: PixelSettings) -> Tensor:
    """A Pillow image or a path → (N, C, H, W)."""
    if isinstance(item, str | os.PathLike):
        return read_images([Path(item)], image_shape, settings)[1]
    return read_pillow(item, image_shape, settings)
