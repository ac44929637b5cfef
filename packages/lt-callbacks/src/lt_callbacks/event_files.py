"""TensorBoard's event files, written by torch's SummaryWriter. Needs tensorboard and torch."""

import warnings
from collections.abc import Mapping
from typing import Any

import torch
from tensorboard.compat.proto.event_pb2 import Event, SessionLog  # type: ignore[import-untyped]
from tensorboard.compat.proto.summary_pb2 import Summary  # type: ignore[import-untyped]
from torch import Tensor, nn
from torch.utils.tensorboard import SummaryWriter
from torch.utils.tensorboard.summary import hparams

__all__ = [
    "SummaryWriter",
    "write_graph",
    "write_hyperparameters",
    "write_restart",
    "write_scalars",
]


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


def write_restart(writer: SummaryWriter, step: int) -> None:
    """Write that the run goes on from a step: TensorBoard hides older points from there on."""
    restart = SessionLog(status=SessionLog.START)
    for _ in range(2):  # the first one of a folder means nothing to it but a start
        writer.file_writer.add_event(Event(step=step, session_log=restart), step)  # type: ignore[attr-defined]


def write_graph(writer: SummaryWriter, model: nn.Module, example: Any) -> None:
    """Trace a model and write its graph; model and random generators stay as they are.

    Args:
        writer: where to.
        model: the model.
        example: a tensor, or a tuple of the arguments of ``forward``.

    Raises:
        ValueError: the example is neither.
    """
    if not isinstance(example, Tensor | tuple):
        raise ValueError(
            "The graph of a model is traced from a tensor, or a tuple of the arguments of forward. "
            f"Received {type(example).__name__}. Set example_input_array on the module, or pass "
            "it to log_graph."
        )
    tensors = [*model.parameters(), *model.buffers()]
    device = tensors[0].device if tensors else torch.device("cpu")
    modes = {module: module.training for module in model.modules()}
    devices = [device] if device.type == "cuda" else []
    try:
        model.eval()  # in training mode, tracing would move the statistics of a BatchNorm
        with torch.random.fork_rng(devices), torch.no_grad(), warnings.catch_warnings():
            # TensorBoard's graphs are made from torch.jit traces, and from nothing else.
            warnings.filterwarnings("ignore", ".*torch.jit.* deprecated", DeprecationWarning)
            writer.add_graph(model, _on(device, example))
    finally:
        for module, mode in modes.items():
            module.training = mode


def _on(device: torch.device, value: Any) -> Any:
    if isinstance(value, tuple):
        return tuple(_on(device, part) for part in value)
    return value.to(device) if isinstance(value, Tensor) else value


def _add(writer: Any, summary: Summary, step: int | None) -> None:
    writer.file_writer.add_summary(summary, step)
