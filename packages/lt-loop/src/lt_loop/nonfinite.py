"""Steps that are not finite: found before the optimizer takes them, and what is done about them.

========================  =======================================================================
``on_nonfinite=``         a step whose gradients hold NaN or infinity
========================  =======================================================================
``None``                  is taken: nobody looks
``"raise"``               ends the run with a FloatingPointError
``"skip"``                is not taken, and counts as a skipped one
``"rollback"``            is not taken; the run goes back to its newest checkpoint and from there
                          on, leaving out the batches of this step
========================  =======================================================================

Looking waits for the device once for each step, and for the other ranks, which do the same thing.

A loss scaler looks itself, and never takes such a step. It also tries how large its factor may be,
so most of what it skips says nothing about the run: the gradients of a finite loss did not fit,
times a factor above 1. That is logged, and all. Otherwise the step is one that is not finite, as
above; without ``on_nonfinite`` that is a warning.
"""

import logging
import math
from collections.abc import Callable
from typing import Any, Literal

from lt_loop.run import Run
from lt_loop.steps import TrainStep, loss_of

OnNonfinite = Literal["raise", "skip", "rollback"]
ACTIONS: tuple[OnNonfinite, ...] = ("raise", "skip", "rollback")

log = logging.getLogger("lt_loop")


class Rollback(Exception):  # noqa: N818 - it is a request
    """A step was not finite, and the run shall go back to its newest checkpoint."""


def bind_judge(run: Run) -> Callable[[Any, int, int], bool] | None:
    """Return what judges each step before it is taken, None where nobody wants to know.

    It takes the optimizer, the index of the batch that closes the window and the window's size, and
    returns whether the step must be left out.

    Raises:
        LookupError: the backend does not know its gradients, or there is nothing to go back to.
    """
    action, backend, world = run.trainer.on_nonfinite, run.ports.backend, run.ports.world
    if action is None:
        return None
    look = getattr(backend, "first_non_finite", None)
    if look is None:
        raise LookupError(
            "on_nonfinite needs a backend that can look at its gradients (first_non_finite). "
            f"Received {type(backend).__name__}. Install lt-accel, or leave on_nonfinite out."
        )
    if action == "rollback" and not any(c.role == "checkpoint" for c in run.callbacks):
        raise LookupError(
            "on_nonfinite='rollback' goes back to a checkpoint. Received a run in which no "
            "callback saves any. Pass ModelCheckpoint(...), or use 'skip'."
        )
    if _scales(backend):
        return None

    def judge(optimizer: Any, batch_idx: int, size: int) -> bool:
        layer = look(optimizer)
        if world.world_size > 1:
            if not world.reduce([float(layer is not None)], "max")[0]:
                return False
            layer = next((found for found in world.gather(layer) if found is not None), None)
        if layer is None:
            return False
        _act(run, f"The gradient of {layer} is not finite", batch_idx, size)
        return True

    return judge


def bind_report(run: Run) -> Callable[[Any, Any, int, int], None] | None:
    """Return what looks at a step that a loss scaler has skipped, None where there is no scaler.

    It takes the optimizer, what ``training_step`` returned for the batch that closed the window,
    that batch's index, and the window's size. All ranks call it, as they skip the same steps.
    """
    backend: Any = run.ports.backend
    world, look = run.ports.world, getattr(backend, "first_non_finite", None)
    if look is None or not _scales(backend):
        return None

    def report(optimizer: Any, output: Any, batch_idx: int, size: int) -> None:
        loss = loss_of(output)
        finite = loss is None or math.isfinite(backend.read([loss])[0])
        found = world.gather((look(optimizer), finite))
        layers = [layer for layer, _ in found if layer is not None]
        what = f"The gradient of {layers[0]}" if layers else "A gradient"
        scale = backend.loss_scale
        if scale > 1 and all(finite for _, finite in found):
            told = f"{what}, times {scale:g}, does not fit"
            log.info("%s: skipped %s", told, _place(run, batch_idx))
            return
        lost = "" if all(finite for _, finite in found) else ", nor is the loss,"
        _act(run, f"{what} is not finite{lost}", batch_idx, size)

    return report


def _scales(backend: Any) -> bool:
    return getattr(backend, "loss_scale", None) is not None


def _place(run: Run, batch_idx: int) -> str:
    return f"step {run.progress.steps}, batch {batch_idx} of epoch {run.progress.epoch}"


def _act(run: Run, what: str, batch_idx: int, size: int) -> None:
    """Do what was asked for about a step that is left out.

    Raises:
        FloatingPointError: that was asked for.
        Rollback: so was going back.
    """
    action, sentence = run.trainer.on_nonfinite, f"{what} at {_place(run, batch_idx)}."
    if action == "raise":
        raise FloatingPointError(f"{sentence} Look at the batch, or pass on_nonfinite='skip'.")
    log.warning("%s on_nonfinite=%r", sentence, action)
    if action == "rollback":
        epoch = run.progress.epoch
        run.left_out.update((epoch, batch_idx - n) for n in range(size))
        raise Rollback(sentence)


def leaving_out(run: Run, step: TrainStep) -> TrainStep:
    """Return a training step that leaves out the batches a run went back for."""
    if run.trainer.on_nonfinite != "rollback":
        return step

    def careful(batch: Any, batch_idx: int, size: int, closes: bool) -> tuple[Any, bool | None]:
        if (run.progress.epoch, batch_idx) in run.left_out:
            return None, None
        return step(batch, batch_idx, size, closes)

    return careful
