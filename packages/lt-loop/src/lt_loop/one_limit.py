"""One limit as an attribute of a trainer: it can be read, and not assigned."""

from typing import Any, Protocol

from lt_loop.limits import Limits


class HasLimits(Protocol):
    """Whatever has the limits of a run."""

    limits: Limits


class OneLimit:
    """One limit of a trainer, under its own name. It is settled when the trainer is made."""

    def __set_name__(self, owner: type, name: str) -> None:
        """Learn the name."""
        self._name = name

    def __get__(self, trainer: HasLimits | None, owner: type) -> Any:
        """Return the limit; of the class, this object."""
        return self if trainer is None else getattr(trainer.limits, self._name)

    def __set__(self, trainer: HasLimits, value: Any) -> None:
        """Refuse.

        Raises:
            AttributeError: always.
        """
        raise AttributeError(
            f"The limits of a trainer are settled when it is made. Received {self._name}={value!r} "
            f"afterwards. Make another: Trainer({self._name}={value!r}, ...)."
        )
