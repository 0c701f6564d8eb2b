"""Codes as points of a vector space.

The code of a VQ-VAE consists of indices, the names of the vectors of its codebook. Other names give
the same images, so a distance, a mean or a rounding of indices says nothing. Their vectors do.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from latentlab.contracts import DiscreteCodes
from latentlab.inference.images import ImageInput
from latentlab.inference.trained import TrainedModel


def code_vectors(trained: TrainedModel, x: ImageInput) -> Tensor:
    """Images (N, C, H, W) → codes (N, F) for distances, averages and linear models.

    F is D, the size of a code. Of discrete codes, the vectors of their indices one after the other.
    Raises LatentlabError as TrainedModel.encode.
    """
    z, module = trained.encode(x), trained.module
    if not isinstance(module, DiscreteCodes):
        return z
    with torch.inference_mode():
        parts = z.long().split(500)
        device = trained.replicas.devices[0]
        return torch.cat([module.embed(part.to(device)).flatten(1).cpu() for part in parts])


def code_bits(trained: TrainedModel) -> float:
    """Bits of a stored code: 32 for each value, or log₂ K for each index below K."""
    module = trained.module
    each = math.log2(module.codebook_size) if isinstance(module, DiscreteCodes) else 32
    return float(module.latent_dim * each)
