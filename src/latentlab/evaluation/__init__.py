"""Measure a trained model and store the result.

evaluator    the data, the classifier and the methods that measure
evaluate     the metrics of every model       figures      the figures of every model
baselines    real images, PCA, noise, pixels  model_card   a model in words
results      results of diagnostics and tasks, written and read back
"""
