"""Downstream tasks: uses of trained models.

One file for each task, with its settings in configs/tasks/<name>.yaml. A task is a dataclass and a
`contracts.Task`: its fields are the settings, and `run` gets a `common.context.Context` and returns
an `evaluation.results.Result`. Parts that several tasks use are in `common`.
"""
