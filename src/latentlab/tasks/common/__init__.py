"""Parts that several tasks use.

context: the input of a task. requirements: checks of settings and data. fitting: a short training.
autoencoder: a small autoencoder. class_models: one model for each class. svm: a linear support
vector machine. ranking: ROC curve and average precision.
"""
