"""The metrics of other packages. bench/metrics_elsewhere.py calls it in an environment of its own.

Each case gives one metric of one package on the given inputs, and says what it computes. Prints
JSON rows: metric, package, value, definition.
"""

from __future__ import annotations

import contextlib
import json
import sys
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch

K = 5  # neighbours of precision, recall, density, coverage, as in latentlab

Rows = Iterator[tuple[str, str, float, str]]
CASES: list[Callable[[dict[str, Any]], Rows]] = []


def case(function: Callable[[dict[str, Any]], Rows]) -> Callable[[dict[str, Any]], Rows]:
    CASES.append(function)
    return function


class Identity(torch.nn.Module):
    """Features as they are, for packages that extract them themselves."""

    num_features = 64

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x


def moments(features: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    features = features.astype(np.float64)
    return features.mean(0), np.cov(features, rowvar=False)


# --- Fréchet distance and kernel distance ---


@case
def torchmetrics_samples(g: dict[str, Any]) -> Rows:
    from torchmetrics.image.fid import FrechetInceptionDistance
    from torchmetrics.image.kid import KernelInceptionDistance

    real, fake = torch.from_numpy(g["real"]), torch.from_numpy(g["fake"])
    for dtype in (torch.float32, torch.bfloat16):
        metric = FrechetInceptionDistance(feature=Identity(), normalize=True, input_img_size=(64,))
        metric.update(real.to(dtype), real=True)
        metric.update(fake.to(dtype), real=False)
        kind = str(dtype).removeprefix("torch.")
        yield (
            "fid",
            f"torchmetrics, {kind} features",
            metric.compute(),
            ("sums in float64; the result has the type of the features"),
        )
    for subsets, size in ((1, 1000), (100, 500)):
        torch.manual_seed(0)
        metric = KernelInceptionDistance(
            feature=Identity(), subsets=subsets, subset_size=size, normalize=True
        )
        metric.update(real, real=True)
        metric.update(fake, real=False)
        yield (
            "kid",
            f"torchmetrics, {subsets} subsets of {size}",
            metric.compute()[0],
            ("unbiased, mean over random subsets; the global seed decides which"),
        )


@case
def torch_fidelity_samples(g: dict[str, Any]) -> Rows:
    from torch_fidelity.metric_fid import fid_features_to_statistics, fid_statistics_to_metric
    from torch_fidelity.metric_kid import kid_features_to_metric
    from torch_fidelity.metric_prc import prc_features_to_metric

    real, fake = torch.from_numpy(g["real"]), torch.from_numpy(g["fake"])
    statistics = [fid_features_to_statistics(each) for each in (fake, real)]
    value = fid_statistics_to_metric(*statistics, False)["frechet_inception_distance"]
    yield "fid", "torch-fidelity", value, "eigenvalues of Σ₁Σ₂, unbiased covariances"
    for size in (1000, 500):
        row = kid_features_to_metric(
            fake, real, kid_subsets=100, kid_subset_size=size, verbose=False
        )
        yield (
            "kid",
            f"torch-fidelity, 100 subsets of {size}",
            row["kernel_inception_distance_mean"],
            "unbiased, mean over random subsets",
        )
    row = prc_features_to_metric(fake, real, prc_neighborhood=K, verbose=False)
    note = "closed balls, as the paper; arguments are (samples, real images)"
    yield "precision", "torch-fidelity", row["precision"], note
    yield "recall", "torch-fidelity", row["recall"], note


@case
def pytorch_fid_samples(g: dict[str, Any]) -> Rows:
    from pytorch_fid.fid_score import calculate_frechet_distance

    value = calculate_frechet_distance(*moments(g["real"]), *moments(g["fake"]))
    yield "fid", "pytorch-fid", value, "matrix root by scipy, unbiased covariances"


@case
def clean_fid_samples(g: dict[str, Any]) -> Rows:
    from cleanfid.fid import fid_from_feats, kernel_distance

    real, fake = (g[key].astype(np.float64) for key in ("real", "fake"))
    yield "fid", "clean-fid", fid_from_feats(real, fake), "matrix root by scipy"
    np.random.seed(0)  # noqa: NPY002 - the package draws from the global generator
    value = kernel_distance(real, fake, num_subsets=100, max_subset_size=1000)
    yield "kid", "clean-fid", value, "unbiased, mean over subsets of at most 1,000"


@case
def torcheval_samples(g: dict[str, Any]) -> Rows:
    from torcheval.metrics import FrechetInceptionDistance

    for name, shift in (("torcheval", 0.0), ("torcheval, features + 1000", 1000.0)):
        metric = FrechetInceptionDistance(model=Identity(), feature_dim=64)
        # the check of the arguments wants images, which the given model would take
        metric._FID_update_input_check = lambda *_, **__: None
        metric.update(torch.from_numpy(g["real"]) + shift, is_real=True)
        metric.update(torch.from_numpy(g["fake"]) + shift, is_real=False)
        yield "fid", name, metric.compute(), "raw products added in float32"


@case
def ignite_samples(g: dict[str, Any]) -> Rows:
    from ignite.metrics.gan import FID

    metric = FID(num_features=64, feature_extractor=Identity())
    metric.update((torch.from_numpy(g["fake"]), torch.from_numpy(g["real"])))
    yield "fid", "pytorch-ignite", metric.compute(), "running sums in float64, unbiased covariances"


@case
def pot_samples(g: dict[str, Any]) -> Rows:
    import ot

    real, fake = (g[key].astype(np.float64) for key in ("real", "fake"))
    distance = ot.gaussian.empirical_bures_wasserstein_distance(real, fake)
    yield "fid", "POT, squared", distance**2, "covariances divided by N and a ridge of 1e-6 added"


@case
def piq_samples(g: dict[str, Any]) -> Rows:
    import piq

    real, fake = (torch.from_numpy(g[key]).double() for key in ("real", "fake"))
    yield "fid", "piq", piq.FID()(real, fake), "matrix root by iterations"
    yield "kid", "piq", piq.KID()(real, fake), "unbiased, all images"
    precision, recall = piq.PR(nearest_k=K)(real, fake)
    yield "precision", "piq", precision, "closed balls"
    yield "recall", "piq", recall, "closeness to the radii of the wrong set is counted too"


@case
def repeated_rows(g: dict[str, Any]) -> Rows:
    import piq
    from prdc import compute_prdc
    from torch_fidelity.metric_prc import prc_features_to_metric

    rows = np.tile(g["real"][:100], (6, 1))
    name = "precision of repeated rows"
    with contextlib.redirect_stdout(sys.stderr):
        yield (
            name,
            "prdc",
            compute_prdc(rows, rows, nearest_k=K)["precision"],
            ("open balls of radius 0: rounding decides"),
        )
    tensor = torch.from_numpy(rows)
    row = prc_features_to_metric(tensor, tensor, prc_neighborhood=K, verbose=False)
    yield name, "torch-fidelity", row["precision"], "closed balls"
    yield name, "piq", piq.PR(nearest_k=K)(tensor, tensor)[0], "closed balls"


@case
def prdc_samples(g: dict[str, Any]) -> Rows:
    from prdc import compute_prdc

    with contextlib.redirect_stdout(sys.stderr):
        row = compute_prdc(g["real"], g["fake"], nearest_k=K)
    for name, value in row.items():
        yield name, "prdc", value, "open balls (<): the same if no row is repeated"


# --- errors of images ---


@case
def torchmetrics_images(g: dict[str, Any]) -> Rows:
    from torchmetrics.functional.classification import binary_auroc, binary_average_precision
    from torchmetrics.functional.image import (
        peak_signal_noise_ratio,
        structural_similarity_index_measure,
    )

    x, y = torch.from_numpy(g["x"]), torch.from_numpy(g["y"])
    value = structural_similarity_index_measure(y, x, data_range=1.0)
    yield "ssim", "torchmetrics", value, "the border of the image is reflected and is in the mean"
    value = peak_signal_noise_ratio(y, x, data_range=1.0)
    yield "psnr_db", "torchmetrics", value, "of the mean MSE"
    value = peak_signal_noise_ratio(y, x, data_range=1.0, dim=(1, 2, 3))
    yield "psnr_db", "torchmetrics, dim=(1, 2, 3)", value, "mean of the images' PSNR"
    scores, positive = torch.from_numpy(g["scores"]), torch.from_numpy(g["positive"]).int()
    note = "scores outside [0, 1] pass a sigmoid in float32 first, which makes large ones equal"
    yield "auroc", "torchmetrics", binary_auroc(scores.float(), positive), note
    yield (
        "average_precision",
        "torchmetrics",
        binary_average_precision(scores.float(), positive),
        note,
    )


@case
def torcheval_images(g: dict[str, Any]) -> Rows:
    from torcheval.metrics.functional import binary_auprc, binary_auroc, peak_signal_noise_ratio

    x, y = torch.from_numpy(g["x"]), torch.from_numpy(g["y"])
    value = peak_signal_noise_ratio(y, x, data_range=1.0)
    yield "psnr_db", "torcheval", value, "of the mean MSE"
    scores, positive = torch.from_numpy(g["scores"]), torch.from_numpy(g["positive"]).int()
    yield "auroc", "torcheval", binary_auroc(scores, positive), "trapezoids; ties count ½"
    yield "average_precision", "torcheval", binary_auprc(scores, positive), "a sum of steps"


@case
def ignite_images(g: dict[str, Any]) -> Rows:
    from ignite.metrics import PSNR, SSIM

    x, y = torch.from_numpy(g["x"]), torch.from_numpy(g["y"])
    for name, metric, note in (
        ("ssim", SSIM(data_range=1.0), "the border of the image is reflected and is in the mean"),
        ("psnr_db", PSNR(data_range=1.0), "mean of the images' PSNR"),
    ):
        metric.update((y, x))
        yield name, "pytorch-ignite", metric.compute(), note


@case
def kornia_images(g: dict[str, Any]) -> Rows:
    import kornia

    x, y = torch.from_numpy(g["x"]), torch.from_numpy(g["y"])
    for padding, note in (
        ("same", "the border of the image is reflected and is in the mean"),
        ("valid", "whole windows only"),
    ):
        value = kornia.metrics.ssim(x, y, 11, padding=padding).mean()
        yield "ssim", f"kornia, padding={padding}", value, note
    yield "psnr_db", "kornia", kornia.metrics.psnr(y, x, 1.0), "of the mean MSE"


@case
def pytorch_msssim_images(g: dict[str, Any]) -> Rows:
    from pytorch_msssim import ssim

    x, y = torch.from_numpy(g["x"]), torch.from_numpy(g["y"])
    yield "ssim", "pytorch-msssim", ssim(x, y, data_range=1.0), "whole windows only"


@case
def piq_images(g: dict[str, Any]) -> Rows:
    import piq

    x, y = torch.from_numpy(g["x"]), torch.from_numpy(g["y"])
    yield "ssim", "piq", piq.ssim(x, y), "whole windows only"
    yield "psnr_db", "piq", piq.psnr(y, x), "mean of the images' PSNR"


@case
def scikit_image_images(g: dict[str, Any]) -> Rows:
    from skimage.metrics import mean_squared_error, peak_signal_noise_ratio, structural_similarity

    pairs = list(zip(g["x"][:, 0].astype(float), g["y"][:, 0].astype(float), strict=True))
    gaussian = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False}
    for name, options, note in (
        ("Gaussian window", gaussian, "whole windows only"),
        ("defaults", {}, "7×7 means and sample covariances instead of Wang's Gaussian window"),
    ):
        values = [structural_similarity(a, b, data_range=1.0, **options) for a, b in pairs]
        yield "ssim", f"scikit-image, {name}", np.mean(values), note
    values = [peak_signal_noise_ratio(a, b, data_range=1.0) for a, b in pairs]
    yield "psnr_db", "scikit-image", np.mean(values), "one image a call"
    value = mean_squared_error(g["x"].astype(float), g["y"].astype(float))
    yield "mse", "scikit-image", value, "mean over all values"


@case
def sewar_images(g: dict[str, Any]) -> Rows:
    from sewar.full_ref import mse, psnr, ssim

    pairs = list(zip(g["x"][:, 0].astype(float), g["y"][:, 0].astype(float), strict=True))
    values = [ssim(a, b, MAX=1.0)[0] for a, b in pairs]
    yield "ssim", "sewar", np.mean(values), "11×11 means instead of Wang's Gaussian window"
    yield "psnr_db", "sewar", np.mean([psnr(a, b, MAX=1.0) for a, b in pairs]), "one image a call"
    yield "mse", "sewar", np.mean([mse(a, b) for a, b in pairs]), "one image a call"


@case
def scikit_learn_scores(g: dict[str, Any]) -> Rows:
    from sklearn.metrics import average_precision_score, roc_auc_score

    yield "auroc", "scikit-learn", roc_auc_score(g["positive"], g["scores"]), "ties count ½"
    value = average_precision_score(g["positive"], g["scores"])
    yield "average_precision", "scikit-learn", value, "a sum of steps, no interpolation"


def main() -> None:
    given = dict(np.load(sys.argv[1]))
    rows = []
    for function in CASES:
        for metric, package, value, definition in function(given):
            rows.append(
                {
                    "metric": metric,
                    "package": package,
                    "value": float(value),
                    "definition": definition,
                }
            )
    print(json.dumps(rows))


if __name__ == "__main__":
    main()
