"""How a RichProgressBar looks."""

from dataclasses import dataclass
from typing import Any, final


@final
@dataclass(frozen=True, slots=True)
class RichProgressBarTheme:
    """The styles of the parts of a :class:`~lt_callbacks.RichProgressBar`, in rich's words.

    Attributes:
        description: what runs: the epoch, or the loop.
        progress_bar: the bar while it fills.
        progress_bar_finished: the bar when it is full.
        progress_bar_pulse: the bar where its end is not known.
        batch_progress: batches done, of how many.
        time: the time it took, and that is left.
        processing_speed: batches in a second.
        metrics: the logged values.
        metrics_text_delimiter: what stands between two of them.
        metrics_format: how numbers are written, as in ``format``.
    """

    description: Any = ""
    progress_bar: Any = "#6206E0"
    progress_bar_finished: Any = "#6206E0"
    progress_bar_pulse: Any = "#6206E0"
    batch_progress: Any = ""
    time: Any = "dim"
    processing_speed: Any = "dim underline"
    metrics: Any = "italic"
    metrics_text_delimiter: str = " "
    metrics_format: str = ".3f"
