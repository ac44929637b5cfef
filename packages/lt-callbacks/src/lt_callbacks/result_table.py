"""What a test run logged, as a table for a person."""

from collections.abc import Mapping


def result_table(metrics: Mapping[str, float], *, title: str, rule: str = "─") -> str:
    """Return a table with a line for each name, in alphabetical order.

    Args:
        metrics: name to number. Names that end in ``/dataloader_idx_<n>`` share a line, with a
            column for each loader. Where a value was logged both ways, that of the epoch is shown.
        title: the heading of the first column.
        rule: the character for horizontal lines.

    >>> print(result_table({"loss": 0.25, "acc": 0.975}, title="Test metric", rule="-"))
    ---------------------
     Test metric   Value
    ---------------------
     acc           0.975
     loss           0.25
    ---------------------
    """
    cells: dict[str, dict[str, str]] = {}
    loaders: list[str] = []
    for name in sorted(without_repeats(metrics)):
        base, _, loader = name.partition("/dataloader_idx_")
        cells.setdefault(base, {})[loader] = f"{float(metrics[name]):.6g}"
        if loader not in loaders:
            loaders.append(loader)
    loaders.sort(key=lambda loader: int(loader) if loader.isdecimal() else -1)
    headings = [f"Loader {loader}" if loader else "Value" for loader in loaders]
    lines = [[base, *(row.get(loader, "") for loader in loaders)] for base, row in cells.items()]
    widths = [max(map(len, column)) for column in zip([title, *headings], *lines, strict=True)]
    bar = rule * (sum(widths) + 3 * len(widths) - 1)
    return "\n".join(
        [bar, _line([title, *headings], widths), bar, *(_line(row, widths) for row in lines), bar]
    )


def _line(cells: list[str], widths: list[int]) -> str:
    first, *others = cells
    numbers = [cell.rjust(width) for cell, width in zip(others, widths[1:], strict=True)]
    return " " + "   ".join([first.ljust(widths[0]), *numbers])


def without_repeats(metrics: Mapping[str, float]) -> dict[str, float]:
    """Return the metrics without other spellings of those of the epoch.

    >>> without_repeats({"loss": 2.0, "loss_step": 1.0, "loss_epoch": 2.0, "lr_step": 0.1})
    {'loss_epoch': 2.0, 'lr_step': 0.1}
    """
    return {name: metrics[name] for name in metrics if not _is_repeated(name, metrics)}


def _is_repeated(name: str, metrics: Mapping[str, float]) -> bool:
    """Whether a name is only another spelling of one that ends in ``_epoch``."""
    base, slash, loader = name.partition("/")
    return f"{base.removesuffix('_step')}_epoch{slash}{loader}" in metrics
