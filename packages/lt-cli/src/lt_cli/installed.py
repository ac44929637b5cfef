"""``lt backends``: what the installed packages announce for each port."""

import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from importlib import metadata

from lt_cli.exits import Exit
from lt_cli.plain import PlainParser
from lt_cli.table import table

GROUPS = {
    "lt.backends": "Trainer(backend=...)",
    "lt.worlds": "Trainer(world=...)",
    "lt.feeds": "Trainer(feed=...)",
    "lt.stores": "Trainer(store=...)",
    "lt.callbacks": "defaults of Trainer",
    "lt.profilers": "Trainer(profiler=...)",
    "lt.seeding": "seed_everything",
}
"""The groups of entry points, with what each answers to."""


@dataclass(frozen=True, slots=True)
class Announced:
    """One entry point.

    Attributes:
        group: such as ``lt.backends``.
        name: under which it is asked for.
        point: the entry point, not loaded.
    """

    group: str
    name: str
    point: metadata.EntryPoint

    @property
    def package(self) -> str:
        """The package that announces it, with its version."""
        found = self.point.dist
        return f"{found.name} {found.version}" if found else "unknown"


def announced(groups: Iterable[str] = GROUPS) -> list[Announced]:
    """Return what is announced in some groups; nothing is imported by it."""
    return [
        Announced(group, point.name, point)
        for group in groups
        for point in sorted(metadata.entry_points(group=group), key=lambda one: one.name)
    ]


def main(arguments: Sequence[str]) -> int:
    """Print a table of what is announced."""
    PlainParser(
        prog="lt backends",
        description="Show what the installed packages announce, by the groups of entry points. "
        "Nothing is imported.",
    ).parse_args(arguments)
    rows = [(one.group, one.name, one.package, one.point.value) for one in announced()]
    empty = [(group, "-", "nothing installed", "") for group in GROUPS if not announced([group])]
    sys.stdout.write(table(("group", "name", "package", "object"), sorted([*rows, *empty])))
    return Exit.OK
