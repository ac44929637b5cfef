"""A number that a module, its hyper-parameters or a datamodule hold under a name."""

from collections.abc import Iterable, Iterator, MutableMapping
from contextlib import contextmanager
from typing import Any


def has_value(name: str, owners: Iterable[Any]) -> bool:
    """Return whether an owner, or its ``hparams``, has a value of that name."""
    return any(True for _ in _holders(name, owners))


@contextmanager
def value_kept_on_failure(name: str, owners: Iterable[Any]) -> Iterator[None]:
    """Put back the values of that name if what happens inside fails."""
    before = [(holder, _value(holder, name)) for holder in _holders(name, owners)]
    try:
        yield
    except BaseException:
        for holder, value in before:
            _put(holder, name, value)
        raise


def set_value(name: str, value: Any, owners: Iterable[Any]) -> None:
    """Set the value wherever there is one of that name.

    >>> class Model: lr, hparams = 0.1, {"lr": 0.1}
    >>> set_value("lr", 0.5, [model := Model()])
    >>> model.lr, model.hparams
    (0.5, {'lr': 0.5})
    """
    for holder in list(_holders(name, owners)):
        _put(holder, name, value)


def _value(holder: Any, name: str) -> Any:
    return holder[name] if isinstance(holder, MutableMapping) else getattr(holder, name)


def _put(holder: Any, name: str, value: Any) -> None:
    if isinstance(holder, MutableMapping):
        holder[name] = value
    else:
        setattr(holder, name, value)


def _holders(name: str, owners: Iterable[Any]) -> Iterator[Any]:
    for owner in owners:
        if owner is None:
            continue
        if hasattr(owner, name):
            yield owner
        hparams = getattr(owner, "hparams", None)
        if isinstance(hparams, MutableMapping):
            if name in hparams:
                yield hparams
        elif hasattr(hparams, name):
            yield hparams
