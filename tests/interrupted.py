"""A training that ends with an error, as if the power went off."""

from latentlab.training.checkpoints import PeriodicCheckpoint


class Interrupted(PeriodicCheckpoint):
    """Raise an error at step `at`, after the checkpoint of this step."""

    at = 5

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        super().on_train_batch_end(trainer, pl_module, outputs, batch, batch_idx)
        if trainer.fit_loop.total_batch_idx + 1 == self.at:
            raise RuntimeError("the power went off")
