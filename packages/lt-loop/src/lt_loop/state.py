"""State: everything of a run that must survive, taken at a safe point and put back.

A state is plain data in the shape of a Lightning checkpoint:

==============================  ================================================================
key                             what it holds
==============================  ================================================================
``epoch``, ``global_step``      epochs done and optimizer steps taken
``state_dict``                  the program's weights, as the backend captured them
``optimizer_states``            of each optimizer
``lr_schedulers``               of each schedule
``callbacks``                   of each callback that has a state, by its ``state_key``
``hyper_parameters``            what ``save_hyperparameters()`` of the program saw
``datamodule``                  the datamodule's own state
``datamodule_hyper_parameters`` what ``save_hyperparameters()`` of the datamodule saw
``loops``                       of the engine: progress, position in the data, sums of the logbook
``backend``                     of the backend: random generators, a loss scaler
``fingerprint``                 what must be alike where a run goes on to the same bits
``per_rank``                    paths of keys to what belongs to each rank alone
``format``                      the version of this shape
==============================  ================================================================
"""

import copy as copying
from collections.abc import Mapping
from typing import Any

from lt_loop.checkpoints import NoneYetError, find_state
from lt_loop.metric_objects import capture_metrics, reset_metrics, restore_metrics
from lt_loop.run import Run

ROLLBACKS_AT_MOST = 10
"""What fails more often is not the fault of a batch."""

FORMAT = 1
"""Version of the state that :func:`capture` returns."""

PER_RANK = [
    ["backend", "rng"],
    *(["loops", key] for key in ("feed", "logbook", "metrics", "outputs", "stop_request")),
]
"""Paths to what differs from rank to rank."""

_OF_WEIGHTS = ("format", "epoch", "global_step", "state_dict", "hyper_parameters")


class NothingLeftError(ValueError):
    """A run was to go on from a state in which it has reached its limits already.

    A script that is started again until its run has ended catches it: the run ended between its
    last checkpoint and its own end.
    """


def capture(run: Run, *, weights_only: bool = False, copy: bool = True) -> dict[str, Any]:
    """Return everything that must survive, as of the last safe point.

    Args:
        run: the run.
        weights_only: leave out all but the weights, the hyper-parameters and the counts.
        copy: whether later steps must leave the backend's part unchanged.

    Raises:
        RuntimeError: a step is under way.
    """
    if run.elsewhere:
        raise RuntimeError(
            "A run's state is in the processes that run it. Received a request to capture it after "
            "processes that the trainer had started have ended. Ask in on_train_end or "
            "on_safe_point, on every rank, or let ModelCheckpoint save it."
        )
    if not run.at_safe_point:
        raise RuntimeError(
            "A run's state is whole at its safe points only: between optimizer steps. Received a "
            "request to capture it within one. Ask in on_safe_point, in the loop over "
            "trainer.steps(...), in on_train_end, or after the run."
        )
    with run.logbook.closed():
        parts = _parts(run) if run.kept is None else run.kept
        state: dict[str, Any] = copying.deepcopy(dict(parts))
        state |= _of_backend(run.ports.backend.capture(copy=copy))
        if weights_only:
            state = {key: state[key] for key in _OF_WEIGHTS}
            hook = run.own_hook("on_save_checkpoint")
            hook(state)
        else:
            run.call("on_save_checkpoint", state)
    return state


def keep(run: Run) -> None:
    """Set aside what :func:`capture` will return but for the backend's part.

    What follows an early stop (validation, the end of an epoch that is not over) is of this run
    alone: one that goes on from here was never stopped.
    """
    with run.logbook.closed():
        run.kept = copying.deepcopy(_parts(run))


def _parts(run: Run) -> dict[str, Any]:
    waiting = run.stop_request is not None and not run.may_stop_early()
    progress = run.progress
    return {
        "format": FORMAT,
        "epoch": progress.epoch,
        "global_step": progress.steps,
        "lr_schedulers": [schedule.scheduler.state_dict() for schedule in run.schedules],
        "callbacks": {c.state_key: s for c in run.callbacks if (s := c.state_dict())},
        "hyper_parameters": dict(getattr(run.program, "hparams", {})),
        "datamodule": run.sources.datamodule_state(),
        "datamodule_hyper_parameters": dict(getattr(run.sources.datamodule, "hparams", {})),
        "loops": {
            "progress": progress.state_dict(),
            "seconds": run.seconds,
            "validates_at": run.validates_at,
            "evaluated": sorted(run.evaluated.items()),
            "stop_request": run.stop_request if waiting else None,
            "feed": run.sources.state_dict(),
            "logbook": run.logbook.state_dict(),
            "metrics": capture_metrics(run.program) if progress.batch else {},
            "outputs": list(run.outputs),
        },
        "fingerprint": run.fingerprint(),
        "per_rank": copying.deepcopy(PER_RANK),
    }


def _of_backend(captured: Mapping[str, Any]) -> dict[str, Any]:
    """Return a backend's snapshot with program and optimizers under Lightning's keys."""
    rest = {k: v for k, v in captured.items() if k not in ("program", "optimizers")}
    return {
        "state_dict": captured["program"],
        "optimizer_states": captured["optimizers"],
        "backend": rest,
    }


def _for_backend(state: Mapping[str, Any]) -> dict[str, Any]:
    """Return a state's part of the backend, as its ``capture`` gave it."""
    return {
        **state["backend"],
        "program": state["state_dict"],
        "optimizers": state["optimizer_states"],
    }


def restore_early(run: Run, state: Mapping[str, Any]) -> None:
    """Restore what others build on: progress, datamodule, callbacks, and the program's weights.

    Comes before the optimizers and the loaders are made. The backend must have been set up.

    Raises:
        NothingLeftError: the run's limits are reached already.
        ValueError: the state is of another format, or has nothing but weights.
    """
    _check_format(run, state)
    run.call("on_load_checkpoint", state)
    run.progress.epoch, run.progress.steps = state["epoch"], state["global_step"]
    loops = state.get("loops", {})
    if loops:
        run.progress.load_state_dict(loops["progress"])
    if run.fn == "fit":
        run.seconds_before = loops["seconds"]
        # One that waits for min_epochs is known to the rank that made it.
        requests = run.ports.world.gather(loops["stop_request"])
        run.stop_request = next(filter(None, requests), None)
        _check_unfinished(run)
    run.sources.load_datamodule_state(copying.deepcopy(state.get("datamodule", {})))
    for callback in run.callbacks:
        if own := state.get("callbacks", {}).get(callback.state_key):
            callback.load_state_dict(copying.deepcopy(own))
    run.ports.backend.restore({"program": state["state_dict"], "optimizers": []})


def restore(run: Run, state: Mapping[str, Any]) -> None:
    """Go on from a captured state, of which :func:`restore_early` restored the rest.

    Raises:
        ValueError: the run differs in what must be alike, or has other schedules.
    """
    loops = state["loops"]
    _check_alike(run, state)
    if len(run.schedules) != len(state["lr_schedulers"]):
        raise ValueError(
            "A run goes on with the learning-rate schedules it had. Received "
            f"{len(run.schedules)} and a state of {len(state['lr_schedulers'])}. Return the same "
            "from configure_optimizers."
        )
    run.ports.backend.restore(_for_backend(state))
    for schedule, saved in zip(run.schedules, state["lr_schedulers"], strict=True):
        schedule.scheduler.load_state_dict(copying.deepcopy(saved))
    run.sources.load_state_dict(loops["feed"])
    if run.progress.batch:  # of batches as they are now: another size of them may be accepted
        (position,) = run.sources.state_dict()["train"]
        run.progress.batch = position["batch"]
    run.logbook.load_state_dict(loops["logbook"])
    restore_metrics(run.program, loops["metrics"])
    run.outputs[:] = copying.deepcopy(loops["outputs"])
    run.evaluated.update({index: count for index, count in loops["evaluated"]})
    if loops["validates_at"] is not None:
        run.validates_at = loops["validates_at"]


def roll_back(run: Run, reason: str) -> None:
    """Go back to the newest checkpoint of a run that goes on.

    Raises:
        LookupError: there is none yet.
        RuntimeError: that was done too often.
    """
    ports = run.ports
    try:
        found = find_state(
            "last",
            callbacks=run.callbacks,
            store=ports.store,
            world=ports.world,
            may_be_missing=False,
        )
    except NoneYetError:
        raise LookupError(
            "on_nonfinite='rollback' goes back to a checkpoint, and this run has saved none yet. "
            f"Received: {reason} Save one earlier, as by ModelCheckpoint(every_n_train_steps=...), "
            "or use 'skip'."
        ) from None
    assert found is not None
    run.rollbacks += 1
    if run.rollbacks > ROLLBACKS_AT_MOST:
        raise RuntimeError(
            f"A run that goes back to its checkpoint {ROLLBACKS_AT_MOST} times comes no further. "
            f"Received: {reason} Lower the learning rate, or look at the data."
        )
    run.call("on_load_checkpoint", found)
    run.logbook.training.forget()
    reset_metrics(run.program)
    run.progress.load_state_dict(found["loops"]["progress"])
    for callback in run.callbacks:
        if callback.role != "checkpoint" and (own := found["callbacks"].get(callback.state_key)):
            callback.load_state_dict(copying.deepcopy(own))
    restore(run, found)


def _check_format(run: Run, state: Mapping[str, Any]) -> None:
    if state.get("format") != FORMAT:
        raise ValueError(
            f"A state to resume from has format {FORMAT}. Received format "
            f"{state.get('format')!r}. Pass what trainer.capture() or a store returned."
        )
    if run.fn == "fit" and "loops" not in state:
        raise ValueError(
            "A fit goes on from a whole state. Received one that holds weights only. Load the "
            "weights into the module (load_from_checkpoint) and fit it without ckpt_path."
        )


def _check_unfinished(run: Run) -> None:
    limits = run.limits
    reason = run.limit_reached(epoch_ended=True)
    if run.stop_request is not None and run.may_stop_early():
        reason = reason or run.stop_request
    if limits.max_seconds is not None and run.seconds_before >= limits.max_seconds:
        reason = reason or f"max_time={limits.max_time!r}"
    if reason is not None:
        limit = reason.removesuffix(" reached")
        raise NothingLeftError(
            f"A resumed run must have something left to do. Received {limit} and a state of "
            f"epoch {run.progress.epoch}, step {run.progress.steps}. Raise the limit."
        )


def _check_alike(run: Run, state: Mapping[str, Any]) -> None:
    """Refuse to go on where something differs that changes what is computed."""
    theirs, ours = dict(state["fingerprint"]), run.fingerprint()
    if run.limits.reload_dataloaders_every_n_epochs and not run.progress.batch:
        theirs, ours = _without_data(theirs), _without_data(ours)  # it is about to be made anew
    differing = [key for key in ours.keys() | theirs.keys() if ours.get(key) != theirs.get(key)]
    if differing and run.trainer.on_mismatch != "accept":
        received = "; ".join(
            f"{key}={ours.get(key)!r} and a state of {key}={theirs.get(key)!r}"
            for key in sorted(differing)
        )
        raise ValueError(
            "A run that goes on to the same bits keeps what shapes its steps. Received "
            f"{received}. Give the same, or accept it: Trainer(on_mismatch='accept')."
        )


def _without_data(fingerprint: Mapping[str, Any]) -> dict[str, Any]:
    return {key: v for key, v in fingerprint.items() if not key.startswith("data.")}
