"""Names of quantities as words: `test_kl_nats` → “KL, test (nats)”. And links in references."""

from __future__ import annotations

import re

UNITS = {
    "nats": "nats", "db": "dB", "rad": "rad", "seconds": "s", "mb": "MB", "bits": "bits",
    "percent": "%",
}  # fmt: skip
WORDS = {
    "kl": "KL", "elbo": "ELBO", "nll": "NLL", "mse": "MSE", "sse": "SSE", "psnr": "PSNR",
    "ssim": "SSIM", "fid": "FID", "kid": "KID", "pca": "PCA", "auroc": "AUROC",
    "gp": "gradient penalty", "mmd": "MMD", "r1": "R1", "num": "number of", "px": "p(x)",
    "std": "standard deviation",
    "ae": "AE", "vae": "VAE", "gan": "GAN", "lr": "learning rate", "l1": "L1", "l2": "L2",
    "nmi": "NMI", "svm": "SVM", "iou": "IoU", "bce": "BCE", "prob": "probability",
}  # fmt: skip
PLAYERS = {"d": "discriminator", "g": "generator"}
IDENTIFIER = re.compile(r"[A-Za-z_][\w.+-]*(/[\w.+-]+)*")
SPLIT_WORDS = {"train": "training", "val": "validation", "test": "test"}


def words_of(key: str, *, split: bool = False) -> str:
    """The name of a quantity as words. Text that is no identifier is returned unchanged.

    A diagnostic's prefix before “/” is left out. `split`: a leading train, val or test is the split
    of the data that the quantity was measured on.
    """
    if not IDENTIFIER.fullmatch(key):
        return key
    parts = key.rpartition("/")[2].split("_")
    unit = UNITS.get(parts[-1], "") if len(parts) > 1 else ""
    if unit:
        parts = parts[:-1]
    of_split = SPLIT_WORDS[parts.pop(0)] if split and parts[0] in SPLIT_WORDS and parts[1:] else ""
    if len(parts) > 1 and parts[0] in PLAYERS:
        parts[0] = PLAYERS[parts[0]]
    text = " ".join(WORDS.get(part, part) for part in parts if part)
    text += f", {of_split}" if of_split else ""
    return _capital(text) + (f" ({unit})" if unit else "")


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


ARXIV = re.compile(r"arXiv:\s?(\d{4}\.\d{4,5}|[a-z-]+/\d{7})", re.IGNORECASE)
DOI = re.compile(r"(?:doi:\s?|https?://doi\.org/)(10\.\d{4,9}/[^\s,;]*[^\s,;.])", re.IGNORECASE)


def link_of(paper: str) -> str:
    """The address of a paper that names its arXiv identifier or DOI; else empty."""
    if found := ARXIV.search(paper):
        return f"https://arxiv.org/abs/{found[1]}"
    if found := DOI.search(paper):
        return f"https://doi.org/{found[1]}"
    return ""
