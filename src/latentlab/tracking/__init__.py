"""The MLflow run of a model: opened by stage train, continued by stage evaluate.

The store is a tracking server, named in $MLFLOW_TRACKING_URI, or an SQLite database in the
project: mlruns/mlflow.db, with artifacts in mlruns/artifacts. A store that does not work is an
error before a training starts. After that it is a warning, and the metrics are sent later.

background   the run in a background process, so that a training never waits for MLflow
run          open or continue a run, log to it, finish it
delivery     retries, points that the store has already, and the file of unsent metrics
naming       the name of a run: what differs from an earlier run
images       images at several steps of a run
metadata     params, tags and metric names that MLflow accepts; the git state of the code
model        log the trained model of a run
pyfunc       the code of that model, which only MLflow imports
address      address of the store, and a check of it
store        a client, experiments and runs, one batch of metrics
view         columns, order and charts of an experiment in MLflow's web page
sqlite       create the project's database; update its paths after the project was moved
ui           `python -m latentlab.tracking ui`

Importing this package imports neither MLflow nor torch. Each takes more than a second, so MLflow
is imported at first use, and torch not at all.
"""

from latentlab.tracking.address import check_store, tracking_uri
from latentlab.tracking.background import (
    AnyRun,
    BackgroundRun,
    continue_run,
    open_run,
    start_worker,
)
from latentlab.tracking.metadata import commit_of, run_tags
from latentlab.tracking.run import Run, Status, add_metrics
from latentlab.tracking.ui import ui_command, where_runs_are

__all__ = [
    "AnyRun",
    "BackgroundRun",
    "Run",
    "Status",
    "add_metrics",
    "check_store",
    "commit_of",
    "continue_run",
    "open_run",
    "run_tags",
    "start_worker",
    "tracking_uri",
    "ui_command",
    "where_runs_are",
]
