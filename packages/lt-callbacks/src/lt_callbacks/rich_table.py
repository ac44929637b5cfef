"""A summary as a table of rich. Needs rich."""

from rich import get_console
from rich.table import Table
from rich.text import Text

from lt_callbacks.summary import Summary


def show(summary: Summary, *, header_style: str) -> None:
    """Write a summary to rich's console."""
    console = get_console()
    columns = summary.columns
    if summary.layers:
        table = Table(header_style=header_style)
        for name in columns:
            right = name in ("Params", "FLOPs")
            table.add_column(name, justify="right" if right else "left", no_wrap=name == "Name")
        for cells in zip(*columns.values(), strict=True):
            table.add_row(*(Text(cell) for cell in cells))  # a shape is no markup
        console.print(table)
    for number, words in summary.totals:
        console.print(Text.assemble((f"{words}: ", "bold"), number))
    if summary.note:
        console.print(Text(summary.note))
