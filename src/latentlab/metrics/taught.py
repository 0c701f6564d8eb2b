"""How much a set of labelled images teaches: test accuracy of a classifier that saw nothing else.

Trained on a model's samples and tested on real images it is the classification accuracy score
(Ravuri & Vinyals 2019). The classifier is fully connected with one hidden layer, the same for all.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from latentlab.contracts import LatentlabError, Split
from latentlab.metrics.features import extract


def taught_accuracy(
    x: Tensor,
    y: Tensor,
    test: Split,
    *,
    seed: int = 0,
    hidden: int = 256,
    steps: int = 1000,
    batch_size: int = 128,
) -> float:
    """Learn from images x (N, C, H, W) in [0, 1] and labels y (N,); share of `test` that is right.

    `steps` steps of Adam, the rate falling linearly from 1e-3 to 0, on batches drawn by `seed`.
    Raises LatentlabError without a label for each image.
    """
    if test.labels is None or y.shape != (len(x),):
        raise LatentlabError(
            f"{len(x)} images with labels {tuple(y.shape)}, and a test split"
            f" {'without' if test.labels is None else 'with'} labels: each image needs one"
        )
    with torch.random.fork_rng(devices=[]), torch.inference_mode(False):
        torch.manual_seed(seed)
        classes = int(max(y.max(), test.labels.max())) + 1
        classifier = nn.Sequential(
            nn.Flatten(), nn.Linear(x[0].numel(), hidden), nn.ReLU(), nn.Linear(hidden, classes)
        )
        optimizer = torch.optim.Adam(classifier.parameters(), lr=1e-3)
        for step in range(steps):
            optimizer.param_groups[0]["lr"] = 1e-3 * (1 - step / steps)
            rows = torch.randint(len(x), (batch_size,))
            optimizer.zero_grad()
            F.cross_entropy(classifier(x[rows]), y[rows]).backward()
            optimizer.step()
    logits = extract(classifier, test)
    return float((logits.argmax(1) == test.labels).double().mean())
