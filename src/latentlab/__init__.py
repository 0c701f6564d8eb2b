"""latentlab: train, compare and understand autoencoders, VAEs and GANs under one yardstick.

The map, from the ground up:

contracts   what a model, a sampler and a data split promise; the image convention; the error
nets losses priors corruption cures games optimizers   plain torch: networks, objectives, latent
            samplers, x → x̃, what helps a sick game, how its players take turns, step rules
models      one LightningModule a file, read top to bottom like a paper's method section
data        fetch, verify, split, write and load images
metrics     the yardsticks: function(model or features, data) → numbers
plots       tensors → sheets of images          charts   lines, bars and maps
tracking    the MLflow run and its loadable model
config      two YAML files → one typed, seeded experiment, and what it may name
training    fit one experiment; callbacks, checkpoints, devices: the loop's company
startup launcher memory   how a process of ours begins
trained     what `load` returns: encode, decode, sample, reconstruct, features
evaluation  what every model is asked        studies   what one model is about
tasks       what models are for              findings  what studies and tasks found
compression   codes → a file of few bytes, and back      outliers   which images are strange
stages      prepare → judge → reference, train → evaluate, tasks → report: dvc.yaml
cli         `latentlab`: use what was trained
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from latentlab.trained import Trained

__all__ = ["load"]
__version__ = "0.1.0"


def load(name: str | Path, *, project: str | Path | None = None, device: str = "cpu") -> Trained:
    """Load what `dvc repro` trained: a model's name, or the path of a run folder.

    `project` is the folder that holds params.yaml (default: the nearest one above the working
    directory). Raises LatentlabError, listing what exists, if the name is unknown or untrained.
    """
    from latentlab.trained import load_trained

    return load_trained(name, project=project, device=device)
