"""Strategies: how a program is spread over processes, as plain values.

A strategy is a word (:data:`WORDS`) or one of the objects here. Their arguments are named as in
Lightning where it has them.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Set
from dataclasses import dataclass, fields, replace
from datetime import timedelta
from typing import Any, Literal, final

import torch.distributed as dist
from torch import nn

from lt_accel.spelling import suggestion

ALONE = ("auto", "single_device")
"""Strategies that mean one device in one process."""


@dataclass(frozen=True, kw_only=True, repr=False)
class Strategy(ABC):
    """What every strategy with several processes says.

    Attributes:
        timeout: how long a rank waits for others in a collective.
        hang_timeout: seconds without a step, a safe point or a collective after which a rank counts
            as hanging, its stack is shown and the group is ended; None for never. Counted from a
            rank's first step on, so that preparing data may take as long as it likes.
        start_method: how we start processes: ``"fork"``, ``"spawn"`` or ``"forkserver"``, with
            Lightning's ``"popen"`` for the first; without meaning where somebody else starts them.
        process_group_backend: what carries tensors, ``"gloo"`` or ``"nccl"``, say; None for what
            suits the device.
    """

    timeout: timedelta = timedelta(minutes=30)
    hang_timeout: float | None = 600.0
    start_method: Literal["fork", "spawn", "forkserver", "popen"] = "fork"
    process_group_backend: str | None = None

    @property
    @abstractmethod
    def name(self) -> str:
        """What it is called where choices are told."""

    def __repr__(self) -> str:
        """Return the call that makes it: what is as it would be anyway is left out."""
        told = [(field, getattr(self, field.name)) for field in fields(self)]
        words = [f"{field.name}={value!r}" for field, value in told if value != field.default]
        return f"{type(self).__name__}({', '.join(words)})"

    def __post_init__(self) -> None:
        """Check what all strategies have.

        Raises:
            TypeError: a time is none.
            ValueError: a time is not positive, or there is no such start method or backend.
        """
        if not isinstance(self.timeout, timedelta):
            raise TypeError(
                f"timeout is a datetime.timedelta. Received timeout={self.timeout!r}. Use "
                "timedelta(seconds=...)."
            )
        if self.timeout <= timedelta():
            raise ValueError(f"timeout is longer than nothing. Received {self.timeout!r}.")
        if self.hang_timeout is not None and not _is_positive(self.hang_timeout):
            raise ValueError(
                "hang_timeout is a number of seconds above 0, or None for no watch. Received "
                f"hang_timeout={self.hang_timeout!r}."
            )
        if self.start_method not in START_METHODS:
            raise ValueError(
                f"start_method is one of {', '.join(START_METHODS)}. Received "
                f"start_method={self.start_method!r}."
                f"{suggestion(str(self.start_method), START_METHODS)}"
            )
        if self.process_group_backend is not None:
            _check_carrier(self.process_group_backend)


def _is_positive(number: Any) -> bool:
    return isinstance(number, int | float) and not isinstance(number, bool) and number > 0


def _check_carrier(word: Any) -> None:
    """Check the name of what carries tensors, or of one for each device: ``"cpu:gloo,cuda:nccl"``.

    Raises:
        TypeError: it is no string.
        ValueError: torch knows none of that name.
    """
    if not isinstance(word, str):
        raise TypeError(
            f"process_group_backend is a name. Received process_group_backend={word!r}. Use "
            "'gloo', or leave it out."
        )
    if not dist.is_available():  # then there are no processes to connect
        return
    known = [name for name in dist.Backend.backend_list if name != "undefined"]
    for part in word.split(","):
        name = part.rpartition(":")[2].strip().lower()
        if name not in known:
            raise ValueError(
                f"process_group_backend is one of {', '.join(known)}, or one for each device as in "
                f"'cpu:gloo,cuda:nccl'. Received process_group_backend={word!r}."
                f"{suggestion(name, known)} Register one of your own first."
            )


START_METHODS = ("fork", "spawn", "forkserver", "popen")


@final
@dataclass(frozen=True, kw_only=True, repr=False)
class DDP(Strategy):
    """Every rank holds the whole program; gradients are averaged while they are computed.

    The arguments are those of torch's ``DistributedDataParallel``.

    Attributes:
        find_unused_parameters: search each step's graph for parameters that got no gradient. Costs
            a walk over the graph; needed where a step leaves parameters out.
        static_graph: promise that each step uses the same parameters in the same way.
        gradient_as_bucket_view: let gradients be views of what travels: saves their memory.
        bucket_cap_mb: megabytes of gradients that travel together; None for torch's choice.
        broadcast_buffers: take rank 0's buffers before each training step.
        ddp_comm_hook: what is done to gradients on their way:
            ``torch.distributed.algorithms.ddp_comm_hooks.default_hooks.bf16_compress_hook``, say.
        ddp_comm_state: what the hook is given.
        ddp_comm_wrapper: what the hook is wrapped in, ``fp16_compress_wrapper``, say.
    """

    find_unused_parameters: bool = False
    static_graph: bool = False
    gradient_as_bucket_view: bool = False
    bucket_cap_mb: int | None = None
    broadcast_buffers: bool = True
    ddp_comm_hook: Callable[..., Any] | None = None
    ddp_comm_state: Any = None
    ddp_comm_wrapper: Callable[..., Any] | None = None

    @property
    def name(self) -> str:
        """What it is called."""
        return "DDP"

    def __post_init__(self) -> None:
        """Check that the options fit each other.

        Raises:
            ValueError: they don't.
        """
        super().__post_init__()
        if self.ddp_comm_hook is None and (self.ddp_comm_state or self.ddp_comm_wrapper):
            raise ValueError(
                "ddp_comm_state and ddp_comm_wrapper belong to a hook. Received "
                "ddp_comm_hook=None. Give one, or leave them out."
            )


@final
@dataclass(frozen=True, kw_only=True, repr=False)
class FSDP(Strategy):
    """Every rank holds a part of each parameter, and gathers whole ones when they are used.

    This is torch's second version of it, ``fully_shard``.

    Attributes:
        auto_wrap_policy: which modules gather their parameters on their own: a set of classes, or
            a function from a module to whether it does. None for the program's direct children,
            those within lists and dicts of modules each, as far as they have parameters that no
            other module has. The program gathers what is left.
        mixed_precision: torch's ``MixedPrecisionPolicy``; None for the one of ``precision``.
        cpu_offload: keep parameters, gradients and optimizer in the host's memory.
        reshard_after_forward: drop gathered parameters between forward and backward; None for
            torch's choice: all but the program's own.
        device_mesh: ``(replicas, shards)``, to shard within groups of ranks only.
    """

    auto_wrap_policy: Set[type[nn.Module]] | Callable[[nn.Module], bool] | None = None
    mixed_precision: Any = None
    cpu_offload: bool = False
    reshard_after_forward: bool | int | None = None
    device_mesh: tuple[int, int] | None = None

    @property
    def name(self) -> str:
        """What it is called."""
        return "FSDP2"

    def __post_init__(self) -> None:
        """Check what can be known without processes.

        Raises:
            TypeError: ``device_mesh`` is no pair of counts.
        """
        super().__post_init__()
        mesh: Any = self.device_mesh
        if mesh is None:
            return
        sizes: tuple[Any, ...] = mesh if isinstance(mesh, tuple) else ()
        if len(sizes) != 2 or not all(type(size) is int and size > 0 for size in sizes):
            raise TypeError(
                "device_mesh is (replicas, shards), two counts from 1. Received "
                f"device_mesh={mesh!r}. Use (1, n) for n shards, or leave it out."
            )


@final
@dataclass(frozen=True, kw_only=True, repr=False)
class TensorParallel(Strategy):
    """The program spreads itself over a mesh of devices, in ``configure_model``.

    There ``self.device_mesh`` has the dimensions ``"data_parallel"`` and ``"tensor_parallel"``, for
    torch's ``parallelize_module`` and ``fully_shard``.

    Attributes:
        data_parallel_size: groups of ranks that get batches of their own; "auto" for the machines.
        tensor_parallel_size: ranks of a group, which share their batches; "auto" for the ranks of a
            machine.
    """

    data_parallel_size: int | Literal["auto"] = "auto"
    tensor_parallel_size: int | Literal["auto"] = "auto"

    @property
    def name(self) -> str:
        """What it is called."""
        return "tensor parallel"

    def __post_init__(self) -> None:
        """Check the sizes.

        Raises:
            ValueError: one is none.
        """
        super().__post_init__()
        for name in ("data_parallel_size", "tensor_parallel_size"):
            size = getattr(self, name)
            if size != "auto" and (isinstance(size, bool) or not isinstance(size, int) or size < 1):
                raise ValueError(f"{name} is 'auto' or a count from 1. Received {name}={size!r}.")

    def sizes(self, processes: int, num_nodes: int) -> tuple[int, int]:
        """Return the sizes of both dimensions for a machine's processes on so many machines.

        Raises:
            ValueError: they don't multiply to the number of all processes.
        """
        total = processes * num_nodes
        asked = self.data_parallel_size
        if self.tensor_parallel_size != "auto":
            tensor = self.tensor_parallel_size
        else:
            tensor = processes if asked == "auto" else max(total // asked, 1)
        data = max(total // tensor, 1) if asked == "auto" else asked
        if data * tensor != total:
            raise ValueError(
                "data_parallel_size times tensor_parallel_size is the number of processes. "
                f"Received {data} times {tensor}, and {total} processes. Change one of them."
            )
        return data, tensor


DDPStrategy = DDP
FSDPStrategy = FSDP
ModelParallelStrategy = TensorParallel
"""Lightning's names of them."""

WORDS: dict[str, Strategy] = {
    "ddp": DDP(),
    "ddp_fork": DDP(),
    "ddp_notebook": DDP(),
    "ddp_spawn": DDP(start_method="spawn"),
    "ddp_find_unused_parameters_true": DDP(find_unused_parameters=True),
    "ddp_find_unused_parameters_false": DDP(),
    "fsdp": FSDP(),
    "fsdp_cpu_offload": FSDP(cpu_offload=True),
}
"""Strategies by name. ``"ddp"`` forks, where Lightning's runs the script again."""


def strategy_named(word: Any) -> Strategy | None:
    """Return the strategy of a word, or the object itself; None for those of one device.

    Raises:
        TypeError: it is neither.
        ValueError: there is none of that name.
    """
    if isinstance(word, Strategy):
        return replace(word, start_method="fork") if word.start_method == "popen" else word
    if not isinstance(word, str):
        raise TypeError(
            "strategy is a name, or one of DDP(...), FSDP(...) and TensorParallel(...). Received "
            f"{word!r} of type {type(word).__name__}."
        )
    if word in ALONE:
        return None
    if word not in WORDS:
        known = [*ALONE, *WORDS]
        raise ValueError(
            f"strategy is one of {', '.join(known)}, or one of DDP(...), FSDP(...) and "
            f"TensorParallel(...). Received strategy={word!r}.{suggestion(word, known)}"
        )
    return WORDS[word]
