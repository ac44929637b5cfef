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

A loss scaler looks at each step itself, and skips those that overflow, as many do while it looks
for its scale. So nobody looks before it, and what it skipped is looked at afterwards: at INFO it is
told which layer overflowed. The scale can't be the cause where the loss itself is not finite, or
where it scales nothing up any more: there ``on_nonfinite`` does what it says, and a warning takes
the place of the note where it is None. After a step that was skipped for its loss with ``"skip"``
the scale stays as it was. A scale that has fallen to :data:`HOPELESS` ends the run.
"""

import logging
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from lt_loop.run import Run
from lt_loop.steps import TrainStep

OnNonfinite = Literal["raise", "skip", "rollback"]
ACTIONS: tuple[OnNonfinite, ...] = ("raise", "skip", "rollback")

HOPELESS = 2.0**-14
"""A loss scale at which a step that overflows ends the run: the smallest normal number of float16.

A gradient of 1 so scaled is about to lose its digits, and one that overflows would be 2**30. From
torch's first scale, 2**16, it takes 31 skipped steps with less than 2000 others between them."""

log = logging.getLogger("lt_loop")

Judge = Callable[[Any, Sequence[Any], int, int], bool]
"""Takes the optimizer, the losses of the window, the index of the batch that closes it and its
size; returns whether the step must be left out."""


class Rollback(Exception):  # noqa: N818 - it is a request
    """A step was not finite, and the run shall go back to its newest checkpoint."""


@dataclass(frozen=True, slots=True)
class Finding:
    """A step that is not finite, as all ranks see it.

    Attributes:
        layer: a parameter whose gradient is not finite, as a rank that has one names it.
        ranks: those whose loss is not finite. Gradients are averaged before anybody looks.
        several: whether there are other ranks.
        place: which step and batch.
    """

    layer: str | None
    ranks: Sequence[int]
    several: bool
    place: str

    def __str__(self) -> str:
        """Return a sentence with all of it."""
        gradient = f"gradient of {self.layer}" if self.layer else "gradients"
        if not self.ranks:
            return f"The {gradient} {'is' if self.layer else 'are'} not finite at {self.place}."
        of_ranks = ""
        if self.several:
            *most, last = map(str, self.ranks)
            of_ranks = f" of ranks {', '.join(most)} and {last}" if most else f" of rank {last}"
        loss = "losses" if len(self.ranks) > 1 else "loss"
        return f"The {loss}{of_ranks} and the {gradient} are not finite at {self.place}."


def listens(run: Run) -> bool:
    """Return whether somebody asks for the losses of a step that is not finite."""
    return run.trainer.on_nonfinite is not None or _scale(run) is not None


def bind_judge(run: Run) -> Judge | None:
    """Return what judges each step before it is taken, None where nobody wants to know.

    Raises:
        LookupError: the backend does not know its gradients, or there is nothing to go back to.
    """
    action, world = run.trainer.on_nonfinite, run.ports.world
    if action is None:
        return None
    look = _look(run)
    if look is None:
        raise LookupError(
            "on_nonfinite needs a backend that can look at its gradients (first_non_finite). "
            f"Received {type(run.ports.backend).__name__}. Install lt-accel, or leave on_nonfinite "
            "out."
        )
    if action == "rollback" and not any(c.role == "checkpoint" for c in run.callbacks):
        raise LookupError(
            "on_nonfinite='rollback' goes back to a checkpoint. Received a run in which no "
            "callback saves any. Pass ModelCheckpoint(...), or use 'skip'."
        )
    if _scale(run) is not None:
        return None

    def judge(optimizer: Any, losses: Sequence[Any], batch_idx: int, size: int) -> bool:
        layer = look(optimizer)
        bad = layer is not None
        if world.world_size > 1:
            bad = bool(world.reduce([float(bad)], "max")[0])
        if bad:
            finding = _examine(run, layer, losses, _place(run, batch_idx, size))
            _act(run, finding, batch_idx, size)
        return bad

    return judge


def bind_verdict(run: Run) -> Callable[[Any, Sequence[Any], int, int], None]:
    """Return what is called after a step that a loss scaler has skipped, on all ranks.

    It takes what a :data:`Judge` takes.
    """
    look, action, note = _look(run), run.trainer.on_nonfinite, bind_note(run)

    def explain(optimizer: Any, losses: Sequence[Any], batch_idx: int, size: int) -> None:
        scale = _scale(run)
        if scale is None:  # then it is unknown whether other ranks skipped it too
            note(optimizer)
            return
        layer = look(optimizer) if look else None
        finding = _examine(run, layer, losses, _place(run, batch_idx, size))
        if action and _is_real(finding, scale):
            if not finding.ranks:
                _check_hope(finding, scale)
            _act(run, finding, batch_idx, size)
            if finding.ranks:
                run.ports.backend.keep_loss_scale()  # type: ignore[attr-defined]
        else:
            _tell(run, finding, scale)

    return explain


def bind_note(run: Run) -> Callable[[Any], None]:
    """Return what is called with an optimizer of the program's own that a loss scaler held back.

    Each rank speaks for itself: which of them step, and when, is for the program to say.
    """
    look = _look(run)

    def note(optimizer: Any) -> None:
        place = _place(run, run.batch_idx, 1)
        finding = Finding(look(optimizer) if look else None, (), several=False, place=place)
        _tell(run, finding, _scale(run))

    return note


def _look(run: Run) -> Callable[[Any], str | None] | None:
    return getattr(run.ports.backend, "first_non_finite", None)


def _scale(run: Run) -> float | None:
    """Return the factor of the last loss, None where none is scaled. Waits for the device."""
    return getattr(run.ports.backend, "loss_scale", None)


def _place(run: Run, batch_idx: int, size: int) -> str:
    batches = (
        f"batch {batch_idx}" if size == 1 else f"batches {batch_idx - size + 1} to {batch_idx}"
    )
    return f"step {run.progress.steps}, {batches} of epoch {run.progress.epoch}"


def _examine(run: Run, layer: str | None, losses: Sequence[Any], place: str) -> Finding:
    """Return what all ranks know together about a step that is not finite on any of them."""
    world = run.ports.world
    bad = not all(map(math.isfinite, run.ports.backend.read(losses)))
    several = world.world_size > 1
    seen = world.gather((layer, bad)) if several else [(layer, bad)]
    first = next((found for found, _ in seen if found is not None), None)
    ranks = [rank for rank, (_, is_bad) in enumerate(seen) if is_bad]
    return Finding(first, ranks, several=several, place=place)


def _act(run: Run, finding: Finding, batch_idx: int, size: int) -> None:
    """Do what the run's ``on_nonfinite`` says; return where the step is to be skipped."""
    action, epoch = run.trainer.on_nonfinite, run.progress.epoch
    if action == "raise":
        raise FloatingPointError(f"{finding} Look at the batch, or pass on_nonfinite='skip'.")
    if run.ports.world.rank == 0:
        log.warning("%s on_nonfinite=%r", finding, action)
    if action == "rollback":
        run.left_out.update((epoch, batch_idx - n) for n in range(size))
        raise Rollback(str(finding))


def _is_real(finding: Finding, scale: float | None) -> bool:
    """Return whether no smaller scale would have helped."""
    return scale is not None and (bool(finding.ranks) or scale <= 1)


def _tell(run: Run, finding: Finding, scale: float | None) -> None:
    """Say which step a scaler skipped.

    Raises:
        FloatingPointError: there is no hope for another one.
    """
    _check_hope(finding, scale)
    level = logging.WARNING if _is_real(finding, scale) else logging.INFO
    if run.ports.world.rank == 0 or not finding.several:
        with_scale = "" if scale is None else f", with a loss scale of {scale:g}"
        log.log(level, "%s The step is skipped%s.", finding, with_scale)


def _check_hope(finding: Finding, scale: float | None) -> None:
    if scale is not None and scale <= HOPELESS:
        raise FloatingPointError(
            f"A step that overflows is tried again with half the loss scale, down to {HOPELESS:g}. "
            f"{finding} Look at that layer and the batch, or use precision='bf16-mixed'."
        )


def leaving_out(run: Run, step: TrainStep) -> TrainStep:
    """Return a training step that leaves out the batches a run went back for."""
    if run.trainer.on_nonfinite != "rollback":
        return step

    def careful(batch: Any, batch_idx: int, size: int, closes: bool) -> tuple[Any, bool | None]:
        if (run.progress.epoch, batch_idx) in run.left_out:
            return None, None
        return step(batch, batch_idx, size, closes)

    return careful
