"""Trials: short runs of a copy of a module, beside a run or before one, that leave no trace.

The copy is run by a second trainer on the same ports, so the trial computes what the run would:
same device, precision and batches, every hook of the module and none of the trainer's callbacks.
"""

import copy
import dataclasses
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, TypeVar, final

from lt_loop import Callback, Trainer

T = TypeVar("T")

_KEPT_BACK = ("prepare_data", "setup", "teardown", "on_exception", "state_dict", "load_state_dict")


def beside(trainer: Trainer, *callbacks: Callback, **changes: Any) -> Trainer:
    """Return a second trainer on the ground of another, with these callbacks alone.

    Its limits are those of the other but for the changes, it neither validates nor waits for a
    least number of epochs or steps, and it writes nothing. Its backend is a copy: setting up the
    module of a trial must not replace the program whose state the other run captures.
    """
    ports = trainer.ports
    limits = {
        field.name: getattr(trainer.limits, field.name)
        for field in dataclasses.fields(trainer.limits)
        if field.init
    }
    none = dict.fromkeys(("min_epochs", "min_steps", "max_time"))
    quick = {"limit_val_batches": 0, "val_check_interval": 1.0, "check_val_every_n_epoch": 1}
    zero = dict.fromkeys(("num_sanity_val_steps", "reload_dataloaders_every_n_epochs"), 0)
    return Trainer(
        backend=copy.copy(ports.backend),
        world=ports.world,
        feed=ports.feed,
        store=ports.store,
        callbacks=list(callbacks),
        default_root_dir=trainer.default_root_dir,
        enable_autolog_hparams=False,
        **_SILENT,
        **(limits | none | quick | zero | changes),
    )


_SILENT: dict[str, Any] = {
    "logger": False,
    "enable_checkpointing": False,
    "enable_model_summary": False,
    "enable_progress_bar": False,
}


def copied(module: Any, trainer: Trainer) -> Any:
    """Return a copy of a module to try things on, without the callbacks it brings itself.

    Raises:
        RuntimeError: it can't be copied.
    """
    try:
        made = copy.deepcopy(module, {id(trainer): trainer})
    except RuntimeError as error:  # torch's, for tensors that hang on a graph
        raise RuntimeError(
            f"A trial runs on a copy of the module. Received {type(module).__name__}, which "
            f"copy.deepcopy can't copy: {error} Detach the tensors it keeps."
        ) from error
    made.configure_callbacks = list
    return made


@final
class Borrowed:
    """A datamodule for a run beside the one it belongs to: its hooks, but no setup or teardown."""

    def __init__(self, owner: Any, **loaders: Callable[[], Any]) -> None:
        """Stand before a datamodule.

        Args:
            owner: the datamodule.
            **loaders: hooks to answer otherwise, such as ``train_dataloader``.
        """
        self._owner = owner
        vars(self).update(loaders)

    def __getattr__(self, name: str) -> Any:
        """Hand on what changes nothing."""
        if name in _KEPT_BACK or name.startswith("_"):
            raise AttributeError(name)
        return getattr(self._owner, name)


def untraced(trainer: Trainer, work: Callable[[], T], *loaders: Any) -> T:
    """Return what some work returns, the random generators left as they were.

    Args:
        trainer: whose backend knows the generators.
        work: what to do.
        *loaders: what it reads, whose own generators are put back too.
    """
    with _generators_kept(loaders):
        return trainer.ports.backend.wrap_step(work, "sanity_check")()


@contextmanager
def _generators_kept(loaders: Any) -> Iterator[None]:
    found = {id(one): one for one in _generators(loaders)}
    states = [(generator, generator.get_state()) for generator in found.values()]
    try:
        yield
    finally:
        for generator, state in states:
            generator.set_state(state)


def _generators(loader: Any) -> Iterator[Any]:
    """Yield the generators that a loader, or each of several, draws its order from."""
    if isinstance(loader, Mapping):
        loader = list(loader.values())
    if isinstance(loader, list | tuple):
        for one in loader:
            yield from _generators(one)
        return
    batches = getattr(loader, "batch_sampler", None)
    parts = (loader, getattr(loader, "sampler", None), batches, getattr(batches, "sampler", None))
    for part in parts:
        generator = getattr(part, "generator", None)
        if hasattr(generator, "get_state") and hasattr(generator, "set_state"):
            yield generator


def check_readable_again(loader: Any) -> None:
    """Refuse to read a loader that can be read once.

    Raises:
        TypeError: it is its own iterator.
    """
    if loader is not None and hasattr(loader, "__next__"):
        raise TypeError(
            "A trial reads batches that the run reads again. Received a "
            f"{type(loader).__name__}, which can be read once. Pass an object whose __iter__ "
            "starts anew (a DataLoader, a list)."
        )
