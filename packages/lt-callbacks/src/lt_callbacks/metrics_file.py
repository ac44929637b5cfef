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

    Attributes:
        path: the file.
        rows: how many rows it has, those that wait included.
        last_step: the step of the last row, None where there is none.

    Raises:
        ValueError: the file exists and has no column ``step``: it is not ours to continue.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._waiting: list[Row] = []
        self._columns: list[str] = []
        self.rows = 0
        self.last_step: int | None = None
        self._exists = path.exists()
        if self._exists:
            self._continue()

    def add(self, row: Row) -> None:
        """Take in a row; ``flush`` writes it."""
        self._waiting.append(row)
        self.rows += 1
        self.last_step = int(row["step"])

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

    def cut(self, *, rows: int, step: int) -> None:
        """Take away the rows that came after a moment, and the columns that only they had.

        Args:
            rows: how many rows there were at that moment.
            step: the step of the last of them. Where the row at that place has another one, the
                file is not the one that was counted: then the rows of later steps go.
        """
        self.flush()
        all_rows = self._read() if self._exists else []
        if len(all_rows) >= rows > 0 and _step(all_rows[rows - 1]) == step:
            kept = all_rows[:rows]
        else:
            kept = [row for row in all_rows if _step(row) <= step]
        if len(kept) == len(all_rows):
            return
        with_values = {name for row in kept for name, value in row.items() if value}
        self._columns = sorted({"step", *with_values})
        rows_left = [{name: row[name] for name in self._columns} for row in kept]
        write_whole(self.path, _as_csv(self._columns, rows_left, header=True))
        self._count(kept)

    def _count(self, rows: list[Row]) -> None:
        self.rows = len(rows)
        self.last_step = _step(rows[-1]) if rows else None

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
        self._count(self._read())


def _step(row: Row) -> int:
    return int(float(row["step"] or 0))  # another program may have written it


def _as_csv(columns: Iterable[str], rows: Iterable[Row], *, header: bool) -> str:
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, fieldnames=list(columns), lineterminator="\n")
    if header:
        writer.writeheader()
    writer.writerows(rows)
    return buffer.getvalue()
