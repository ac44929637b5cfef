"""The automatic training step: everything around ``training_step`` that a run asks for.

The order is Lightning's: ``training_step``, gradients dropped, ``backward``, clipping, the
optimizer. Gradients are dropped once for each accumulation window, before its first backward.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

from lt_loop.hooks import HOOKS, check_arguments, overridden
from lt_loop.nonfinite import bind_judge, bind_note, bind_verdict, listens
from lt_loop.optimizers import wants_closure
from lt_loop.run import Run, Window
from lt_loop.stepping import SteppedOptimizer
from lt_loop.steps import TrainStep, bind_step, detached, loss_of


def automatic_step(run: Run) -> TrainStep:
    """Return the training step of a run with one optimizer.

    Args:
        run: the run, on whose window it notes whether a gradient is pending.

    Raises:
        TypeError: an override takes other arguments than its hook hands out.
        ValueError: the optimizer evaluates the loss itself, which accumulation can't follow.
    """
    (optimizer,) = run.optimizers
    window = run.window
    differentiate = _differentiate(run, optimizer, window)
    prepare = _prepare_step(run, optimizer)
    own = _own(run, "optimizer_step")
    if own or wants_closure(optimizer):
        return _step_with_closure(run, differentiate, prepare, window, own)
    take_step, judge, explain = run.ports.backend.step, bind_judge(run), bind_verdict(run)

    def step(batch: Any, batch_idx: int, size: int, closes: bool) -> tuple[Any, bool | None]:
        output = differentiate(batch, batch_idx, size, closes)
        if not (closes and window.pending):
            return output, None
        window.pending = False
        if judge and judge(optimizer, losses(output, size), batch_idx, size):
            return output, False
        if prepare:
            prepare()
        stepped = take_step(optimizer, None)
        if not stepped:
            explain(optimizer, losses(output, size), batch_idx, size)
        return output, stepped

    def losses(output: Any, size: int) -> list[Any]:
        return window.losses if size != 1 else [loss_of(output)]

    return step


def _step_with_closure(
    run: Run,
    differentiate: Callable[..., Any],
    prepare: Callable[[], None] | None,
    window: Window,
    own: Callable[..., Any] | None,
) -> TrainStep:
    """Return the step in which the optimizer, or ``optimizer_step``, evaluates the loss."""
    (optimizer,) = run.optimizers
    name = type(optimizer).__name__
    stepped = SteppedOptimizer(optimizer, run.ports.backend, (), run.program)
    stepped.told = bind_note(run)
    evaluates_itself = wants_closure(optimizer)
    _check_closure(run, name, evaluates_itself=evaluates_itself)

    def step(batch: Any, batch_idx: int, size: int, closes: bool) -> tuple[Any, bool | None]:
        if not closes:
            return differentiate(batch, batch_idx, size, closes), None
        outputs: list[Any] = []

        def closure() -> Any:
            outputs.append(differentiate(batch, batch_idx, size, closes))
            if window.pending:
                window.pending = False
                if prepare:
                    prepare()
            elif evaluates_itself:
                raise ValueError(
                    f"{name} evaluates the loss several times and can't skip a batch. Received "
                    f"None from training_step for batch {batch_idx}. Return the loss."
                )
            else:
                stepped.skips = True
            return loss_of(outputs[-1])

        if own:
            own(run.progress.epoch, batch_idx, stepped, closure)
        else:
            stepped.step(closure)
        if not outputs:
            raise RuntimeError(
                "optimizer_step calls the closure it is given, which runs training_step. Received "
                f"an override that did not, for batch {batch_idx}. Write "
                "optimizer.step(closure=optimizer_closure)."
            )
        return outputs[0], stepped.taken()

    return step


def _check_closure(run: Run, name: str, *, evaluates_itself: bool) -> None:
    if run.trainer.on_nonfinite:
        raise ValueError(
            "on_nonfinite stands between the gradients and the step. Received "
            f"on_nonfinite={run.trainer.on_nonfinite!r} and {name} stepped through a closure. "
            "Leave out optimizer_step, or look at the gradients in it."
        )
    if evaluates_itself and run.limits.accumulates:
        raise ValueError(
            f"{name} evaluates the loss of one batch several times. Received "
            f"accumulate_grad_batches={run.limits.accumulate_grad_batches}. Use larger batches."
        )


def _differentiate(run: Run, optimizer: Any, window: Window) -> Callable[..., Any]:
    """Return the function from a batch to what ``training_step`` returned, gradients added up."""
    training_step = bind_step(run, "train")
    pending_step = bind_step(run, "accumulate") if run.limits.accumulates else training_step
    on_zero_grad, on_backward = run.hooks["on_before_zero_grad"], run.hooks["on_before_backward"]
    after_backward = run.hooks["on_after_backward"]
    zero_grad, backward = _zero_grad(run, optimizer), _backward(run)
    keeps = run.limits.accumulates and listens(run)
    check_skip = _check_skip(run, window)

    def differentiate(batch: Any, batch_idx: int, size: int, closes: bool) -> Any:
        output = (training_step if closes else pending_step)(batch, batch_idx)
        loss = loss_of(output)
        if loss is None:
            if closes:
                check_skip(batch_idx)
            return output
        if not window.pending:
            for hook in on_zero_grad:
                hook(optimizer)
            zero_grad()
            window.pending = True
            window.losses.clear()
        if size != 1:
            if keeps:
                window.losses.append(detached(loss))
            loss = loss / size
        for hook in on_backward:
            hook(loss)
        backward(loss, sync=closes)
        for hook in after_backward:
            hook()
        return output

    return differentiate


def _check_skip(run: Run, window: Window) -> Callable[[int], None]:
    """Return what is called where the batch that closes a window has no loss on this rank."""
    world = run.ports.world
    all_skip = getattr(run.ports.backend, "all_skip", None)

    def check(batch_idx: int) -> None:
        if world.world_size > 1 and all_skip and not all_skip(pending=window.pending):
            raise ValueError(
                "Ranks average their gradients, so training_step returns None on all of them or "
                f"on none. Received None for batch {batch_idx} of epoch {run.progress.epoch} from "
                f"rank {world.rank}, and gradients from others. Decide by what all ranks know "
                "(self.all_gather), or return a loss of 0: 0 * sum(p.sum() for p in "
                "self.parameters())."
            )

    return check


def _prepare_step(run: Run, optimizer: Any) -> Callable[[], None] | None:
    """Return what is done before the optimizer steps: hooks, then clipping; None for nothing."""
    on_step, clip = run.hooks["on_before_optimizer_step"], run.ports.backend.clip
    value, algorithm = run.limits.gradient_clip_val, run.limits.gradient_clip_algorithm
    own_clip = _own(run, "configure_gradient_clipping")
    if not (on_step or own_clip or value):
        return None

    def prepare() -> None:
        if on_step:
            clip(optimizer, None, algorithm)  # hooks look at gradients in their true scale
        for hook in on_step:
            hook(optimizer)
        if own_clip:
            own_clip(optimizer, value, algorithm)
        elif value:
            clip(optimizer, value, algorithm)

    return prepare


def _zero_grad(run: Run, optimizer: Any) -> Callable[[], None]:
    if own := _own(run, "optimizer_zero_grad"):
        return lambda: own(run.progress.epoch, run.batch_idx, optimizer)
    return partial(run.ports.backend.zero_grad, optimizer)


def _backward(run: Run) -> Callable[..., None]:
    if own := _own(run, "backward"):
        return lambda loss, *, sync: own(loss)
    return run.ports.backend.backward


def _own(run: Run, name: str) -> Callable[..., Any] | None:
    """Return the program's own version of a step of the engine, its arguments checked."""
    if own := overridden(run.program, name):
        check_arguments(run.program, HOOKS[name], own)
        return run.profiling.hook(own, name, run.program)
    return None
