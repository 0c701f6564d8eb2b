"""The MLflow run of a model: opened by train, continued by evaluate, read with `make ui`.

The store is a server named by $MLFLOW_TRACKING_URI, or a database embedded in the project:
mlruns/mlflow.db, with its artifacts in mlruns/artifacts. Before a training starts, a store that
does not work is an error; once it runs, it is a warning, and the numbers wait for delivery.

run           open or continue a run, log to it, finish it
clerk         the same in a process of its own, so that nobody waits for MLflow
contact       whether the store answers; patience, and one warning, where it does not
undelivered   the file of what a run could not deliver, until it is continued
held          which points of its curves the store holds already
describe      params, tags and names of metrics, as MLflow allows them; the state of the code
model         the loadable model of a run          serving   its code, run by MLflow only
store         where the store is, whether it answers, a client of it under a lock
embedded      the database in the project: made whole or not at all, mended when moved
errors        LatentlabError, fetched when it is raised
ui            `python -m latentlab.tracking ui`

Importing this imports neither MLflow nor torch: each takes more than a second, at first use.
"""

from latentlab.tracking.clerk import RunByClerk, continue_run, hire, open_run
from latentlab.tracking.describe import run_tags
from latentlab.tracking.run import Run, Status
from latentlab.tracking.store import check_store, tracking_uri
from latentlab.tracking.ui import ui_command

__all__ = [
    "Run",
    "RunByClerk",
    "Status",
    "check_store",
    "continue_run",
    "hire",
    "open_run",
    "run_tags",
    "tracking_uri",
    "ui_command",
]
