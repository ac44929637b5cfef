"""Preview: what a run will do, told before it happens and without making anything happen."""

from collections.abc import Iterator, Mapping, Sequence, Sized
from dataclasses import dataclass, fields
from typing import Any

from lt_loop.callback import Callback
from lt_loop.hooks import HOOKS, overridden
from lt_loop.limits import Limits, batches_within
from lt_loop.logged_names import logged_names
from lt_loop.order import ORDER, SANITY_CHECK, TRANSFER, VALIDATION
from lt_loop.run import Function, Ports
from lt_loop.several import described, is_collection
from lt_loop.sources import WORDS, LoaderStage, Sources


@dataclass(frozen=True, slots=True)
class Row:
    """One hook of a run.

    Attributes:
        chapter: the part of the run it belongs to.
        hook: its name.
        owners: the types of those who implement it, in the order in which they are called.
        logs: the names logged in it, as far as the source shows.
    """

    chapter: str
    hook: str
    owners: tuple[str, ...]
    logs: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Preview:
    """What a run will do.

    ``str`` of it is a table.

    Attributes:
        title: what runs.
        choices: ports, devices, limits and loaders, each with its reason where one was chosen.
        rows: the hooks that somebody implements, in the order in which they are called.
    """

    title: str
    choices: Mapping[str, str]
    rows: tuple[Row, ...]

    def __str__(self) -> str:
        """Return the table."""
        return "\n".join([self.title, "", *self._choices(), "", *self._table()])

    def __repr__(self) -> str:
        """Return the title: the table is for ``print``."""
        return f"<Preview: {self.title}>"

    def _choices(self) -> Iterator[str]:
        width = max(map(len, self.choices))
        for name, choice in self.choices.items():
            yield f"{name:{width}}  {choice}"

    def _table(self) -> Iterator[str]:
        head = ("when", "hook", "who", "logs")
        lines = [head]
        chapter = ""
        for row in self.rows:
            title = "" if row.chapter == chapter else row.chapter
            chapter = row.chapter
            lines.append((title, row.hook, ", ".join(row.owners), ", ".join(row.logs)))
        widths = [max(len(line[column]) for line in lines) for column in range(len(head))]
        for line in lines:
            cells = (f"{cell:{width}}" for cell, width in zip(line, widths, strict=True))
            yield "  ".join(cells).rstrip()


def preview(
    fn: Function,
    *,
    program: Any,
    sources: Sources,
    callbacks: Sequence[Callback],
    limits: Limits,
    ports: Ports,
) -> Preview:
    """Tell what a run of these parts will do. Nothing of theirs is called.

    Args:
        fn: what is asked for.
        program: what the user wrote.
        sources: where its loaders come from.
        callbacks: those of the trainer.
        limits: how long it may be.
        ports: what it runs on.
    """
    validates = (
        overridden(program, "validation_step") is not None
        and sources.has("validate")
        and limits.limit_val_batches != 0
    )
    left_out = {_loader_hook(stage) for stage in WORDS if sources.given(stage)}
    if not validates:
        left_out |= {SANITY_CHECK, VALIDATION}
    if not limits.num_sanity_val_steps:
        left_out.add(SANITY_CHECK)
    return Preview(
        title=f"{fn} of {type(program).__name__}",
        choices={
            **_ports(ports),
            **_limits(fn, limits),
            **_loaders(fn, program, sources, limits, validates=validates),
            "loggers": ", ".join(
                type(one).__name__ for one in callbacks if overridden(one, "on_log")
            )
            or "none",
        },
        rows=tuple(_rows(fn, program, sources.datamodule, callbacks, left_out)),
    )


def _ports(ports: Ports) -> dict[str, str]:
    chosen = {
        name: type(getattr(ports, name)).__name__ for name in ("backend", "world", "feed", "store")
    }
    return chosen | dict(ports.reasons)


def _limits(fn: Function, limits: Limits) -> dict[str, str]:
    """Return the limits that were given, and what ends a fit where none was."""
    given = {
        field.name: repr(value)
        for field in fields(limits)
        if field.init and (value := getattr(limits, field.name)) != field.default
        if fn == "fit" or field.name == f"limit_{WORDS[fn]}_batches"
    }
    if fn == "fit" and limits.epochs is not None:
        given.setdefault("max_epochs", f"{limits.epochs}: the default")
    return given


def _loaders(
    fn: Function, program: Any, sources: Sources, limits: Limits, *, validates: bool
) -> dict[str, str]:
    stages: list[LoaderStage] = ["train" if fn == "fit" else fn]
    if fn == "fit" and validates:
        stages.append("validate")
    return {
        f"{WORDS[stage]} batches": _batches(stage, program, sources, limits) for stage in stages
    }


def _batches(stage: LoaderStage, program: Any, sources: Sources, limits: Limits) -> str:
    """Tell how many batches a stage has; a loader that a method makes is not made for it."""
    name = f"limit_{WORDS[stage]}_batches"
    if not sources.given(stage):
        hook = _loader_hook(stage)
        owner = next(one for one in (sources.datamodule, program) if overridden(one, hook))
        return f"those of {type(owner).__name__}.{hook}(), which is asked when it starts"
    return ", ".join(
        _count(loader, getattr(limits, name), name) for loader in sources.loaders(stage)
    )


def _count(loader: Any, limit: int | float, name: str) -> str:
    """Tell how many batches a loader has, as far as that shows without a feed."""
    if is_collection(loader):
        return f"those of a {described(loader)}, read as one"
    try:
        length = len(loader) if isinstance(loader, Sized) else None
    except TypeError:  # how a DataLoader says that its dataset has none
        length = None
    count = batches_within(limit, length, name=name)
    return f"{'unknown' if count is None else count} of {described(loader)}"


def _loader_hook(stage: LoaderStage) -> str:
    """Return the hook that makes the loader of a stage."""
    return f"{WORDS[stage]}_dataloader"


_FIRST_ALONE = {*TRANSFER, *(_loader_hook(stage) for stage in WORDS)}
"""Hooks of which the datamodule's counts where it has one, and else the program's."""


def _rows(
    fn: Function, program: Any, datamodule: Any, callbacks: Sequence[Callback], left_out: set[str]
) -> Iterator[Row]:
    """Yield the rows; ``left_out`` names chapters and hooks that this run does not have."""
    for chapter in ORDER[fn]:
        for hook in chapter.hooks:
            if chapter.title in left_out or hook in left_out:
                continue
            candidates: list[Any] = [datamodule] if "datamodule" in HOOKS[hook].owners else []
            candidates += callbacks if "callback" in HOOKS[hook].owners else ()
            candidates += [program] if "program" in HOOKS[hook].owners else ()
            owners = [one for one in candidates if overridden(one, hook)]
            if hook == "teardown":
                owners.reverse()
            elif hook == "on_train_epoch_end":
                owners.sort(key=lambda one: getattr(one, "monitors", False))
            elif hook in _FIRST_ALONE:
                del owners[1:]
            logs = [name for one in owners for name in logged_names(one, getattr(one, hook))]
            if owners:
                names = tuple(type(one).__name__ for one in owners)
                yield Row(chapter.title, hook, names, tuple(dict.fromkeys(logs)))
