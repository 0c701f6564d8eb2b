"""Fit one experiment: exactly, at full speed, and so that nothing is lost.

loop          the Trainer, its company, its signals, and what it cost
callbacks     seeds per batch, curves, EMA, the progress bar
checkpoints   written whole, verified, two kept
resume        which of them a training may go on from
devices       where it runs; several processes end together
"""

from latentlab.training.loop import Fitted, History, Schedule, data_module, fit

__all__ = ["Fitted", "History", "Schedule", "data_module", "fit"]
