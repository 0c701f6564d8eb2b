"""The settings of the way from a file to 8-bit pixels. A part of `DataSettings`."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

from latentlab.utils.errors import LatentlabError

MAX_PIXELS = 89_478_485  # Pillow's limit: 256 MiB of RGB
COLOURS = {"white": (255, 255, 255), "black": (0, 0, 0)}
FITS = ("crop", "pad")
FRAMES = ("first", "all")


@dataclass(frozen=True)
class PixelSettings:
    """How image files become 8-bit pixels, in training and for a trained model.

    Attributes:
        white: the value that becomes 255. None: what the file states, which is 2^bits − 1 for
            integers, 1 for floats and the largest value of a PGM or PPM file. A number: this value,
            in files whose type can hold it. A text such as "99.9%": this percentile of the values
            of each image, so all images become equally bright.
        background: what shows through transparent pixels, and the border of "pad": white, black, a
            grey level in 0…255, or a colour "#rrggbb".
        fit: "crop" keeps the centre square, "pad" the whole image, on the background.
        frames: "first" reads the first frame or page of a file, "all" makes an image of each.
        max_pixels: larger images are refused before they are decoded.
        known_whites: white levels of integers deeper than 8 bits whose range the training images
            use. A dark file with one of them is dark, and no error.

    Raises:
        LatentlabError: a value that is not allowed here.
    """

    white: float | str | None = None
    background: int | str = "white"
    fit: str = "crop"
    frames: str = "first"
    max_pixels: int = MAX_PIXELS
    known_whites: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        if isinstance(self.white, str) and re.fullmatch(r"\d{1,18}(\.\d{1,9})?", self.white):
            object.__setattr__(self, "white", float(self.white))  # a number in quotes
        self.percentile  # noqa: B018  checks `white`
        self.background_colour  # noqa: B018
        for key, allowed in (("fit", FITS), ("frames", FRAMES)):
            if getattr(self, key) not in allowed:
                raise LatentlabError(
                    f"data.{key} is {getattr(self, key)!r}. Choose one of: {', '.join(allowed)}."
                )
        if isinstance(self.max_pixels, bool) or not 1 <= self.max_pixels < 2**40:
            raise LatentlabError(
                f"data.max_pixels is {self.max_pixels}. It must be 1 or more: width times height of"
                f" the largest image. The default is {MAX_PIXELS}."
            )

    @property
    def percentile(self) -> float | None:
        """The percentile in (0, 100] that `white` names; None for a number or None."""
        if self.white is None:
            return None
        if isinstance(self.white, str):
            match = re.fullmatch(r"(\d{1,3}(\.\d{1,9})?) ?%", self.white)
            if match and 0 < float(match[1]) <= 100:
                return float(match[1])
        elif not isinstance(self.white, bool) and 0 < self.white < math.inf:
            return None
        raise LatentlabError(
            f"data.white is {self.white!r}. It must be null, a number above 0 such as 4095, or a"
            ' percentile above 0 % such as "99.9%". Set it to the value of white in the files.'
        )

    @property
    def background_colour(self) -> tuple[int, int, int]:
        """The background as red, green, blue in 0…255."""
        given = self.background
        if isinstance(given, str) and given in COLOURS:
            return COLOURS[given]
        if isinstance(given, str) and re.fullmatch("#[0-9a-fA-F]{6}", given):
            red, green, blue = bytes.fromhex(given[1:])
            return red, green, blue
        if isinstance(given, int) and not isinstance(given, bool) and 0 <= given <= 255:
            return given, given, given
        raise LatentlabError(
            f"data.background is {given!r}. It must be white, black, a grey level in 0…255, or a"
            ' colour such as "#ff8000", in quotes because # starts a comment.'
        )
