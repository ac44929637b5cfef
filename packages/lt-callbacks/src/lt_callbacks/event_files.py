"""TensorBoard's event files, written by torch's SummaryWriter. Needs tensorboard and torch."""

from collections.abc import Mapping
from typing import Any

from tensorboard.compat.proto.summary_pb2 import Summary  # type: ignore[import-untyped]
from torch.utils.tensorboard import SummaryWriter
from torch.utils.tensorboard.summary import hparams

__all__ = ["SummaryWriter", "write_hyperparameters", "write_scalars"]


def write_scalars(writer: SummaryWriter, scalars: Mapping[str, float], step: int | None) -> None:
    """Write the scalars of one step as one event: a third of the time of one event for each."""
    values = [Summary.Value(tag=name, simple_value=value) for name, value in scalars.items()]
    _add(writer, Summary(value=values), step)


def write_hyperparameters(
    writer: SummaryWriter, params: Mapping[str, Any], metrics: Mapping[str, float], step: int | None
) -> None:
    """Write what the tab HPARAMS shows: the parameters, and which scalars to compare them by."""
    for summary in hparams(dict(params), dict(metrics)):
        _add(writer, summary, step)


def _add(writer: Any, summary: Summary, step: int | None) -> None:
    writer.file_writer.add_summary(summary, step)
