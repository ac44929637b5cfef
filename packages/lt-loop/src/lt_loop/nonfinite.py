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
Where a loss scaler looks after overflows itself, its verdict stands and nobody looks here.
"""

import logging
from collections.abc import Callable
from typing import Any, Literal

from lt_loop.run import Run
from lt_loop.steps import TrainStep

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

    def judge(optimizer: Any, batch_idx: int, size: int) -> bool:
        layer = look(optimizer)
        if world.world_size > 1:
            if not world.reduce([float(layer is not None)], "max")[0]:
                return False
            layer = next((found for found in world.gather(layer) if found is not None), None)
        if layer is None:
            return False
        progress = run.progress
        sentence = (
            f"The gradient of {layer} is not finite at step {progress.steps}, batch {batch_idx} of "
            f"epoch {progress.epoch}."
        )
        if action == "raise":
            raise FloatingPointError(f"{sentence} Look at the batch, or pass on_nonfinite='skip'.")
        log.warning("%s on_nonfinite=%r", sentence, action)
        if action == "rollback":
            run.left_out.update((progress.epoch, batch_idx - n) for n in range(size))
            raise Rollback(sentence)
        return True

    return judge


def leaving_out(run: Run, step: TrainStep) -> TrainStep:
    """Return a training step that leaves out the batches a run went back for."""
    if run.trainer.on_nonfinite != "rollback":
        return step

    def careful(batch: Any, batch_idx: int, size: int, closes: bool) -> tuple[Any, bool | None]:
        if (run.progress.epoch, batch_idx) in run.left_out:
            return None, None
        return step(batch, batch_idx, size, closes)

    return careful
