"""The training step of manual optimization: ``training_step`` does everything itself."""

from typing import Any

from lt_loop.nonfinite import bind_note
from lt_loop.run import Run
from lt_loop.steps import TrainStep, bind_step


def manual_step(run: Run) -> TrainStep:
    """Return the training step of a program with ``automatic_optimization=False``.

    The program steps what ``self.optimizers()`` returns. A batch in which any of them stepped
    counts as one step. Gradients of ``manual_backward`` are pending until then.

    Raises:
        ValueError: the limits ask for what only the program itself can do.
    """
    limits = run.limits
    if limits.gradient_clip_val:
        raise ValueError(
            "In manual optimization the module clips gradients itself. Received gradient_clip_val="
            f"{limits.gradient_clip_val}. Call self.clip_gradients(...) in training_step."
        )
    if limits.accumulates:
        raise ValueError(
            "In manual optimization the module accumulates gradients itself. Received "
            f"accumulate_grad_batches={limits.accumulate_grad_batches}. Step every n-th batch in "
            "training_step."
        )
    if run.trainer.on_nonfinite:
        raise ValueError(
            "In manual optimization the module decides whether to step. Received "
            f"on_nonfinite={run.trainer.on_nonfinite!r}. Look at the gradients in training_step."
        )
    training_step = bind_step(run, "train")
    optimizers = run.stepped_optimizers
    for optimizer in optimizers:
        optimizer.told = bind_note(run)

    def step(batch: Any, batch_idx: int, size: int, closes: bool) -> tuple[Any, bool | None]:
        output = training_step(batch, batch_idx)
        taken = [optimizer.taken() for optimizer in optimizers]
        if any(taken):
            run.window.pending = False
            return output, True
        return output, False if False in taken else None

    return step
