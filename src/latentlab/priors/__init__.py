"""Latent samplers: where codes come from when a model is asked for new images.

VAE and GAN draw from the prior they were trained with. A plain autoencoder has none, so a density
is fitted to its training codes afterwards (ex-post density estimation; Ghosh et al. 2020).
"""

from latentlab.priors.base import Prior, StandardNormal, Uniform
from latentlab.priors.conditional import Coded, Conditional, with_class
from latentlab.priors.fitted import FittedGaussian, FittedMixture
from latentlab.priors.symbols import AutoregressiveSymbols, IndependentSymbols
from latentlab.priors.two_stage import TwoStage

__all__ = [
    "AutoregressiveSymbols",
    "Coded",
    "Conditional",
    "FittedGaussian",
    "FittedMixture",
    "IndependentSymbols",
    "Prior",
    "StandardNormal",
    "TwoStage",
    "Uniform",
    "with_class",
]
