"""Image files, tar files and folders for tests of the data."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path

import numpy as np
from PIL import Image


def png(value: int) -> bytes:
    """A PNG file of 8 × 8 pixels of one grey."""
    target = io.BytesIO()
    Image.new("RGB", (8, 8), (value, value, value)).save(target, "png")
    return target.getvalue()


def write_noise(path: Path, seed: int, size: tuple[int, int] = (9, 12)) -> None:
    """Write an image of random pixels; the extension selects the format."""
    path.parent.mkdir(parents=True, exist_ok=True)
    noise = np.random.default_rng(seed).integers(0, 256, (*size, 3), dtype=np.uint8)
    Image.fromarray(noise).save(path)


def write_grey(path: Path, value: int, size: tuple[int, int] = (12, 8)) -> None:
    """Write an image of one grey; the extension selects the format."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, (value, value, value)).save(path)


def write_tar(path: Path, members: dict[str, bytes]) -> None:
    """Write a tar as another tool writes it: with time and owner, without a manifest."""
    path.parent.mkdir(exist_ok=True)
    with tarfile.open(path, "w") as file:
        for name, data in members.items():
            member = tarfile.TarInfo(name)
            member.size, member.mtime, member.uname = len(data), 1e9, "somebody"
            file.addfile(member, io.BytesIO(data))


def files_of(folder: Path) -> dict[str, bytes]:
    """The content of all files of a folder."""
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}
