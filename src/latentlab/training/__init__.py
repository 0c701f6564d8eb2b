"""Train one experiment: reproducible to the bit, resumable at any step, on one or more devices.

loop              fit(): the length of a training, its callbacks, its cost
trainer           Lightning's Trainer, exit codes
callbacks         a seed for each batch, curves, progress bar
ema               the average of the weights
checkpoints       write checkpoints, verify them, keep the newest two
best_checkpoint   keep the weights with the lowest FID on validation images
training_samples  images from the same codes at several times of a training
resume            find the checkpoint to resume from; one training in a folder at a time
distributed       devices, processes, and how they end together
fit_sampler       fit the latent sampler of an experiment
environment       threads, CPU and versions, which decide the last digits
write_run         write the run folder of a trained model
"""

from latentlab.training.loop import FitResult, History, Schedule, data_module, fit

__all__ = ["FitResult", "History", "Schedule", "data_module", "fit"]
