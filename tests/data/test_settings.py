"""Settings refuse what cannot work, and importing them stays light."""

import subprocess
import sys

import pytest

from latentlab.contracts import LatentlabError
from latentlab.data.settings import DataSettings


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"name": "minst"}, "'minst'; choose one of: digits, mnist, fashion_mnist, cifar10, image"),
        ({"channels": 4}, "data.channels is 4; choose one of: null, 1, 3"),
        ({"on_unreadable": "ignore"}, "'ignore'; choose one of: stop, skip"),
        ({"val_fraction": 0.0}, "data.val_fraction is 0.0; it must lie between 0 and 1"),
        ({"test_fraction": 1.5}, "data.test_fraction is 1.5"),
        ({"test_fraction": float("nan")}, "data.test_fraction is nan"),
        ({"val_fraction": 0.5, "test_fraction": 0.5}, "leave nothing to train on"),
        ({"size": 0}, "data.size is 0; it must be 1 pixel or more"),
        ({"name": "image_folder"}, "set data.size to the height and width"),
    ],
)
def test_bad_settings_are_refused(given: dict, message: str) -> None:
    with pytest.raises(LatentlabError, match=message):
        DataSettings(**given)


def test_settings_import_neither_lightning_nor_the_other_heavy_ones() -> None:
    heavy = "{'lightning', 'sklearn', 'torchvision', 'PIL', 'mlflow'}"
    code = f"import sys, latentlab.data.settings; print({heavy} & set(sys.modules))"
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert told.stdout.strip() == "set()"
