"""The picture of a learning-rate range test, by matplotlib."""

from collections.abc import Sequence
from typing import Any

from matplotlib import pyplot


def draw(
    rates: Sequence[float],
    losses: Sequence[float],
    *,
    logarithmic: bool,
    marked: int | None,
    ax: Any,
    show: bool,
) -> Any:
    """Draw losses over learning rates; return the figure.

    Args:
        rates: the learning rates.
        losses: the loss at each.
        logarithmic: whether the axis of the rates is.
        marked: the index of a point to mark in red, or None.
        ax: the axes to draw into; None for a new figure.
        show: whether to show the figure.
    """
    axes: Any = pyplot.subplots()[1] if ax is None else ax
    axes.plot(rates, losses)
    if logarithmic:
        axes.set_xscale("log")
    axes.set_xlabel("Learning rate")
    axes.set_ylabel("Loss")
    if marked is not None:
        axes.plot(rates[marked], losses[marked], markersize=10, marker="o", color="red")
    if show:
        pyplot.show()
    return axes.figure
