"""The book of symbols: how many a discrete code uses, what they cost, what each one draws.

    bits per image = Σ_places H(s_t),   perplexity = exp H(s),   H the entropy of the frequencies

van den Oord et al. 2017, "Neural discrete representation learning", section 3.
"""

from __future__ import annotations

import math
from functools import partial
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor

from latentlab.evaluation import Yardsticks
from latentlab.findings import Finding, Picture
from latentlab.plots import save_grid
from latentlab.studies import MOST_TEST_IMAGES
from latentlab.trained import Trained

COLUMNS = 16


@runtime_checkable
class SymbolCodes(Protocol):
    """Codes are `latent_dim` whole numbers below `symbols`."""

    symbols: int
    latent_dim: int

    def look_up(self, symbols: Tensor) -> Tensor: ...


def applies(model: Any) -> bool:
    return isinstance(model, SymbolCodes)


@torch.inference_mode()
def study(trained: Trained, yard: Yardsticks) -> Finding:
    """Count the symbols of test images; draw an image full of each of the most frequent."""
    test = yard.test.first(MOST_TEST_IMAGES)
    codes = trained.encode(torch.cat(list(test.batches()))).long()  # (N, S)
    kinds = trained.module.symbols
    places = torch.stack([torch.bincount(column, minlength=kinds) for column in codes.T])  # (S, K)
    whole = places.sum(0)
    used, entropy_nats = int((whole > 0).sum()), float(entropy(whole[None]))
    numbers = {
        "symbols_used": float(used),
        "perplexity": math.exp(entropy_nats),
        "bits_per_image": float(entropy(places).sum() / math.log(2)),
        "bits_per_image_at_most": codes.shape[1] * math.log2(kinds),
    }
    often = whole.argsort(descending=True)[: min(used, 4 * COLUMNS)]
    images = trained.decode(often[:, None].expand(-1, codes.shape[1]).float())
    return Finding(
        title="Book of symbols",
        text=f"{used} of {kinds} symbols occur in {len(codes):,} test images; perplexity "
        f"{numbers['perplexity']:.1f}: as many would, if all were as frequent. An image of "
        f"{codes.shape[1]} symbols costs {numbers['bits_per_image']:.0f} bits where each place has "
        f"its own frequencies, {numbers['bits_per_image_at_most']:.0f} without any. The picture "
        "repeats one symbol at all places, the most frequent first: ground and textures, since a "
        "stroke needs unlike neighbours.",
        numbers=numbers,
        pictures=[
            Picture("book", "One symbol everywhere", partial(save_grid, images, columns=COLUMNS))
        ],
        flags=[] if used > 1 else ["collapsed book: one symbol says everything"],
    )


def entropy(counts: Tensor) -> Tensor:
    """Entropy of the frequencies in each row of counts (R, K), nats, (R,)."""
    p = counts.double() / counts.sum(1, keepdim=True)
    return torch.special.entr(p).sum(1)
