"""AdvancedProfiler: which functions an action spends its time in, by Python's own profiler."""

import cProfile
import io
import math
import os
import pstats
from typing import Any, final

from lt_callbacks.profilers.profiler import Profiler


@final
class AdvancedProfiler(Profiler):
    """Runs cProfile while an action is under way, and reports on each action apart.

    Of two actions of which one holds the other, the inner one is recorded apart from the outer:
    what is missing there is in the report of the inner one. cProfile slows Python code down, and
    what torch does below it not at all: compare functions by these numbers, not runs.

    Args:
        dirpath: the folder of reports; None for that of the trainer's logger.
        filename: writes reports to a file of about that name; None to standard output.
        line_count_restriction: how many functions a report names for each action: a number of
            them, or a share between 0 and 1.
        dump_stats: whether to write the record of each action into the folder too, as ``.prof``
            files for snakeviz or pstats.

    Attributes:
        profiled_actions: the record of each action.

    Raises:
        ValueError: the restriction is out of its range.
    """

    def __init__(
        self,
        dirpath: str | os.PathLike[str] | None = None,
        filename: str | None = None,
        line_count_restriction: float = 1.0,
        dump_stats: bool = False,
    ) -> None:
        super().__init__(dirpath, filename)
        restriction: Any = line_count_restriction
        most = 1.0 if isinstance(restriction, float) else math.inf
        if not 0 < restriction <= most:
            raise ValueError(
                "line_count_restriction is a number of lines from 1, or a share of them between 0 "
                f"and 1.0. Received line_count_restriction={line_count_restriction!r}."
            )
        self.line_count_restriction, self.dump_stats = line_count_restriction, dump_stats
        self.restart()

    def restart(self) -> None:
        """Forget all actions."""
        self.profiled_actions: dict[str, cProfile.Profile] = {}
        self._begun: list[cProfile.Profile] = []  # the innermost last; it alone is enabled

    def start(self, action_name: str) -> None:
        """Record this action, and the one around it no longer.

        Raises:
            ValueError: the action is under way.
        """
        profile = self.profiled_actions.get(action_name)
        if profile is None:
            profile = self.profiled_actions[action_name] = cProfile.Profile()
        elif profile in self._begun:
            raise ValueError(
                f"An action ends before it begins again. Received start({action_name!r}) twice. "
                "Use two names."
            )
        if self._begun:
            self._begun[-1].disable()
        self._begun.append(profile)
        profile.enable()

    def stop(self, action_name: str) -> None:
        """Record the action around this one again.

        Raises:
            ValueError: the action is not under way.
        """
        profile = self.profiled_actions.get(action_name)
        if profile is None or profile not in self._begun:
            raise ValueError(
                f"An action that ends was begun. Received stop({action_name!r}) without its start."
            )
        self._begun[-1].disable()
        self._begun.remove(profile)
        if self._begun:
            self._begun[-1].enable()

    def summary(self) -> str:
        """Return pstats' table for each action, in the order in which they first began."""
        if self._begun:
            self._begun[-1].disable()
        parts = []
        for action, profile in self.profiled_actions.items():
            text = io.StringIO()
            stats = pstats.Stats(profile, stream=text).strip_dirs().sort_stats("cumulative")
            stats.print_stats(self.line_count_restriction)
            parts.append(f"Profile stats for: {action}\n{text.getvalue().rstrip()}\n")
        if self._begun:
            self._begun[-1].enable()
        return self.titled("\n".join(parts)) if parts else ""

    def describe(self) -> None:
        """Write the report, and the records if that was asked for.

        Raises:
            ValueError: there is no folder to write the records to.
        """
        super().describe()
        if not self.dump_stats:
            return
        folder = self.folder()
        if folder is None:
            raise ValueError(
                "dump_stats=True writes files. Received no folder for them. Pass dirpath=..."
            )
        folder.mkdir(parents=True, exist_ok=True)
        for action, profile in self.profiled_actions.items():
            profile.dump_stats(folder / self.name_of_file(".prof", action))
