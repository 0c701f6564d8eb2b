"""Classification with autoencoders: by codes, or by one autoencoder for each class.

1. The codes z = f(x) of a trained model are the input of a linear support vector machine
   (common/svm.py), or of a network with one hidden layer; of discrete codes, the vectors of their
   indices. Baselines: raw pixels and PCA codes.
2. One autoencoder is trained for each class k. The autoencoder with the smallest error decides:

    ŷ(x) = argmin_k Σ_pixels (x̂_k − x)²

   Baseline: one PCA for each class.

Hinton, Revow & Dayan 1995, "Recognizing handwritten digits using mixtures of linear models", for
the second method and its baseline.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from latentlab.contracts import Split, Task, to_float
from latentlab.evaluation.results import Figure, Result
from latentlab.inference.codes import code_vectors
from latentlab.metrics.fid.features import extract
from latentlab.metrics.pca import PCA
from latentlab.networks.mlp import mlp
from latentlab.tasks.common.autoencoder import SmallAutoencoder
from latentlab.tasks.common.class_models import fit_class_autoencoder, of_class, pca_sse
from latentlab.tasks.common.context import Context
from latentlab.tasks.common.fitting import fit, seeded
from latentlab.tasks.common.requirements import labels_of, require_classes, require_encoder
from latentlab.tasks.common.svm import fit_linear_svm, standardize
from latentlab.visualization.grids import save_rows

NUM_SHOWN = 12  # misclassified images in the figure


@dataclass(frozen=True)
class Classification(Task):
    """Method 1 uses the codes of the trained model. Method 2 trains its own autoencoders.

    Method 1: `svm_c` is C · N of the SVM, for standardized inputs and N training images. The
    network has one hidden layer of `mlp_hidden` units and trains for `mlp_steps` batches of 128.
    Method 2: each autoencoder is P-`hidden`-D-`hidden`-P for P pixels, D = `latent_dim` (None: 16,
    or P / 8 if P / 8 is smaller). It trains for `steps` batches of 128 by Adam; the learning rate
    falls from `lr` to 0. Each PCA has `pca_components` components, or P / 4 if P / 4 is smaller.
    """

    needs_labels = True
    needs_encoder = True

    svm_c: float = 100.0
    mlp_hidden: int = 256
    mlp_steps: int = 2000
    hidden: int = 256
    latent_dim: int | None = None
    steps: int = 800
    lr: float = 2e-3
    pca_components: int = 35

    def run(self, context: Context) -> Result:
        require_classes(context)
        require_encoder(context)
        test, num_classes = context.evaluator.test, context.dataset.num_classes
        predicted = self.predict_from_codes(context)
        parts = [of_class(context.evaluator.train, label) for label in range(num_classes)]
        nets = [self.fit_autoencoder(part, context.seed) for part in parts]
        predicted |= self.predict_from_errors(parts, nets, to_float(test.images).flatten(1))
        labels = labels_of(test)
        accuracy = {m: float((y == labels).double().mean()) for m, y in predicted.items()}
        return Result(
            title="Classification",
            summary=f"Accuracy on {len(test):,} test images of {num_classes} classes. The codes are"
            f" those of {context.trained.name}; PCA codes have the same size. The last two rows use"
            " no classifier: the predicted class is the class whose model has the smallest"
            " reconstruction error.",
            metrics={f"{_key(method)}_accuracy": a for method, a in accuracy.items()},
            table={method: {"accuracy": a} for method, a in accuracy.items()},
            figures=misclassified(predicted["autoencoder per class"], test, nets),
        )

    def predict_from_codes(self, context: Context) -> dict[str, Tensor]:
        """Method 1: predicted classes (N,) of the test images, for each input and classifier."""
        train, test = context.evaluator.train, context.evaluator.test
        trained, num_classes = context.trained, context.dataset.num_classes
        labels = labels_of(train)
        pca = PCA.fit(train, max_components=trained.module.latent_dim)
        inputs: dict[str, Callable[[Tensor], Tensor]] = {
            "pixels": partial(torch.flatten, start_dim=1),
            "PCA": pca.encode,
            "codes": partial(code_vectors, trained),
        }
        predicted = {}
        for name, function in inputs.items():
            z, z_test = standardize(extract(function, train), extract(function, test))
            svm = fit_linear_svm(z, labels, num_classes, c=self.svm_c / len(z))
            predicted[f"{name}, linear SVM"] = svm(z_test).argmax(1)
            network = self.fit_network(z, labels, num_classes, context.seed)
            predicted[f"{name}, MLP"] = network(z_test).argmax(1)
        return predicted

    def fit_network(self, z: Tensor, labels: Tensor, num_classes: int, seed: int) -> nn.Module:
        with seeded(seed):
            net = mlp([z.shape[1], self.mlp_hidden, num_classes])
            loss = lambda z, y: F.cross_entropy(net(z), y)  # noqa: E731
            fit(net, loss, (z, labels), steps=self.mlp_steps, seed=seed)
        return net.requires_grad_(False)

    def predict_from_errors(
        self, parts: Sequence[Split], nets: Sequence[SmallAutoencoder], x: Tensor
    ) -> dict[str, Tensor]:
        """Method 2: predicted classes (N,) of flat images x (N, P). `parts`: images by class."""
        num_components = min(self.pca_components, x.shape[1] // 4)
        errors = {  # (N, K) each
            "PCA per class": torch.stack([pca_sse(p, num_components, x) for p in parts], 1),
            "autoencoder per class": torch.stack([net.reconstruction_sse(x) for net in nets], 1),
        }
        return {method: e.argmin(1) for method, e in errors.items()}

    def fit_autoencoder(self, train: Split, seed: int) -> SmallAutoencoder:
        return fit_class_autoencoder(
            train,
            hidden=self.hidden,
            latent_dim=self.latent_dim,
            steps=self.steps,
            lr=self.lr,
            seed=seed,
        )


def _key(method: str) -> str:
    return method.replace(",", "").replace(" ", "_").lower()


@torch.inference_mode()
def misclassified(predicted: Tensor, test: Split, nets: Sequence[SmallAutoencoder]) -> list[Figure]:
    """Misclassified images, with x̂ of their own class and of the predicted class; [] if none."""
    labels = labels_of(test)
    wrong = (predicted != labels).nonzero().flatten()[:NUM_SHOWN].tolist()
    if not wrong:
        return []
    x = to_float(test.images[wrong])  # (W, C, H, W)
    flat = x.flatten(1).split(1)
    by_true = [nets[int(labels[n])](row) for n, row in zip(wrong, flat, strict=True)]
    by_predicted = [nets[int(predicted[n])](row) for n, row in zip(wrong, flat, strict=True)]
    rows = torch.stack([x, torch.cat(by_true).view_as(x), torch.cat(by_predicted).view_as(x)])
    caption = (
        "Misclassified test images, and below their reconstructions by the autoencoder of the true"
        " class and of the predicted class"
    )
    return [Figure("misclassified", caption, partial(save_rows, rows))]
