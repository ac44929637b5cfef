"""State: everything of a run that must survive, taken at a safe point and put back."""

import copy
from collections.abc import Mapping
from typing import Any

from lt_loop.run import Run

FORMAT = 1
"""Version of the state that :func:`capture` returns."""


def capture(run: Run) -> dict[str, Any]:
    """Return everything that must survive, as of the last safe point. Later steps change nothing.

    Raises:
        RuntimeError: a step is under way.
    """
    if not run.at_safe_point:
        raise RuntimeError(
            "A run's state is whole at its safe points only: between optimizer steps. Received a "
            "request to capture it within one. Ask in the loop over trainer.steps(...), in "
            "on_train_end, or after the run."
        )
    with run.logbook.closed():
        parts = _parts(run) if run.kept is None else run.kept
        state = {"format": FORMAT, **copy.deepcopy(parts), "backend": run.ports.backend.capture()}
        run.call("on_save_checkpoint", state)
    return state


def keep(run: Run) -> None:
    """Set aside what :func:`capture` will return but for the backend's part.

    What follows an early stop (validation, the end of an epoch that is not over) is of this run
    alone: one that goes on from here was never stopped.
    """
    with run.logbook.closed():
        run.kept = copy.deepcopy(_parts(run))


def _parts(run: Run) -> dict[str, Any]:
    waiting = run.stop_request is not None and not run.may_stop_early()
    return {
        "progress": run.progress.state_dict(),
        "seconds": run.seconds,
        "validates_at": run.validates_at,
        "evaluated": sorted(run.evaluated.items()),
        "stop_request": run.stop_request if waiting else None,
        "schedules": [schedule.scheduler.state_dict() for schedule in run.schedules],
        "feed": run.sources.state_dict(),
        "logbook": run.logbook.state_dict(),
        "callbacks": {c.state_key: s for c in run.callbacks if (s := c.state_dict())},
        "datamodule": run.sources.datamodule_state(),
        "limits": _limits_that_shape(run, run.progress.epoch),
    }


def restore_parts(run: Run, state: Mapping[str, Any]) -> None:
    """Give datamodule and callbacks their part of a captured state, and the hooks all of it.

    Comes before the optimizers and the loaders are made, which may depend on it.

    Raises:
        ValueError: the state is of another format, or was captured under other limits.
    """
    if state.get("format") != FORMAT:
        raise ValueError(
            f"A state to resume from has format {FORMAT}. Received format "
            f"{state.get('format')!r}. Pass what trainer.capture() or a store returned."
        )
    if run.fn == "fit":
        _check_alike(run, state)
    run.call("on_load_checkpoint", state)
    run.sources.load_datamodule_state(copy.deepcopy(state["datamodule"]))
    for callback in run.callbacks:
        if callback.state_key in state["callbacks"]:
            callback.load_state_dict(copy.deepcopy(state["callbacks"][callback.state_key]))


def restore_program(run: Run, state: Mapping[str, Any]) -> None:
    """Give the program what a captured state holds of it, to evaluate it as it was then."""
    run.progress.load_state_dict(state["progress"])
    backend = run.ports.backend
    backend.wrap_step(backend.restore, "sanity_check")(state["backend"])  # not its randomness


def restore(run: Run, state: Mapping[str, Any]) -> None:
    """Go on from a captured state, of which :func:`restore_parts` restored the rest.

    Raises:
        ValueError: the run's limits are reached already, or it has other schedules.
    """
    run.seconds_before = state["seconds"]
    run.progress.load_state_dict(state["progress"])
    _check_unfinished(run)
    if len(run.schedules) != len(state["schedules"]):
        raise ValueError(
            "A run goes on with the learning-rate schedules it had. Received "
            f"{len(run.schedules)} and a state of {len(state['schedules'])}. Return the same "
            "from configure_optimizers."
        )
    run.ports.backend.restore(state["backend"])
    for schedule, saved in zip(run.schedules, state["schedules"], strict=True):
        schedule.scheduler.load_state_dict(copy.deepcopy(saved))
    run.sources.load_state_dict(state["feed"])
    run.logbook.load_state_dict(state["logbook"])
    run.evaluated.update(dict(state["evaluated"]))
    run.stop_request = state["stop_request"]
    if state["validates_at"] is not None:
        run.validates_at = state["validates_at"]


def _check_unfinished(run: Run) -> None:
    limits = run.limits
    reason = run.reason_to_stop(epoch_ended=True)
    if limits.max_seconds is not None and run.seconds_before >= limits.max_seconds:
        reason = reason or f"max_time={limits.max_time!r}"
    if reason is not None:
        limit = reason.removesuffix(" reached")
        raise ValueError(
            f"A resumed run must have something left to do. Received {limit} and a state of "
            f"epoch {run.progress.epoch}, step {run.progress.steps}. Raise the limit."
        )


def _limits_that_shape(run: Run, epoch: int) -> dict[str, Any]:
    return {"accumulate_grad_batches": run.limits.accumulation(epoch)}


def _check_alike(run: Run, state: Mapping[str, Any]) -> None:
    """Refuse to go on in the midst of an epoch under limits that would cut it otherwise."""
    progress = state["progress"]
    ours = _limits_that_shape(run, progress["epoch"])
    if progress["batch"] and state["limits"] != ours:
        raise ValueError(
            "A run that goes on within an epoch keeps the limits it was started with. Received "
            f"{ours} and a state of {dict(state['limits'])}. Give the same, or resume from the "
            "end of an epoch."
        )
