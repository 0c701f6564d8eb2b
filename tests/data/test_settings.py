"""Settings that are not valid are an error, and their import is fast."""

import subprocess
import sys

import pytest

from latentlab.data.settings import DataSettings
from latentlab.utils.errors import LatentlabError


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (
            {"name": "minst"},
            r"'minst'\. Choose one of: mnist_5k, digits, mnist, fashion_mnist, c",
        ),
        ({"channels": 4}, r"data.channels is 4\. Choose one of: null, 1, 3"),
        ({"on_unreadable": "ignore"}, r"'ignore'\. Choose one of: error, skip"),
        ({"on_duplicates": "drop"}, r"'drop'\. Choose one of: keep_together, report, error"),
        ({"on_split_problem": "skip"}, r"'skip'\. Choose one of: report, error"),
        ({"folder": "~/faces"}, r"data.folder is '~/faces'\. DVC does not replace ~"),
        ({"split_file": "a.csv"}, r"data.name is 'mnist_5k'\. Only an image_folder can have"),
        ({"val_fraction": 0.0}, r"data.val_fraction is 0.0\. It must be between 0 and 1"),
        ({"test_fraction": 1.5}, "data.test_fraction is 1.5"),
        ({"test_fraction": float("nan")}, "data.test_fraction is nan"),
        ({"val_fraction": 0.5, "test_fraction": 0.5}, "leave no images for training"),
        ({"size": 0}, r"data.size is 0\. It must be 1 pixel or more"),
    ],
)
def test_settings_that_are_not_valid_are_an_error(given: dict, message: str) -> None:
    with pytest.raises(LatentlabError, match=message):
        DataSettings(**given)


def test_settings_import_no_heavy_package() -> None:
    heavy = "{'numpy', 'torch', 'lightning', 'sklearn', 'torchvision', 'PIL', 'mlflow'}"
    code = f"import sys, latentlab.data.settings; print({heavy} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
