"""What `latentlab repro` prints: one bar for the pipeline and one for each running stage.

Without a terminal, each stage that ends is one line.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from latentlab.pipeline.job import Job

BAR_WIDTH = 30


class Progress:
    """`total`: number of stages to run. A context manager: the bars are shown inside the block."""

    def __init__(self, total: int, console: Console | None = None) -> None:
        self.total, self.done = total, 0
        self.console = console or Console(stderr=True, highlight=False)
        self.next_time = 0.0
        self.live: Live | None = None

    def __enter__(self) -> Progress:
        if self.console.is_terminal:
            self.live = Live(console=self.console, refresh_per_second=4, transient=True)
            self.live.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self.live is not None:
            self.live.stop()

    def show(self, running: Sequence[Job], seconds_left: Callable[[], float]) -> None:
        """Draw the bars anew, at most twice a second."""
        if self.live is None or time.monotonic() < self.next_time:
            return
        self.next_time = time.monotonic() + 0.5
        fraction = self._fraction(running)
        waiting = sum(job.is_waiting for job in running)
        queue = f", {waiting} waiting in the queue" if waiting else ""
        first = Text(
            f"stage {min(self.done + 1, self.total)} of {self.total}, {fraction:.0%}, "
            f"about {clock(seconds_left())} left{queue}",
            style="bold",
        )
        rows = Table.grid(padding=(0, 1))
        for job in running:
            part = job.fraction()
            bar: Any = ProgressBar(100, 100 * part, BAR_WIDTH) if part is not None else ""
            bar = "[dim]waiting[/dim]" if job.is_waiting else bar
            rows.add_row(f"  {job.stage}", bar, f"[dim]{clock(job.seconds)}[/dim]")
        self.live.update(Group(first, rows))

    def ended(self, job: Job, code: int, *, stopped: bool) -> None:
        """Print one line for a stage that has ended, and the end of its output if it failed.

        `stopped`: the user has stopped the pipeline, so an exit code is no failure of the stage.
        """
        self.done += 1
        word = "stopped" if stopped else f"failed, exit code {code}"
        state = f"  [bold red]{word}[/bold red]" if code else ""
        self.console.print(
            f"[dim]{self.done:3} of {self.total}[/dim]  {job.stage}  {clock(job.seconds)}{state}"
        )
        if code and not stopped:
            self.console.print(Text(job.tail(), style="dim"))
            self.console.print(Text(f"  the whole output: {job.log}"), soft_wrap=True)

    def _fraction(self, running: Sequence[Job]) -> float:
        parts = sum(job.fraction() or 0.0 for job in running)
        return min(1.0, (self.done + 0.9 * parts) / max(self.total, 1))


def clock(seconds: float) -> str:
    """Return a duration as minutes and seconds, such as 2:10, or with hours, 1:02:10."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
