"""DDP: every rank holds the whole program, and gradients are averaged in the backward pass."""

import gc
import inspect
import math
import re
import uuid
from collections.abc import Callable, Iterable
from typing import Any, TypeVar, cast, final

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.nn.parallel.distributed import _find_tensors

from lt_accel.sharding import Sharding, beating, check_module, take_from_first
from lt_accel.strategies import DDP
from lt_accel.world import TorchWorld

Fn = TypeVar("Fn", bound=Callable[..., Any])

PARAMETERS = inspect.signature(DistributedDataParallel.__init__).parameters


UNUSED = re.compile(r"Parameter indices which did not receive grad for rank \d+:((?: \d+)+)")
"""What torch says in a forward after a step that left parameters out."""

NAMED_AT_MOST = 5


class _Wrapper(DistributedDataParallel):
    """Torch's wrapper of a program, around whole steps, whatever parts of the program they use.

    A step goes through what ``forward`` does around the program's own, less the label for torch's
    profiler and the call of a module, which take longer than the rest. Torch's ``replicate`` rests
    on the same names.
    """

    prepared = False
    """Whether a backward pass within the step has been prepared for."""

    def run(self, fn: Callable[..., Any], arguments: Any, words: Any) -> Any:
        self._pre_forward()  # type: ignore[no-untyped-call]
        around = DistributedDataParallel._active_ddp_module  # noqa: SLF001
        DistributedDataParallel._active_ddp_module = self  # noqa: SLF001 - for torch.compile
        try:
            output = fn(*arguments, **words)
        finally:
            DistributedDataParallel._active_ddp_module = around  # noqa: SLF001
        if output is None or self.prepared:  # a backward pass won't come, or was
            self.require_backward_grad_sync = False
        return self._post_forward(output)  # type: ignore[no-untyped-call]


@final
class Replicated(Sharding):
    """Trains through torch's ``DistributedDataParallel``; evaluates without it."""

    def __init__(self, strategy: DDP, world: TorchWorld, *, sync_batchnorm: bool = False) -> None:
        """Remember the options."""
        self._strategy, self._world = strategy, world
        self.world = world
        self._sync_batchnorm = sync_batchnorm
        self._parallel: _Wrapper | None = None
        self._averaged: dict[str, nn.Parameter] = {}  # in the order in which torch counts them
        self._within = False  # whether a step is under way
        self._records = False  # whether the next backward pass records a static graph
        self._owed = 0.0  # how many backward passes the last training forwards may be followed by
        self._differentiated = False  # whether one of them was
        self._forwards = 0  # that ranks agree after, in this training
        self._training = ""  # what it is called, the same on all ranks and unlike others
        self.reason = strategy.name

    def spread(self, program: Any, device: torch.device, convert: Callable[[Any], bool]) -> bool:
        """Move and convert; take the weights of rank 0."""
        check_module(program, "DDP")
        if self._sync_batchnorm:
            nn.SyncBatchNorm.convert_sync_batchnorm(program)
        changed = convert(program)
        with self._world.pulse:
            take_from_first(program)
        return changed

    def device(self, default: torch.device) -> torch.device:
        """Return the device of this rank."""
        return self._world.device

    def begin_training(self, program: Any, optimizers: Iterable[Any]) -> None:
        """Wrap the program, after the one that was trained before is let go."""
        self._parallel = None
        gc.collect()  # its hooks on the parameters go with it
        options = self._strategy
        words: dict[str, Any] = {}
        if options.bucket_cap_mb is not None:
            words["bucket_cap_mb"] = options.bucket_cap_mb
        if not options.broadcast_buffers:
            newer = "forward_sync_buffers"  # its name from torch 2.13 on
            words[newer if newer in PARAMETERS else "broadcast_buffers"] = False
        # Torch's list of what to leave out, in which the program's own parameters begin with a dot.
        left_out = getattr(program, "_ddp_params_and_buffers_to_ignore", ())
        self._averaged = {
            name: parameter
            for name, parameter in program.named_parameters()
            if parameter.requires_grad and (name if "." in name else f".{name}") not in left_out
        }
        if not self._averaged:
            raise ValueError(
                "DDP averages gradients. Received a program none of whose parameters requires one. "
                "Unfreeze some before the run, or use one process."
            )
        with self._world.pulse:
            parallel = _Wrapper(
                program,
                find_unused_parameters=options.find_unused_parameters,
                gradient_as_bucket_view=options.gradient_as_bucket_view,
                static_graph=options.static_graph,
                **words,
            )
        if hook := options.ddp_comm_hook:
            if options.ddp_comm_wrapper:
                hook = options.ddp_comm_wrapper(hook)
            parallel.register_comm_hook(options.ddp_comm_state, hook)
        self._training, self._forwards = self._world.broadcast(uuid.uuid4().hex), 0
        self._records = options.static_graph
        self._owed = 0.0
        self._parallel = parallel

    def wrap(self, fn: Fn, phase: str) -> Fn:
        """Send training steps through the wrapper, those of an open window without averaging."""
        if phase not in ("train", "accumulate"):
            return beating(fn, self._world)
        parallel, beat = self._trained(), self._world.pulse.beat
        flags = parallel.__dict__  # past a module's slow way of setting an attribute
        sync = phase == "train"

        def step(*arguments: Any, **words: Any) -> Any:
            beat()
            # Averaging within a window changes nothing but the time it takes; torch records a
            # static graph in the first backward pass, and can't where it does not average.
            flags["require_backward_grad_sync"] = sync or self._records
            flags["prepared"] = False
            self._within = True
            self._forwards += sync
            try:
                output = parallel.run(fn, arguments, words)
                if flags["require_backward_grad_sync"]:
                    self._expect(output)
                return output
            except RuntimeError as error:
                if told := self._unused(str(error)):
                    raise RuntimeError(told) from None
                raise
            finally:
                self._within = False
                if sync:  # no window is open: the next step takes rank 0's buffers
                    flags["require_forward_param_sync"] = True
                flags["require_backward_grad_sync"] = True

        return cast(Fn, step)

    def differentiate(self, loss: Any, backward: Callable[[], None], *, sync: bool) -> None:
        """Run a backward pass; one within a step, of manual optimization, is prepared here."""
        parallel = self._trained()
        if self._within and sync:
            if self._strategy.static_graph:
                raise ValueError(
                    "static_graph=True is for steps with one backward pass after them. Received a "
                    "backward pass within a step. Leave static_graph out."
                )
            parallel.require_forward_param_sync = True
            used = self._strategy.find_unused_parameters
            parallel.reducer.prepare_for_backward(list(_find_tensors(loss)) if used else [])
            parallel.prepared = True
        elif sync and not self._owed and self._world.world_size > 1:
            raise RuntimeError(
                "DDP averages the gradients of a forward that went through it. Received a backward "
                "pass with no step before it that was wrapped for 'train' and still has a loss to "
                "differentiate. Call the model in wrap_step(fn, 'train') once for each backward "
                "pass, add losses that share parameters up, or call backward within the step."
            )
        elif sync and self._owed:
            self._owed -= 1
        self._differentiated = self._differentiated or sync
        with self._world.pulse:
            backward()
        self._records = False

    def _unused(self, told: str) -> str | None:
        """Return what to say where torch told of parameters that were left out; None elsewhere."""
        found = UNUSED.search(told)
        if found is None or self._strategy.find_unused_parameters:
            return None
        names = list(self._averaged)
        unused = [names[int(index)] for index in found[1].split()]
        more = f" and {len(unused) - NAMED_AT_MOST} more" if len(unused) > NAMED_AT_MOST else ""
        return (
            "DDP averages the gradients of all parameters in each step. Received a step before "
            f"this one whose loss left out {', '.join(unused[:NAMED_AT_MOST])}{more}. Use "
            "strategy='ddp_find_unused_parameters_true' (DDP(find_unused_parameters=True) with "
            "other options), or freeze what is never used: requires_grad_(False)."
        )

    def all_skip(self, *, pending: bool) -> bool:
        """Meet the others in a backward pass without a gradient, and learn who else skips.

        A rank that skips counts itself before it comes here. Those that have a loss are where they
        always are, in their backward pass, which ends when this one does; then the count is known.
        """
        world, parallel = self._world, self._trained()
        if world.world_size == 1 or self._strategy.static_graph:
            return True
        name = f"skipped/{self._training}/{self._forwards}"
        world.count(name, int(not pending))
        held = list(self._averaged.values())
        # Torch takes what a loss does not depend on for unused, if it looks. One will do then, so
        # that the others stay unused if they are so on all ranks.
        unused = self._strategy.find_unused_parameters
        views = [p.view_as(p) for p in (held[:1] if unused else held)]
        parallel.reducer.prepare_for_backward(views if unused else [])
        with world.pulse:
            torch.autograd.backward(views, [torch.zeros_like(view) for view in views])
            assert held[0].grad is not None
            held[0].grad.reshape(-1)[:1].tolist()  # waits for the device, and so for the others
        return pending or world.count(name, 0) == world.world_size

    def _expect(self, output: Any) -> None:
        """Note how many backward passes may follow a forward: one for each tensor it returned.

        Forwards in a row may each be followed by one; torch averages once all parameters had
        theirs. What an object of an unknown class holds can't be counted.
        """
        if type(output) is Tensor and output.requires_grad:
            losses = 1.0  # the usual case, first
        else:
            losses = sum(1 for tensor in _find_tensors(output) if tensor.requires_grad) or math.inf
        self._owed = losses + (0.0 if self._differentiated else self._owed)
        self._differentiated = False

    def _trained(self) -> _Wrapper:
        if self._parallel is None:
            raise RuntimeError(
                "DDP averages the gradients of what optimizers hold. Received a training step "
                "before setup(program, optimizers). Set them up first."
            )
        return self._parallel
