"""Values that are not allowed are an error that says what is."""

import pytest

from latentlab.data.pixels.settings import PixelSettings
from latentlab.data.settings import DataSettings
from latentlab.utils.errors import LatentlabError


@pytest.mark.parametrize(
    ("given", "message"),
    [
        *[
            ({"white": white}, "data.white is .* must be null, a number above 0 such as 4095")
            for white in (0, -1, float("nan"), float("inf"), True, "bright", "0%", "101%", "%", "0")
        ],
        *[
            ({"background": colour}, "data.background is .* white, black, a grey level in 0…255")
            for colour in ("red", "#fff", "#12345g", -1, 256, True)
        ],
        ({"fit": "stretch"}, r"data.fit is 'stretch'\. Choose one of: crop, pad"),
        ({"frames": "last"}, r"data.frames is 'last'\. Choose one of: first, all"),
        *[({"max_pixels": count}, "data.max_pixels is .*must be 1 or") for count in (0, -5, True)],
    ],
)
def test_values_that_are_not_allowed(given, message) -> None:
    for settings in (PixelSettings, DataSettings):
        with pytest.raises(LatentlabError, match=message):
            settings(**given)


def test_backgrounds_and_percentiles() -> None:
    colours = {"white": (255,) * 3, "black": (0,) * 3, 7: (7,) * 3, "#ff8000": (255, 128, 0)}
    for given, colour in colours.items():
        assert PixelSettings(background=given).background_colour == colour
    assert PixelSettings(white="99.9%").percentile == 99.9
    assert PixelSettings(white=4095).percentile is None
    assert PixelSettings(white="4095") == PixelSettings(white=4095)  # a number in quotes
