"""FSDP2 and tensor parallelism: every rank holds a part of the parameters.

The parameters are torch's DTensors, so that optimizers, ``state_dict`` and clipping work on them.
"""

from abc import abstractmethod
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypeVar, cast, final

import torch
from torch import nn
from torch.distributed.device_mesh import init_device_mesh

from lt_accel.precision import Precision
from lt_accel.sharding import STEPS, Sharding, beating, check_module, take_from_first
from lt_accel.strategies import FSDP, TensorParallel
from lt_accel.world import TorchWorld

try:
    from torch.distributed.fsdp import (
        CPUOffloadPolicy,
        FSDPModule,
        MixedPrecisionPolicy,
        fully_shard,
    )
except ImportError:  # torch before 2.6, which select refuses for FSDP
    FSDPModule = None  # type: ignore[assignment, misc]

Fn = TypeVar("Fn", bound=Callable[..., Any])

AVAILABLE = FSDPModule is not None


def check_policy(policy: Any) -> None:
    """Check that ``mixed_precision`` is what ``fully_shard`` takes.

    Raises:
        TypeError: it isn't.
    """
    if not isinstance(policy, MixedPrecisionPolicy):
        raise TypeError(
            "mixed_precision is a torch.distributed.fsdp.MixedPrecisionPolicy. Received "
            f"mixed_precision={policy!r}. Make one, or use precision=..."
        )


class _Root(nn.Module):
    """The outermost module that gathers parameters: it holds the program, and calls its steps.

    So a step's first and last moment are the root's, whatever parts of the program it calls, and
    parameters that belong to the program itself are there in between.
    """

    def __init__(self, program: nn.Module) -> None:
        super().__init__()
        self.program = program

    def forward(self, fn: Callable[..., Any], *arguments: Any, **words: Any) -> Any:
        return fn(*arguments, **words)


class _Parted(Sharding):
    """What both have: a program is spread once, and backward passes count as waiting."""

    collective_forward = True

    def __init__(self, world: TorchWorld) -> None:
        """Remember the world."""
        self._world = self.world = world
        self._spread: Any = None  # the program, once it is

    def spread(self, program: Any, device: torch.device, convert: Callable[[Any], bool]) -> bool:
        """Spread a program, once."""
        check_module(program, self.reason)
        if self._spread is program:
            return False
        with self._world.pulse:
            self._part(program, device, convert)
        self._spread = program
        return True

    def device(self, default: torch.device) -> torch.device:
        """Return the device of this rank."""
        return self._world.device

    def begin_training(self, program: Any, optimizers: Iterable[Any]) -> None:
        """Do nothing: the parts are ready for gradients."""

    @abstractmethod
    def _part(
        self, program: nn.Module, device: torch.device, convert: Callable[[Any], bool]
    ) -> None:
        """Spread a program."""

    def differentiate(self, loss: Any, backward: Callable[[], None], *, sync: bool) -> None:
        """Run a backward pass, in which ranks exchange gradients."""
        with self._world.pulse:
            backward()


@final
class FullySharded(_Parted):
    """Spreads parameters by ``fully_shard``."""

    def __init__(self, strategy: FSDP, world: TorchWorld, precision: Precision) -> None:
        """Remember the options."""
        super().__init__(world)
        self._strategy, self._precision = strategy, precision
        self._root: Any = None
        self._syncs = True
        self._mesh: Any = None
        self.reason = strategy.name

    def device_mesh(self) -> Any:
        """Return the mesh that parameters are spread over."""
        if self._mesh is None and self._world.is_up:
            sizes = self._strategy.device_mesh or (self._world.world_size,)
            names = ("replicate", "shard")[-len(sizes) :]
            kind = self._world.device.type
            self._mesh = init_device_mesh(kind, sizes, mesh_dim_names=names)
        return self._mesh

    def _part(
        self, program: nn.Module, device: torch.device, convert: Callable[[Any], bool]
    ) -> None:
        if any(isinstance(module, FSDPModule) for module in program.modules()):
            raise ValueError(
                "A program is spread once. Received a "
                f"{type(program).__name__} whose modules are sharded already. Leave fully_shard "
                "to strategy='fsdp', or use strategy=TensorParallel() with a plan of your own."
            )
        self._precision.convert(program)
        take_from_first(program)
        words = self._words()
        for module in self._units(program):
            fully_shard(module, **words)
        root = _Root(program)
        fully_shard(root, **words)
        if not self._strategy.cpu_offload:
            program.to(device)  # buffers: parameters are there
        self._root = root

    def _words(self) -> dict[str, Any]:
        options, precision = self._strategy, self._precision
        policy = options.mixed_precision
        if policy is None:
            policy = MixedPrecisionPolicy(
                param_dtype=precision.autocast,
                reduce_dtype=torch.float32 if precision.autocast else None,
                # Inputs are the step's: its batch stays what it is, as on one process.
                cast_forward_inputs=False,
            )
        words: dict[str, Any] = {"mesh": self.device_mesh(), "mp_policy": policy}
        if options.cpu_offload:
            words["offload_policy"] = CPUOffloadPolicy()
        if options.reshard_after_forward is not None:
            words["reshard_after_forward"] = options.reshard_after_forward
        return words

    def _units(self, program: nn.Module) -> Iterator[nn.Module]:
        """Yield the modules that gather their parameters on their own, inner ones first."""
        policy = self._strategy.auto_wrap_policy
        if policy is None:
            occurrences = _occurrences(program)
            for unit in _called(program.children()):
                own = _occurrences(unit)
                # What others hold too, tied weights say, must be there for them as well.
                if own and all(occurrences[key] == count for key, count in own.items()):
                    yield unit
            return
        choose = policy if callable(policy) else lambda module: type(module) in policy
        modules = [module for module in program.modules() if module is not program]
        for module in reversed(modules):
            if choose(module) and any(True for _ in module.parameters()):
                yield module

    def wrap(self, fn: Fn, phase: str) -> Fn:
        """Send steps through the root, those of an open window without reducing gradients."""
        root, sync, beat = self._root, phase != "accumulate", self._world.pulse.beat

        def step(*arguments: Any, **words: Any) -> Any:
            beat()
            if sync is not self._syncs:
                root.set_requires_gradient_sync(sync)
                self._syncs = sync
            try:
                return root(fn, *arguments, **words)
            except RuntimeError as error:
                self._explain(error)
                raise

        return cast(Fn, step) if phase in STEPS else fn

    def differentiate(self, loss: Any, backward: Callable[[], None], *, sync: bool) -> None:
        """Run a backward pass, in which ranks exchange gradients."""
        try:
            super().differentiate(loss, backward, sync=sync)
        except RuntimeError as error:
            self._explain(error)
            raise

    def _explain(self, error: RuntimeError) -> None:
        if MIXED in str(error) and self._strategy.auto_wrap_policy != set():
            raise RuntimeError(
                "FSDP gathers the parameters of a module when it is called. Received a step that "
                "uses those of one without calling it, such as self.layer.weight. Call the "
                "module, or use strategy=FSDP(auto_wrap_policy=set()), which gathers all "
                "parameters for the whole step."
            ) from error


HOLDERS = (nn.ModuleList, nn.ModuleDict)

MIXED = "mixed torch.Tensor and DTensor"
"""What torch says of an operation on a parameter that was not gathered."""


def _called(modules: Iterable[nn.Module]) -> Iterator[nn.Module]:
    """Yield modules that can be called, those of lists and dicts of modules instead of these.

    What has no forward, such as a ParameterList, is used in other ways that can't be followed.
    """
    for module in modules:
        if getattr(type(module), "forward", None) is not nn.Module.forward:
            yield module
        elif isinstance(module, HOLDERS):
            yield from _called(module.children())


def _occurrences(module: nn.Module) -> Counter[int]:
    """Count under how many names a module has each of its parameters."""
    return Counter(id(p) for _, p in module.named_parameters(remove_duplicate=False))


@final
class ByPlan(_Parted):
    """Takes a program that has spread itself over the mesh, in ``configure_model``."""

    def __init__(self, strategy: TensorParallel, world: TorchWorld) -> None:
        """Remember the sizes."""
        super().__init__(world)
        self._strategy = strategy
        self._mesh: Any = None
        self.reason = strategy.name

    def device_mesh(self) -> Any:
        """Return the mesh, with ``"data_parallel"`` and ``"tensor_parallel"``."""
        if self._mesh is None and self._world.is_up:
            local = len(self._world.devices)
            sizes = self._strategy.sizes(local, self._world.world_size // local)
            names = ("data_parallel", "tensor_parallel")
            self._mesh = init_device_mesh(self._world.device.type, sizes, mesh_dim_names=names)
        return self._mesh

    def _part(
        self, program: nn.Module, device: torch.device, convert: Callable[[Any], bool]
    ) -> None:
        """Check that the program has spread itself, and bring the rest of it along."""
        mesh = self.device_mesh()
        spread = any(hasattr(parameter, "placements") for parameter in program.parameters())
        if not spread:
            raise ValueError(
                "strategy=TensorParallel() leaves the plan to the program. Received a "
                f"{type(program).__name__} none of whose parameters is spread. Call "
                "parallelize_module(self, self.device_mesh['tensor_parallel'], plan) in "
                "configure_model."
            )
        data = mesh["data_parallel"].size()
        if data > 1 and not any(isinstance(m, FSDPModule) for m in program.modules()):
            raise ValueError(
                "Ranks with batches of their own must agree on gradients. Received "
                f"data_parallel_size={data}, and a {type(program).__name__} that is not sharded "
                "over it. Call fully_shard(self, mesh=self.device_mesh['data_parallel']) in "
                "configure_model."
            )
        convert(program)
        take_from_first(program)
        self._program = program

    def wrap(self, fn: Fn, phase: str) -> Fn:
        """Call steps as the program's own forward, if that is what gathers its parameters."""
        if phase not in STEPS:
            return fn
        if FSDPModule is None or not isinstance(self._program, FSDPModule):
            return beating(fn, self._world)
        program: Any = self._program
        sync = phase != "accumulate"

        def step(*arguments: Any, **words: Any) -> Any:
            program.set_requires_gradient_sync(sync)
            return called_through(program, fn, *arguments, **words)

        return beating(cast(Fn, step), self._world)


def called_through(
    program: nn.Module, fn: Callable[..., Any], *arguments: Any, **words: Any
) -> Any:
    """Call a function in place of a module's forward, so that the module's hooks run around it."""

    def forward(*inner: Any, **named: Any) -> Any:
        del program.__dict__["forward"]  # the function may call the module itself
        return fn(*inner, **named)

    program.__dict__["forward"] = forward
    try:
        return program(*arguments, **words)
    finally:
        program.__dict__.pop("forward", None)
