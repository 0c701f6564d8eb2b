"""`latentlab repro`: run the stages that changed, and keep the report page up to date."""

from __future__ import annotations

import argparse
import contextlib
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from latentlab.cli.output import stop

if TYPE_CHECKING:
    from latentlab.config import Project


def repro(args: argparse.Namespace) -> None:
    """Run the stages of dvc.yaml that changed, several at a time, each on one CPU thread or GPU.

    The results are those of `dvc repro` on one thread, for any number of jobs. The report page is
    written when the images are prepared, and anew after each evaluation.
    """
    from latentlab import __version__
    from latentlab.config import load_project
    from latentlab.config.template import require_version
    from latentlab.pipeline.graph import read_pipeline
    from latentlab.pipeline.progress import Progress
    from latentlab.pipeline.scheduler import Scheduler

    project = load_project(args.project)
    root = project.root
    require_version(root, __version__)
    everything, changed = read_pipeline(root)
    outdated = everything.with_all_users(changed)
    graph = everything.select(args.targets or everything.needs)
    pending = outdated & set(graph.needs)
    page = Page(project, to_open=args.open)
    if not pending:
        print("all stages are up to date")
        page.open()
        show_places(root)
        return
    progress = Progress(len(pending))
    with _places(args, project) as places:
        scheduler = Scheduler(
            graph,
            pending,
            root=root,
            progress=progress,
            **places,
            on_end=lambda stage: page.update(stage, outdated - {*scheduler.outcome.ended}),
        )
        outcome = scheduler.run()
    if outcome.stopped_by is not None:
        print("stopped; the same command continues", file=sys.stderr)
        raise SystemExit(128 + outcome.stopped_by)
    if outcome.failed:
        show_places(root)
        skipped = f" Not run, because they need it: {', '.join(outcome.skipped)}."
        stop(f"failed: {', '.join(outcome.failed)}.{skipped if outcome.skipped else ''}")
    show_places(root)


def show_places(root: Path) -> None:
    """Print the path of the page, if there is one, and how to see the MLflow runs."""
    from latentlab.tracking import where_runs_are

    page = root / "reports" / "index.html"
    if page.exists():
        print(f"page: {page}")
    print(f"MLflow, with the columns FID, KID, MSE and probe: {where_runs_are(root)}")


@contextlib.contextmanager
def _places(args: argparse.Namespace, project: Project) -> Iterator[dict[str, Any]]:
    """Yield arguments of Scheduler: how many stages run at a time, where, and how one starts."""
    from latentlab.pipeline.scheduler import default_jobs, gpu_numbers

    if args.executor is not None:
        from dataclasses import asdict

        from latentlab.pipeline.cluster import Cluster

        wanted = asdict(project.hardware.cluster)
        jobs = args.jobs or wanted["jobs"]
        del wanted["jobs"]
        cluster = Cluster(args.executor, project.root / ".checkpoints" / "cluster", **wanted)
        yield {"jobs": jobs, "devices": [], "variables": {}, "make_job": cluster.make_job}
        return
    from latentlab.pipeline.forking import job_variables

    devices = [] if project.hardware.accelerator == "cpu" else gpu_numbers()
    with job_variables(gpus=bool(devices)) as variables:
        jobs = args.jobs or default_jobs(devices)
        yield {"jobs": jobs, "devices": devices, "variables": variables}


class Page:
    """The report page of a running pipeline. `to_open`: show it in the browser, once."""

    def __init__(self, project: Project, *, to_open: bool) -> None:
        self.project, self.to_open = project, to_open

    def update(self, stage: str, waiting: Iterable[str]) -> None:
        """Write the page if `stage` has added to it. Results of `waiting` stages are left out."""
        if not stage.startswith(("prepare", "reference", "evaluate@", "evaluate_seed@", "tasks@")):
            return
        from latentlab.config.seeds import Training
        from latentlab.report.comparison import read_comparison
        from latentlab.report.files import write_reports
        from latentlab.utils.errors import LatentlabError

        outdated = {Training.of_stage(each).name or each for each in waiting}
        # a file that another stage writes now, or a full disk: stage report writes the page again
        with contextlib.suppress(LatentlabError, OSError):
            write_reports(read_comparison(self.project, outdated=outdated), self.project.root)
            self.open()

    def open(self) -> None:
        """Show the page in the browser, if that is wanted and was not done before."""
        page = self.project.root / "reports" / "index.html"
        if self.to_open and page.exists():
            import webbrowser

            self.to_open = False
            webbrowser.open(page.as_uri())
