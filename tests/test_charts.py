import io

import matplotlib as mpl
import numpy as np
import pytest
from PIL import Image

from latentlab.charts import Curve, save_curves


@pytest.mark.parametrize("logarithmic", ["", "x", "xy"])
def test_curves_are_drawn_on_a_clear_ground_and_the_same_each_time(tmp_path, logarithmic):
    curves = [Curve("a $5 one", [1, 10], [0.0, 1.0], [0.1, 0.1]), Curve("b" * 40, [2, 5], [1, 0])]
    paths = [tmp_path / "a.png", tmp_path / "b.png"]
    for path, width in zip(paths, (1, 9), strict=True):
        with mpl.rc_context({"lines.linewidth": width, "axes.facecolor": "red"}):
            save_curves(curves, path, x="x", y="y", logarithmic=logarithmic)
    assert paths[0].read_bytes() == paths[1].read_bytes(), "a user's settings change nothing"
    pixels = np.asarray(Image.open(io.BytesIO(paths[0].read_bytes())))
    assert pixels.shape[2] == 4
    assert (pixels[:5, :5, 3] == 0).all()
    blue, orange = (63, 144, 218), (255, 169, 14)
    for colour in (blue, orange):
        near = (np.abs(pixels[..., :3].astype(int) - colour).max(2) < 12) & (pixels[..., 3] > 200)
        assert near.sum() > 100
