"""Trainer's arguments, turned at once into limits, ports and callbacks."""

import sys
from collections.abc import Iterable, Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

from lt_loop.barebones import bare
from lt_loop.callback import Callback
from lt_loop.discovery import announced, find, require
from lt_loop.hooks import overridden
from lt_loop.installed_store import InstalledStore
from lt_loop.limits import Limits
from lt_loop.planning import check_callbacks
from lt_loop.ports import Backend, Feed, Store, World
from lt_loop.run import Ports
from lt_loop.solo import DuckBackend, IterableFeed, OneProcess
from lt_loop.spelling import suggestion

REMOVED: dict[str, str] = {
    "amp_backend": "precision",
    "amp_level": "precision",
    "auto_lr_find": "the callback LearningRateFinder",
    "auto_scale_batch_size": "the callback BatchSizeFinder",
    "auto_select_gpus": "devices",
    "checkpoint_callback": "enable_checkpointing",
    "distributed_backend": "strategy",
    "log_gpu_memory": "the callback DeviceStatsMonitor",
    "max_nb_epochs": "max_epochs",
    "min_nb_epochs": "min_epochs",
    "nb_sanity_val_steps": "num_sanity_val_steps",
    "num_processes": "devices",
    "process_position": "TQDMProgressBar(process_position=...)",
    "progress_bar_refresh_rate": "enable_progress_bar, or TQDMProgressBar(refresh_rate=...)",
    "replace_sampler_ddp": "use_distributed_sampler",
    "resume_from_checkpoint": "fit(..., ckpt_path=...)",
    "row_log_interval": "log_every_n_steps",
    "terminate_on_nan": "on_nonfinite",
    "test_percent_check": "limit_test_batches",
    "track_grad_norm": "the callback GradientCheck",
    "train_percent_check": "limit_train_batches",
    "val_percent_check": "limit_val_batches",
    "weights_save_path": "default_root_dir",
    "weights_summary": "enable_model_summary",
}
"""Arguments of earlier Lightning versions, and what to write instead."""

NOT_YET: dict[str, Any] = {
    "model_registry": None,
    "plugins": (None, []),
}
"""Lightning's arguments that this version knows and can't serve, with the values it accepts."""


HARDWARE: dict[str, Any] = {
    "accelerator": "auto",
    "strategy": "auto",
    "devices": "auto",
    "num_nodes": 1,
    "precision": None,
    "deterministic": None,
    "benchmark": None,
    "detect_anomaly": False,
    "inference_mode": True,
    "sync_batchnorm": False,
    "compile": False,
    "max_restarts": 0,
}
"""The words that speak of hardware, with the values that say nothing. A backend reads them."""


def settled(given: Mapping[str, Any], unknown: Mapping[str, Any]) -> dict[str, Any]:
    """Return Trainer's arguments as they are meant, those that settle others applied.

    Raises:
        TypeError: one is unknown.
        ValueError: one is not served, or contradicts another.
    """
    refuse_unknown(unknown, known=given)
    settled = bare(given) if given["barebones"] else dict(given)
    refuse_unserved(settled)
    if settled["fast_dev_run"]:
        settled["logger"] = False
    return settled


def refuse_unknown(unknown: Mapping[str, Any], known: Iterable[str]) -> None:
    """Refuse arguments that Trainer does not have.

    Raises:
        TypeError: there is one; the message names the closest.
    """
    for name in unknown:
        if name in REMOVED:
            raise TypeError(f"Trainer no longer takes {name}. Use {REMOVED[name]}.")
        raise TypeError(
            f"Trainer takes Lightning's arguments. Received {name}={unknown[name]!r}, which is "
            f"none of them.{suggestion(name, known)}"
        )


def refuse_unserved(given: Mapping[str, Any]) -> None:
    """Refuse arguments that this version would have to ignore.

    Raises:
        ValueError: there is one.
    """
    for name, accepted in NOT_YET.items():
        value = given[name]
        accepted = accepted if isinstance(accepted, tuple) else (accepted,)
        if not any(value is one or value == one for one in accepted):
            raise ValueError(
                f"This version does not serve {name} yet. Received {name}={value!r}. Leave it out; "
                "docs/known-limits.md lists what to do instead."
            )


def one_of(name: str, value: Any, allowed: tuple[str, ...]) -> Any:
    """Return an argument that is one of a few words.

    Raises:
        ValueError: it is none of them.
    """
    if value not in allowed:
        raise ValueError(
            f"{name} is one of {', '.join(map(repr, allowed))}. Received {name}={value!r}."
            f"{suggestion(str(value), allowed)}"
        )
    return value


def hardware_words(given: Mapping[str, Any]) -> dict[str, Any]:
    """Return the hardware words that were given, ``gpus`` among them under its newer names."""
    words = {name: given[name] for name, silent in HARDWARE.items() if given[name] != silent}
    return words | gpus_as_words(given["gpus"], words)


def gpus_as_words(gpus: Any, words: Mapping[str, Any]) -> dict[str, Any]:
    """Read Lightning 1.0's ``gpus`` as ``accelerator`` and ``devices``.

    >>> gpus_as_words("0", {}), gpus_as_words(2, {})
    ({'accelerator': 'gpu', 'devices': [0]}, {'accelerator': 'gpu', 'devices': 2})
    >>> gpus_as_words(None, {}), gpus_as_words(0, {})
    ({}, {'accelerator': 'cpu'})

    Raises:
        TypeError: it is no number, list of indices, or string of them.
        ValueError: it contradicts the words that took its place.
    """
    if gpus is None:
        return {}
    for word in ("accelerator", "devices"):
        if word in words:
            raise ValueError(
                f"gpus is the older spelling of accelerator and devices. Received gpus={gpus!r} "
                f"and {word}={words[word]!r}. Give accelerator='gpu' and devices alone."
            )
    if isinstance(gpus, str):
        try:
            indices = [int(part) for part in gpus.split(",") if part.strip()]
        except ValueError:
            indices = []
        gpus = -1 if indices == [-1] else indices or gpus
    if gpus == 0 and not isinstance(gpus, bool):
        return {"accelerator": "cpu"}
    if isinstance(gpus, bool) or not isinstance(gpus, int | list | tuple):
        raise TypeError(
            "gpus is a number of GPUs, a list of their indices, or a string like '0,1'. "
            f"Received gpus={gpus!r}. Prefer accelerator='gpu' and devices."
        )
    return {"accelerator": "gpu", "devices": list(gpus) if isinstance(gpus, tuple) else gpus}


def fast_dev_run_limits(fast_dev_run: bool | int) -> dict[str, Any]:
    """Return the limits of a run that only tries the code out on a few batches.

    Raises:
        TypeError: it is no number of batches.
        ValueError: the number is negative.
    """
    if not isinstance(fast_dev_run, int):
        raise TypeError(
            "fast_dev_run is a number of batches, or True for one. Received "
            f"fast_dev_run={fast_dev_run!r}."
        )
    if fast_dev_run < 0:
        raise ValueError(
            f"fast_dev_run is a number of batches. Received fast_dev_run={fast_dev_run}."
        )
    batches = int(fast_dev_run)
    limits: dict[str, Any] = {
        f"limit_{word}_batches": batches for word in ("train", "val", "test", "predict")
    }
    return limits | {
        "max_epochs": 1,
        "min_epochs": None,
        "max_steps": batches,
        "min_steps": None,
        "num_sanity_val_steps": 0,
        "val_check_interval": 1.0,
        "check_val_every_n_epoch": 1,
    }


def choose_ports(
    *,
    backend: Backend | str | None,
    world: World | None,
    feed: Feed | str | None,
    store: Store | None,
    words: Mapping[str, Any],
    root: str,
) -> Ports:
    """Choose the four ports: what was passed ready-made, else what is installed, else a default.

    The backend called ``torch`` (of lt-accel) is taken where it is installed; one by another name
    only where it is named. It reads the hardware words, and answers with a world too.

    Raises:
        LookupError: a word or a name needs a package that is not installed.
        ValueError: hardware words beside a ready-made backend, or a world not its own.
    """
    reasons: dict[str, str] = {}
    chosen: Any = backend
    if backend is None and not words and "torch" not in announced("lt.backends"):
        chosen = DuckBackend()
        reasons["backend"] = "duck-typed: lt-accel is not installed"
    elif backend is None or isinstance(backend, str):
        name = backend or "torch"
        asked = [f"{word}={value!r}" for word, value in words.items()] or [f"backend={name!r}"]
        select = require("lt.backends", name, wanted_by=f"Trainer({', '.join(asked)})")
        selection = select(**words)
        chosen, world = selection.backend, selection.world if world is None else world
        reasons |= selection.reasons
    elif words:
        raise ValueError(
            "A ready-made backend knows its hardware. Received backend="
            f"{type(backend).__name__} and {', '.join(words)}. Drop one of them."
        )
    ports = Ports(
        backend=chosen,
        world=OneProcess() if world is None else world,
        feed=_choose_feed(feed),
        store=InstalledStore(root) if store is None else store,
        reasons=reasons,
    )
    _check_ports(ports)
    _check_company(ports)
    return ports


def _choose_feed(feed: Feed | str | None) -> Any:
    if isinstance(feed, str):
        return require("lt.feeds", feed, wanted_by=f"Trainer(feed={feed!r})")()
    if feed is None and "torch" in sys.modules:  # else there is no DataLoader to read
        feed = (find("lt.feeds", "torch") or IterableFeed)()
    return IterableFeed() if feed is None else feed


def _check_ports(ports: Ports) -> None:
    for name, port in (("backend", Backend), ("world", World), ("feed", Feed), ("store", Store)):
        given = getattr(ports, name)
        if isinstance(given, type):
            raise TypeError(
                f"{name} is an object. Received the class {given.__name__}. "
                f"Make an instance: {given.__name__}(...)."
            )
        if not isinstance(given, port):
            members = [m for m in vars(port) if not m.startswith("_")]
            lacks = [m for m in members if not hasattr(given, m)]
            raise TypeError(
                f"{name} must satisfy the port {port.__name__}. Received {type(given).__name__}, "
                f"which lacks {', '.join(lacks)}. See lt_loop.ports."
            )


def _check_company(ports: Ports) -> None:
    """Refuse a backend that was composed for another world: nobody would average gradients."""
    world = ports.world
    own = getattr(ports.backend, "world", world)
    if own is world or (own is None and world.world_size == 1):
        return
    composed_for = "one process" if own is None else _counted(own)
    if own is not None and _counted(own) == _counted(world):
        composed_for = f"another {composed_for}"
    raise ValueError(
        "A backend is composed for the ranks of one world, and both are passed together. Received "
        f"world={_counted(world)}, and a {type(ports.backend).__name__} for {composed_for}. Let "
        "the words choose both: Trainer(strategy=..., devices=...); or pass both of one choice: "
        "chosen = lt_accel.select(...), "
        "Trainer(backend=chosen.backend, world=chosen.world)."
    )


def _counted(world: World) -> str:
    size = world.world_size
    return f"{type(world).__name__} of {'one process' if size == 1 else f'{size} processes'}"


def choose_callbacks(given: Mapping[str, Any], *, root: Path) -> tuple[Callback, ...]:
    """Put the callbacks of a run together: the user's, then loggers, then what arguments turn on.

    ``logger`` and the arguments of :data:`SWITCHES` are spellings of ``callbacks=[...]``: None
    takes the default of an installed package, True insists on one, False forbids it. Where it is
    None, there is no model summary, and no checkpoint without a logger that has a ``log_dir``, a
    folder for this run alone, nor where torch is not imported, which saving would import.

    Raises:
        LookupError: a default was insisted on and is not installed.
        TypeError: something is no callback.
        ValueError: there are two of what a run has one of, or one that was forbidden.
    """
    chosen = list(check_callbacks(_listed(given["callbacks"]), argument="callbacks"))
    logger = given["logger"]
    if logger is None or logger is True:
        chosen += _default("logger", insist=logger is True, argument="logger", save_dir=root)
    elif logger is not False:
        chosen += _check_loggers(check_callbacks(_listed(logger), argument="logger"))
    unasked = ["enable_progress_bar"]
    if "torch" in sys.modules and any(hasattr(type(one), "log_dir") for one in chosen):
        unasked.append("enable_checkpointing")
    for argument, role in SWITCHES.items():
        wanted = given[argument]
        present = [type(callback).__name__ for callback in chosen if callback.role == role]
        _check_switch(argument, role, wanted=wanted, present=present)
        if not present and (wanted or (wanted is None and argument in unasked)):
            chosen += _default(role, insist=bool(wanted), argument=argument)
    return tuple(chosen)


SWITCHES = {
    "enable_checkpointing": "checkpoint",
    "enable_progress_bar": "progress_bar",
    "enable_model_summary": "model_summary",
}
"""Arguments that turn a callback on or off, with its role, the name of its entry point."""

SEVERAL = ("checkpoint",)
"""Roles that a run may have several callbacks of."""


def _check_switch(argument: str, role: str, *, wanted: bool | None, present: list[str]) -> None:
    word = role.replace("_", " ")
    if len(present) > 1 and role not in SEVERAL:
        raise ValueError(
            f"A run has one {word}. Received {len(present)} in callbacks. Drop all but one of them."
        )
    if present and wanted is False:
        raise ValueError(
            f"{argument}=False means no {word}. Received one in callbacks: {', '.join(present)}. "
            "Drop one of them."
        )


def _check_loggers(loggers: tuple[Callback, ...]) -> tuple[Callback, ...]:
    for logger in loggers:
        if overridden(logger, "on_log") is None:
            raise TypeError(
                "logger takes callbacks that receive what is logged. Received "
                f"{type(logger).__name__}, which has no on_log(metrics, step). Write it, or pass "
                "callbacks=..."
            )
    return loggers


def _default(name: str, *, insist: bool, argument: str, **words: Any) -> list[Callback]:
    wanted_by = f"Trainer({argument}=True)"
    factory = (
        require("lt.callbacks", name, wanted_by=wanted_by) if insist else find("lt.callbacks", name)
    )
    made = factory(**words) if factory else None
    if made is None and insist:
        raise LookupError(
            f"{wanted_by} needs a library for it. Received an lt-callbacks without its extras. "
            "Install lt-callbacks[tqdm,tensorboard]."
        )
    return [] if made is None else [made]


def _listed(given: Any) -> list[Any]:
    if given is None:
        return []
    return list(given) if isinstance(given, list | tuple | set) else [given]


def limits_from(given: Mapping[str, Any]) -> Limits:
    """Make limits of Trainer's arguments; None means the default, where it means nothing else."""
    names = [field.name for field in fields(Limits) if field.init]
    words = {name: given[name] for name in names if given[name] is not None}
    words["check_val_every_n_epoch"] = given["check_val_every_n_epoch"]
    if given["fast_dev_run"]:
        words |= fast_dev_run_limits(given["fast_dev_run"])
    return Limits(**words)
