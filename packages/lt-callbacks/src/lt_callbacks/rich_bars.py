"""Bars drawn by rich. Needs rich."""

from collections.abc import Mapping, Sequence
from time import monotonic
from typing import Any, final

from rich.console import Console, RenderableType
from rich.progress import BarColumn, Progress, ProgressColumn, Task, TaskID, TextColumn
from rich.text import Text

from lt_callbacks.bar import Place
from lt_callbacks.rich_theme import RichProgressBarTheme
from lt_callbacks.spelled_metrics import clock, fitting, shown

WIDEST_BAR, NARROWEST_BAR = 40, 8
"""Columns of a bar. It gives way to the metrics."""


@final
class Batches(ProgressColumn):
    """Batches done, of how many."""

    def __init__(self, style: Any) -> None:
        self._style = style
        super().__init__()

    def render(self, task: Task) -> Text:
        """Return the two numbers, or the one that is known."""
        of = "" if task.total is None else f"/{task.total:.0f}"
        return Text(f"{task.completed:.0f}{of}", style=self._style)


@final
class Times(ProgressColumn):
    """The time it took, and the time that is left."""

    def __init__(self, style: Any) -> None:
        self._style = style
        super().__init__()

    def render(self, task: Task) -> Text:
        """Return the two times; the second one while there is something left."""
        if type(self) in task.fields["hidden"]:
            return Text("")
        elapsed, speed = task.elapsed or 0.0, batches_in_a_second(task)
        remaining = task.remaining
        if remaining and speed:
            return Text(f"{clock(elapsed)} < {clock(remaining / speed)}", style=self._style)
        return Text(clock(elapsed), style=self._style)


@final
class Speed(ProgressColumn):
    """Batches in a second."""

    def __init__(self, style: Any) -> None:
        self._style = style
        super().__init__()

    def render(self, task: Task) -> Text:
        """Return the mean since the bar began."""
        if type(self) in task.fields["hidden"]:
            return Text("")
        speed = batches_in_a_second(task)
        return Text("?it/s" if speed is None else f"{speed:.2f}it/s", style=self._style)


def batches_in_a_second(task: Task) -> float | None:
    """Return the speed since the bar began, None where nothing was done yet."""
    done = task.completed - task.fields["done_before"]
    return done / task.elapsed if done and task.elapsed else None


@final
class FittedBar(BarColumn):
    """A bar that is as wide as the metrics beside it leave it."""

    def render(self, task: Task) -> Any:
        """Return the bar."""
        self.bar_width = task.fields["bar_width"]
        return super().render(task) if self.bar_width else Text("")


@final
class Metrics(ProgressColumn):
    """Logged values, those there is room for."""

    def __init__(self, style: Any) -> None:
        self._style = style
        super().__init__()

    def render(self, task: Task) -> Text:
        """Return them in a line."""
        return Text(task.fields["shown"], style=self._style, no_wrap=True)


def columns(theme: RichProgressBarTheme) -> list[ProgressColumn]:
    """Return the columns before the metrics."""
    return [
        TextColumn("{task.description}", style=theme.description),
        FittedBar(
            complete_style=theme.progress_bar,
            finished_style=theme.progress_bar_finished,
            pulse_style=theme.progress_bar_pulse,
        ),
        Batches(theme.batch_progress),
        Times(theme.time),
        Speed(theme.processing_speed),
    ]


def console(arguments: Mapping[str, Any]) -> Console:
    """Return a console on standard error, unless the arguments say otherwise."""
    return Console(**{"stderr": "file" not in arguments} | dict(arguments))


def has_screen(where: Console) -> bool:
    """Return whether a console is a terminal or a notebook."""
    return where.is_terminal or where.is_jupyter


def _now() -> float:
    return monotonic()  # looked up each time, so that a test can set the clock


@final
class RichScreen:
    """The part of a terminal where bars are drawn, as long as there are any.

    Args:
        where: the console.
        before: the columns before the metrics.
        theme: how the metrics look.
    """

    def __init__(
        self, where: Console, before: Sequence[ProgressColumn], theme: RichProgressBarTheme
    ) -> None:
        self._console, self._before, self._theme = where, list(before), theme
        self._progress = Progress(
            *self._before,
            Metrics(theme.metrics),
            console=where,
            auto_refresh=False,
            transient=True,
            get_time=_now,
        )

    def open(self, place: Place) -> "RichBar":
        """Return a new bar, below those there are."""
        if not self._progress.tasks:
            self._progress.start()
        task = self._progress.add_task(
            place.description,
            total=place.total,
            completed=place.done,
            done_before=place.done,
            metrics={},
            shown="",
            bar_width=WIDEST_BAR,
            hidden=frozenset(),
        )
        bar = RichBar(self, task)
        bar.draw(place.done)
        return bar

    def draw(self, task_id: TaskID, done: int, metrics: Mapping[str, Any]) -> None:
        """Draw one bar, and all others as they were."""
        self._progress.update(task_id, completed=done, metrics=metrics)
        self._fit(self._progress.tasks)
        self._progress.refresh()

    def close(self, task_id: TaskID, *, stays: bool) -> None:
        """Take a bar away; where it stays, leave its line above the others."""
        task = self._task(task_id)
        self._fit([task])
        line = self._progress.make_tasks_table([task]) if stays else None
        self._progress.remove_task(task_id)
        if not self._progress.tasks:
            self._progress.stop()
        if line is not None:
            self._console.print(line)

    def _task(self, task_id: TaskID) -> Task:
        return next(task for task in self._progress.tasks if task.id == task_id)

    def _fit(self, tasks: Sequence[Task]) -> None:
        """Share the width of the terminal between bar, metrics and the other columns.

        Where it is too narrow for all of them the speed goes first, then the times.
        """
        room = self._console.width - len(self._before)  # columns are a space apart
        widths: dict[type, int] = {}
        for task in tasks:
            task.fields["hidden"] = frozenset()
        for column in self._before:
            if not isinstance(column, FittedBar):
                widths[type(column)] = max(self._width(column(task)) for task in tasks)
                room -= widths[type(column)]
        hidden = set()
        for kind in (Speed, Times):
            if room < 2 and kind in widths:
                hidden.add(kind)
                room += widths[kind]
        words = [self._words(task) for task in tasks]
        wanted = max(len(self._theme.metrics_text_delimiter.join(found)) for found in words)
        has_bar = any(isinstance(column, FittedBar) for column in self._before)
        bar = min(WIDEST_BAR, max(NARROWEST_BAR, room - max(1, wanted)))
        if bar + 1 > room or not has_bar:
            bar = 0
        room -= max(int(has_bar), bar)  # a column takes one also where it is empty
        for task, found in zip(tasks, words, strict=True):
            text = fitting(found, room, between=self._theme.metrics_text_delimiter)
            task.fields.update(hidden=hidden, bar_width=bar, shown=text)

    def _words(self, task: Task) -> list[str]:
        metrics = task.fields["metrics"].items()
        return [f"{shown(name)}: {self._written(value)}" for name, value in metrics]

    def _width(self, part: RenderableType) -> int:
        return self._console.measure(part).maximum

    def _written(self, value: Any) -> str:
        try:
            return format(value, self._theme.metrics_format)
        except (TypeError, ValueError):  # no number
            return str(value)


@final
class RichBar:
    """One bar of a screen."""

    def __init__(self, screen: RichScreen, task: TaskID) -> None:
        self._screen, self._task = screen, task
        self._metrics: Mapping[str, Any] = {}
        self._done = 0

    def draw(self, done: int, metrics: Mapping[str, Any] | None = None) -> None:
        """Draw it with ``done`` batches done; without metrics, with those it had."""
        self._done = done
        self._metrics = self._metrics if metrics is None else metrics
        self._screen.draw(self._task, done, self._metrics)

    def finish(self, metrics: Mapping[str, Any] | None = None, *, stays: bool) -> None:
        """Leave a line on the screen, or none; without metrics, with those it had."""
        self.draw(self._done, metrics)
        self._screen.close(self._task, stays=stays)
