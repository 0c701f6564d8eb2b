"""What cannot work in a project: problems, each with its file, and notes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from latentlab.utils.errors import LatentlabError

PARAMS = "params.yaml"


@dataclass(frozen=True)
class Problem:
    """What cannot work, in which file of the project, and what to change."""

    file: str
    message: str


@dataclass
class Report:
    """`notes`: what works in another way than it was asked, and what could not be checked.

    `unsuitable`: models and tasks that other data could train → the reason. `checked`: how many
    models and tasks were looked at.
    """

    problems: list[Problem] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    unsuitable: dict[str, str] = field(default_factory=dict)
    checked: str = ""

    def add(self, file: str, message: str) -> None:
        """Add a problem, unless it is listed. The name of the file in front of it is dropped."""
        problem = Problem(file, message.removeprefix(f"{file}: ").removeprefix(f"{file} "))
        if problem not in self.problems:
            self.problems.append(problem)

    def require_none(self) -> None:
        """Raise LatentlabError that lists all problems, if there are any."""
        if not self.problems:
            return
        lines = "\n".join(f"  {each.file}: {each.message}" for each in self.problems)
        these = "this" if len(self.problems) == 1 else f"these {len(self.problems)}"
        skip = ", or leave out what does not suit the data by `on_unsuitable: skip` in params.yaml"
        raise LatentlabError(
            f"{these} cannot work, so nothing is trained:\n{lines}\n"
            f"Correct the files{skip if self.unsuitable else ''}"
        )

    def attempt(self, file: str, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """Return function(…), or None after its LatentlabError was added."""
        try:
            return function(*args, **kwargs)
        except LatentlabError as error:
            self.add(file, str(error))
            return None
