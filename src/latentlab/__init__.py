"""latentlab: train, evaluate and compare autoencoders, VAEs, GANs and diffusion models.

A map. Each folder uses those above it.

utils          files, errors, processes, memory: no deep learning
contracts      the interface of models and samplers; the image convention
losses         objectives as pure functions           transforms  corruption and augmentation
samplers       latent codes: priors, fitted densities networks    layers and networks
optim          optimizers, and the steps of GANs
models         one LightningModule a file
data           download, split, store, load           metrics     the metrics of every model
visualization  image grids and charts as PNG
config         YAML or a run folder → an experiment   tracking    the MLflow run
training       fit one experiment                     inference   use a trained model
evaluation     measure a trained model
diagnostics    measurements of some models only       tasks       uses of trained models
report         the comparison page                    export      weights and programs for others
planning       what `latentlab init` chooses, from measured costs
stages         the stages of dvc.yaml                 pipeline    run the stages side by side
cli            the `latentlab` command
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from latentlab.utils.errors import LatentlabError

if TYPE_CHECKING:
    from latentlab.inference.catalogue import ModelList
    from latentlab.inference.trained import TrainedModel

__all__ = ["LatentlabError", "load", "models"]
__version__ = "0.1.0"


def load(
    name: str | Path,
    *,
    seed: int | None = None,
    project: str | Path | None = None,
    device: str = "cpu",
) -> TrainedModel:
    """Load a model that `dvc repro` trained.

    `name`: name of a config, or path of a run folder. `seed`: one of `more_seeds`; None for the
    first training. load("vae", seed=1) is load("vae@1"). `project`: folder with params.yaml;
    default: the nearest one at or above the working directory. Raise LatentlabError for a name that
    is unknown or not trained yet; the message lists the trained models.
    """
    from latentlab.inference.trained import load_trained

    return load_trained(name, seed=seed, project=project, device=device)


if TYPE_CHECKING:

    def models(project: str | Path | None = None) -> ModelList:
        """List the models of a project: every config, with its family, title, and if it is trained.

        The list prints as a table. `project`: as in `load`. Raise LatentlabError outside of a
        project. (`latentlab.models` is also the package of the model classes.)
        """
        ...

else:
    from latentlab import models
