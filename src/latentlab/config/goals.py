"""What somebody can want from images, and the models, tasks and metrics that serve it.

`latentlab init --goal` chooses by this list. The report page has a choice of columns for each goal.
"""

from __future__ import annotations

from dataclasses import dataclass

from latentlab.config.keys import nearest
from latentlab.utils.errors import LatentlabError


@dataclass(frozen=True)
class Goal:
    """A use of the models.

    `models`: name of a config → why it is on the list; the most useful first. `columns`: keys of
    metrics of the report. `tasks`: names in configs/tasks/.
    """

    title: str
    models: dict[str, str]
    columns: tuple[str, ...]
    tasks: tuple[str, ...] = ()


GOALS = {
    "generate": Goal(
        "new images like the given ones",
        {
            "conv_ae": "fast; codes are sampled from a mixture",
            "dcgan": "the usual convolutional GAN",
            "conv_vae": "samples from the prior; a likelihood",
            "vq_vae": "discrete codes with an autoregressive prior",
            "hinge_gan": "a GAN that is stable by spectral normalization",
            "conditional_gan": "images of a requested class",
            "vae_two_stage": "a second VAE learns the codes of the first",
            "wgan_gp": "a GAN that rarely collapses",
            "style_gan": "the sharpest samples; slow",
            "ddpm": "diffusion; slow",
        },
        ("fid", "kid", "precision", "recall", "coverage"),
    ),
    "reconstruct": Goal(
        "a small code, and the image again from the code",
        {
            "linear_ae": "the baseline: as good as PCA",
            "conv_ae": "convolutions, a code of 32 numbers",
            "stacked_ae": "fully connected, a longer code",
            "conv_vae": "a code close to a normal distribution",
            "conv_ae_subpixel": "another decoder: sub-pixel convolutions",
            "vq_vae": "a grid of discrete codes",
            "deep_ae": "many layers, a code of 30 numbers",
        },
        ("reconstruction_mse", "psnr_db", "ssim", "latent_dim", "num_parameters"),
        tasks=("dimensionality_reduction",),
    ),
    "features": Goal(
        "numbers that describe an image, for a classifier or a search",
        {
            "linear_ae": "the baseline: as good as PCA",
            "denoising_ae": "learns to remove noise",
            "conv_ae": "convolutions, a code of 32 numbers",
            "dcgan": "features of the discriminator of a GAN",
            "stacked_ae": "fully connected, a longer code",
            "contractive_ae": "insensitive to small changes",
            "k_sparse_ae": "few active units for each image",
            "vae": "a code close to a normal distribution",
            "masked_ae": "a transformer that predicts hidden patches; slow",
        },
        ("probe_accuracy", "latent_dim", "num_parameters", "train_seconds"),
        tasks=("dimensionality_reduction", "retrieval", "linear_svm"),
    ),
    "anomalies": Goal(
        "the images that differ from the others",
        {
            "linear_ae": "the baseline: as good as PCA",
            "conv_ae": "convolutions, a code of 32 numbers",
            "stacked_ae": "fully connected, a longer code",
            "vae": "a likelihood",
            "denoising_ae": "learns to remove noise",
            "memorizer_ae": "knows training images only: a large error on all others",
        },
        ("reconstruction_mse", "psnr_db", "likelihood/elbo_nats", "latent_dim"),
        tasks=("anomaly_detection",),
    ),
    "compress": Goal(
        "few bytes for each image",
        {
            "linear_ae": "the baseline: as good as PCA",
            "stacked_ae": "fully connected; its codes are rounded and entropy-coded",
            "conv_ae": "convolutions, a code of 32 numbers",
            "vq_vae": "a grid of discrete codes",
            "deep_ae": "many layers, a code of 30 numbers",
        },
        ("latent_dim", "reconstruction_mse", "psnr_db", "ssim", "likelihood/elbo_nats"),
        tasks=("compression",),
    ),
}


def find_goal(name: str) -> Goal:
    """Return the goal of that name. Raise LatentlabError that lists the goals if there is none."""
    if name in GOALS:
        return GOALS[name]
    close = nearest(name, GOALS)
    hint = f"did you mean {close!r}? " if close else ""
    raise LatentlabError(f"--goal is {name!r}; {hint}Choose one of: {', '.join(GOALS)}")


def goal_lines() -> list[str]:
    """Return the goals with their models, their tasks and why each model is there."""
    lines = []
    for name, goal in GOALS.items():
        lines.append(f"{name}: {goal.title}")
        lines += [f"  {model:18} {why}" for model, why in goal.models.items()]
        lines += [f"  {task:18} a task" for task in goal.tasks]
    return lines
