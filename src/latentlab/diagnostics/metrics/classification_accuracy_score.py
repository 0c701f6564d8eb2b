"""Classification accuracy score: how well a classifier learns from a set of labelled images.

Ravuri & Vinyals 2019, "Classification accuracy score for conditional generative models". The
classifier is trained on samples of a model and tested on real images. It is fully connected with
one hidden layer, the same for every model.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from latentlab.contracts import Split
from latentlab.metrics.fid.features import extract
from latentlab.utils.errors import LatentlabError


def classification_accuracy_score(
    x: Tensor,
    y: Tensor,
    test: Split,
    *,
    seed: int = 0,
    hidden: int = 256,
    steps: int = 1000,
    max_epochs: int = 13,
    batch_size: int = 128,
) -> float:
    """Accuracy on `test`, in [0, 1], of a classifier trained on x (N, C, H, W) with labels y (N,).

    x is in [0, 1]. The classifier takes `steps` steps of Adam on random batches, or `max_epochs`
    times N / `batch_size` steps if this is less. The learning rate falls linearly from 1e-3 to 0.
    Raises LatentlabError unless every image has a label.
    """
    if test.labels is None or y.shape != (len(x),):
        raise LatentlabError(
            f"{len(x)} images with labels {tuple(y.shape)}, and a test split"
            f" {'without' if test.labels is None else 'with'} labels: pass one label per image"
        )
    steps = min(steps, max_epochs * -(-len(x) // batch_size))
    with torch.random.fork_rng(devices=[]), torch.inference_mode(False):
        torch.manual_seed(seed)
        classes = int(max(y.max(), test.labels.max())) + 1
        classifier = nn.Sequential(
            nn.Flatten(), nn.Linear(x[0].numel(), hidden), nn.ReLU(), nn.Linear(hidden, classes)
        )
        _train(classifier, x, y, steps=steps, batch_size=batch_size)
    logits = extract(classifier, test)
    return float((logits.argmax(1) == test.labels).double().mean())


def _train(classifier: nn.Module, x: Tensor, y: Tensor, *, steps: int, batch_size: int) -> None:
    optimizer = torch.optim.Adam(classifier.parameters(), lr=1e-3)
    for step in range(steps):
        optimizer.param_groups[0]["lr"] = 1e-3 * (1 - step / steps)
        rows = torch.randint(len(x), (batch_size,))
        optimizer.zero_grad()
        F.cross_entropy(classifier(x[rows]), y[rows]).backward()
        optimizer.step()
