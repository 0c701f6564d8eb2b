"""Classification by autoencoders, in two ways.

Method I gives the codes z = f(x) to a classifier: a linear support vector machine,

    min ½ Σ_k ‖w_k‖² + C Σ_n Σ_k max(0, 1 − t_nk w_kᵀ z_n)²      t_nk = 1 if y_n = k, else −1

(Fan et al. 2008, "LIBLINEAR: a library for large linear classification"), or a small network.
Method II needs no classifier: one autoencoder per class, and the smallest error decides,

    ŷ(x) = argmin_k Σ_pixels (x̂_k − x)²

Hinton, Revow & Dayan 1995, "Recognizing handwritten digits using mixtures of linear models"; such
linear models, a PCA per class, are the baseline.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from latentlab.contracts import LatentlabError, Split, Task, to_float
from latentlab.findings import Finding, Picture
from latentlab.metrics.features import extract
from latentlab.metrics.pca import PCA
from latentlab.nets.mlp import mlp
from latentlab.plots import save_rows
from latentlab.tasks import Context
from latentlab.tasks.fitting import (
    Bottleneck,
    fit,
    fit_bottleneck,
    linear_svm,
    of_class,
    pca_errors,
    standardised,
)

SHOWN = 12  # misread images that are drawn


@dataclass(frozen=True)
class Classification(Task):
    """Method I reads the codes of the trained model; method II trains its own autoencoders.

    `svm_c` is C · N of the SVM, on standardised inputs; the small network has one layer of
    `network` units and trains `network_steps` batches of 128. Method II's autoencoder of a class is
    P-`hidden`-`code`-`hidden`-P for P pixels (code None: 16, or P / 8 if that is less) and trains
    `steps` batches at Adam's rate `lr`, falling to 0; a class' PCA has `components`, or P / 4 if
    that is less.
    """

    svm_c: float = 100.0
    network: int = 256
    network_steps: int = 2000
    hidden: int = 256
    code: int | None = None
    steps: int = 800
    lr: float = 2e-3
    components: int = 35

    def run(self, context: Context) -> Finding:
        train, test = self.labelled(context)
        assert test.labels is not None
        by_code = self.from_codes(context, train, test)
        kinds = range(context.meta.num_classes)
        parts = [of_class(train, kind) for kind in kinds]
        x = to_float(test.images).flatten(1)
        components = min(self.components, x.shape[1] // 4)
        nets = [self.autoencoder(part, context.seed) for part in parts]
        residuals = {  # (N, K) each
            "PCA per class": torch.stack([pca_errors(p, components, x) for p in parts], 1),
            "autoencoder per class": torch.stack([net.errors(x) for net in nets], 1),
        }
        guesses = by_code | {method: e.argmin(1) for method, e in residuals.items()}
        accuracy = {m: float((g == test.labels).double().mean()) for m, g in guesses.items()}
        return Finding(
            title="Classification",
            text=f"Share of {len(test):,} test images put into the right one of {len(kinds)} "
            f"classes. Codes are those of {context.trained.name}; PCA has as many numbers. The last"
            " two rows know no classifier: the class whose model redraws the image best is named.",
            numbers={f"{underscored(method)}_accuracy": a for method, a in accuracy.items()},
            table={method: {"accuracy": a} for method, a in accuracy.items()},
            pictures=misread(guesses["autoencoder per class"], test, nets),
        )

    def labelled(self, context: Context) -> tuple[Split, Split]:
        """The training and the test split. Raises LatentlabError without classes or an encoder."""
        if context.meta.num_classes < 2:
            raise LatentlabError(
                "the data have no classes, so nothing can be classified: leave this task out of"
                " params.yaml"
            )
        if not context.trained.has_encoder:
            raise LatentlabError(
                f"{context.trained.name} has no encoder, so no codes to classify by: give this"
                " task an autoencoder as `model` in params.yaml"
            )
        return context.yard.train, context.yard.test

    def from_codes(self, context: Context, train: Split, test: Split) -> dict[str, Tensor]:
        """Method I: classes (N,) of the test images, from pixels, from PCA and from codes."""
        assert train.labels is not None
        trained, classes = context.trained, context.meta.num_classes
        pca = PCA.fit(train, max_components=trained.module.latent_dim)
        inputs: dict[str, Callable[[Tensor], Tensor]] = {
            "pixels": partial(torch.flatten, start_dim=1),
            "PCA": pca.encode,
            "codes": trained.encode,
        }
        guesses = {}
        for name, function in inputs.items():
            z, z_test = standardised(extract(function, train), extract(function, test))
            machine = linear_svm(z, train.labels, classes, c=self.svm_c / len(z))
            guesses[f"{name}, linear SVM"] = machine(z_test).argmax(1)
            network = self.classifier(z, train.labels, classes, context.seed)
            guesses[f"{name}, network"] = network(z_test).argmax(1)
        return guesses

    def classifier(self, z: Tensor, labels: Tensor, classes: int, seed: int) -> nn.Module:
        """A network of one hidden layer, fitted by cross-entropy."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            net = mlp([z.shape[1], self.network, classes])
            loss = lambda z, y: F.cross_entropy(net(z), y)  # noqa: E731
            fit(net, loss, (z, labels), steps=self.network_steps, seed=seed)
        return net.requires_grad_(False)

    def autoencoder(self, train: Split, seed: int) -> Bottleneck:
        """Method II's model of one class."""
        x = to_float(train.images).flatten(1)
        widths = [self.hidden, self.code or min(16, x.shape[1] // 8)]
        return fit_bottleneck(x, widths, steps=self.steps, lr=self.lr, seed=seed)


def underscored(method: str) -> str:
    return method.replace(",", "").replace(" ", "_")


@torch.inference_mode()
def misread(guess: Tensor, test: Split, nets: Sequence[Bottleneck]) -> list[Picture]:
    """Misread images, redrawn by the model of their class and by the one that won; if any."""
    assert test.labels is not None
    wrong = (guess != test.labels).nonzero().flatten()[:SHOWN].tolist()
    if not wrong:
        return []
    x = to_float(test.images[wrong])  # (W, C, H, W)
    flat = x.flatten(1).split(1)
    own = torch.cat([nets[int(test.labels[n])](row) for n, row in zip(wrong, flat, strict=True)])
    won = torch.cat([nets[int(guess[n])](row) for n, row in zip(wrong, flat, strict=True)])
    rows = torch.stack([x, own.view_as(x), won.view_as(x)])
    caption = "Misread: the image, redrawn by its class' autoencoder, and by the one that won"
    return [Picture("misread", caption, partial(save_rows, rows))]
