"""Latent samplers: distributions of the codes from which a model decodes new images.

VAEs and GANs sample the prior of their training. A plain autoencoder has no prior, so a density is
fitted to its training codes afterwards (ex-post density estimation; Ghosh et al. 2020).
"""

from latentlab.samplers.class_conditional import ClassConditional, InfoGANPrior, with_class
from latentlab.samplers.discrete import AutoregressivePrior, IndependentCategorical
from latentlab.samplers.fitted import FittedGaussian, FittedMixture
from latentlab.samplers.fixed import Prior, StandardNormal, Uniform
from latentlab.samplers.two_stage import TwoStageVAE

__all__ = [
    "AutoregressivePrior",
    "ClassConditional",
    "FittedGaussian",
    "FittedMixture",
    "IndependentCategorical",
    "InfoGANPrior",
    "Prior",
    "StandardNormal",
    "TwoStageVAE",
    "Uniform",
    "with_class",
]
