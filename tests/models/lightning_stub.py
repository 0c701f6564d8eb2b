"""A model's trainer, replaced by what a few training steps need."""

from types import SimpleNamespace


def with_trainer(model, split=None):
    """Return the model in training mode, with optimizers, at batch 0 of 10."""
    model._trainer = SimpleNamespace(
        estimated_stepping_batches=10,
        lr_scheduler_configs=[],
        fit_loop=SimpleNamespace(total_batch_idx=0),
        datamodule=SimpleNamespace(split=lambda name: split),
        strategy=SimpleNamespace(
            backward=lambda loss, optimizer: loss.backward(),
            reduce=lambda value, reduce_op: value,
        ),
    )
    optimizers, _ = model.configure_optimizers()
    model.optimizers = lambda: optimizers
    return model.train()
