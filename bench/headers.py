"""The figures on mnist_5k in the headers of configs/, from the runs of bench/results.py.

    python bench/results.py --models all --jobs 2    # first
    python bench/headers.py                          # prints the lines of each header
    python bench/headers.py --write                  # writes them into configs/*.yaml

A header has at most one block of these lines: from `# mnist_5k,` to the next `# Command:`.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import results

from latentlab.config.selection import model_names

WIDTH = 100
START = "# mnist_5k, "
COMMON = {
    "FID {}": ("fid", 1, 1),
    "class FID {}": ("class_fid", 1, 1),
    "SSE {}": ("reconstruction_sse", 2, 1),
}
PROBE = {"probe {} %": ("probe_accuracy", 1, 100)}
ELBO = {"ELBO {} nats": ("test_elbo_nats", 1, 1)}
BITS = {"{} bits per dimension given the code": ("decoder_noise/bits_per_dim", 3, 1)}
MIXTURE = {
    "FID {} with a mixture of 20 Gaussians": (
        "sampler_comparison/fid_mixture_of_20",
        1,
        1,
    )
}
PRIOR = {"FID {} with the prior": ("sampler_comparison/fid_prior_n_0_i", 1, 1)}
MODES = {"{} of 10 classes have samples near real images": ("gan_training/modes_covered", 0, 1)}
SPARSITY = {"{} active units an image": ("sparsity/active_units_per_image", 1, 1)}
CONTRACTION = {"contraction ratio {}": ("contraction/contraction_ratio", 2, 1)}
REQUESTED = {
    "{} % of the samples are of the requested class": (
        "class_conditioning/conditional_accuracy",
        1,
        100,
    )
}
OWN = {  # what a config is about, besides the common metrics
    "adversarial_ae": MIXTURE,
    "bernoulli_ae": BITS,
    "beta_vae": ELBO,
    "categorical_ae": BITS,
    "conditional_gan": REQUESTED,
    "conditional_vae": ELBO | REQUESTED,
    "contractive_ae": CONTRACTION,
    "contractive_deep_ae": CONTRACTION,
    "conv_vae": ELBO,
    "deep_ae_2d": {
        "{} % of the test codes have a nearest neighbour of their own class": (
            "latent_plane/neighbour_agreement",
            1,
            100,
        )
    },
    "gan": MODES,
    "gaussian_scale_ae": BITS,
    "infogan": {"category error {} %": ("infogan_codes/category_error", 1, 100)},
    "iwae": ELBO,
    "k_sparse_ae": SPARSITY,
    "memorizer_ae": {"SSE {} on its training images": ("memorization/train_sse", 2, 1)},
    "overcomplete_ae": {
        "the error on noise is {} % of its variance": (
            "identity_mapping/noise_residual_variance",
            0,
            100,
        )
    },
    "psd": {
        "energy of predicted codes {} % above the minimum": (
            "amortized_inference/predicted_energy_excess",
            0,
            100,
        )
    },
    "semi_supervised_gan": {
        "test error {} % with 100 labels": ("test_classification_error", 1, 100),
    },
    "sparse_kl_ae": SPARSITY,
    "sparse_l1_ae": SPARSITY,
    "vae": ELBO,
    "vae_2d": ELBO,
    "vae_200": ELBO,
    "vae_gaussian": MIXTURE,
    "vae_mixture": PRIOR,
    "vae_two_stage": PRIOR,
    "vq_vae": {
        "{} codebook entries used": ("codebook_usage/used_entries", 0, 1),
        "{} bits an image": ("codebook_usage/bits_per_image", 0, 1),
    },
}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--write", action="store_true", help="into configs/*.yaml")
    args = parser.parse_args()
    for name in model_names(results.ROOT):
        work = results.work_folder("mnist_5k")
        folders = [work / "results" / results.training(name, seed).name for seed in (0, 1, 2)]
        if not all((folder / "cost.json").exists() for folder in folders):
            folders = [folder for folder in folders[:1] if (folder / "cost.json").exists()]
        if not folders:
            print(f"{name}: no results")
            continue
        lines = block(name, [load(folder) for folder in folders])
        print("\n".join([f"{name}:", *lines]))
        if args.write:
            path = results.ROOT / "configs" / f"{name}.yaml"
            path.write_text(with_block(path.read_text(encoding="utf-8"), lines), encoding="utf-8")


def load(folder: Path) -> dict[str, Any]:
    """Return the metrics of a model, with those of its diagnostics as diagnostic/metric."""
    metrics = results.load(folder)
    for path in folder.glob("diagnostics/*/result.json"):
        for key, value in json.loads(path.read_text())["metrics"].items():
            metrics[f"{path.parent.name}/{key}"] = value
    return metrics


def block(name: str, rows: Sequence[dict[str, Any]]) -> list[str]:
    """Return the lines of a header, as comments."""
    wanted = COMMON | PROBE | OWN.get(name, {})
    facts = [
        text.format(results.spread(rows, key, digits, factor).replace("-", "−"))
        for text, (key, digits, factor) in wanted.items()
        if all(key in row for row in rows)
    ]
    seconds = results.spread(rows, "cpu_seconds", 0)
    seeds = f"{len(rows)} seed{'s' if len(rows) > 1 else ''}"
    option = " --seeds 0" if len(rows) == 1 else ""
    return [
        f"{START}{seeds}, {seconds} CPU seconds of training:",
        *filled([f"{fact[:1].upper()}{fact[1:]}." for fact in facts]),
        f"# Command: python bench/results.py --models {name}{option}",
    ]


def filled(sentences: Sequence[str]) -> list[str]:
    """Return comment lines of at most WIDTH characters. A sentence stays on one line."""
    lines: list[str] = []
    for sentence in sentences:
        if lines and len(lines[-1]) + 1 + len(sentence) <= WIDTH:
            lines[-1] += f" {sentence}"
        else:
            lines.append(f"#   {sentence}")
    return lines


def with_block(text: str, block: Sequence[str]) -> str:
    """Return the text of a config with `block` in place of the old one, or after the title."""
    lines = text.splitlines()
    header = next(i for i, line in enumerate(lines) if not line.startswith("#"))
    starts = [i for i in range(header) if lines[i].startswith(START)]
    if starts:
        start = starts[0]
        end = next(i for i in range(start, header) if lines[i].startswith("# Command:")) + 1
    else:
        start = end = header
    lines[start:end] = block
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
