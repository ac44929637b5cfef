"""A CSV file of numbers that grows by rows and by columns, and never loses a row it had."""

import csv
import io
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, final

from lt_callbacks.whole_file import write_whole

Row = Mapping[str, Any]


@final
class MetricsFile:
    """Rows with named values, in Lightning's layout: a sorted header, empty where nothing is.

    Rows wait in memory until :meth:`flush`. A row that brings a new column makes the file be
    written anew beside itself and put in its place in one step, so that a crash leaves either the
    old file or the new one. A file that exists already is continued; what a crash may have left of
    a last line that was not written to its end is dropped.

    Raises:
        ValueError: the file exists and has no column ``step``: it is not ours to continue.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._waiting: list[Row] = []
        self._columns: list[str] = []
        self._exists = path.exists()
        if self._exists:
            self._continue()

    def add(self, row: Row) -> None:
        """Take in a row; ``flush`` writes it."""
        self._waiting.append(row)

    def flush(self) -> None:
        """Write the rows that wait."""
        if not self._waiting:
            return
        columns = sorted({*self._columns, *(name for row in self._waiting for name in row)})
        if self._exists and columns == self._columns:
            with self.path.open("a", newline="", encoding="utf-8") as file:
                file.write(_as_csv(columns, self._waiting, header=False))
        else:
            rows = [*self._read(), *self._waiting] if self._exists else self._waiting
            write_whole(self.path, _as_csv(columns, rows, header=True))
        self._columns, self._exists, self._waiting = columns, True, []

    def _read(self) -> list[Row]:
        with self.path.open(newline="", encoding="utf-8") as file:
            return list(csv.DictReader(file))

    def _continue(self) -> None:
        text = self.path.read_bytes().decode("utf-8", errors="replace")
        whole = text[: text.rfind("\n") + 1]
        if not whole:  # not even a header: nothing to continue
            self._exists = False
            return
        self._columns = next(csv.reader(io.StringIO(whole)))
        if "step" not in self._columns:
            raise ValueError(
                f"A metrics file has a column 'step'. Received {self.path}, whose first line is "
                f"{whole.splitlines()[0]!r}. Choose another version or name, or move the file."
            )
        if whole != text:
            write_whole(self.path, whole)


def _as_csv(columns: Iterable[str], rows: Iterable[Row], *, header: bool) -> str:
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, fieldnames=list(columns), lineterminator="\n")
    if header:
        writer.writeheader()
    writer.writerows(rows)
    return buffer.getvalue()
