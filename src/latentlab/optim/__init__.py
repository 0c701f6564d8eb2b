"""Optimizers: Adam with linear decay, and the alternating steps of GANs."""
