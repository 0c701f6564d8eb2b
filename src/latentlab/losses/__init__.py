"""Objectives as pure functions. Every image loss sums over pixels and returns one number per image.

`x` is an image batch (B, C, H, W) in [0, 1]; `logits` has the same shape and is a sigmoid's input.
Import from the file that has it: likelihoods, divergences, adversarial, …
"""
