"""A model's trainer, replaced by what a few training steps need."""

from types import SimpleNamespace


def with_trainer(model, split=None, *, total_batches=10):
    """Return the model in training mode, with optimizers and schedulers, before its first batch."""
    model._trainer = SimpleNamespace(
        max_epochs=1,
        current_epoch=0,
        global_step=total_batches - 1,
        world_size=1,
        estimated_stepping_batches=total_batches,
        lr_scheduler_configs=[],
        fit_loop=SimpleNamespace(total_batch_idx=0),
        datamodule=SimpleNamespace(split=lambda name: split),
        strategy=SimpleNamespace(
            backward=lambda loss, optimizer: loss.backward(),
            reduce=lambda value, reduce_op: value,
        ),
    )
    configured = model.configure_optimizers()
    one = isinstance(configured, dict)  # of a model with one optimizer
    optimizers, schedulers = ([configured["optimizer"]], []) if one else configured
    model.optimizers = lambda: optimizers
    model.lr_schedulers = lambda: schedulers or None
    return model.train()
