"""A learning-rate scheduler that is stepped no more."""

from typing import Any, final


@final
class RestingScheduler:
    """Stands before a scheduler: it is still there, in the state too, but stepping it does nothing.

    Attributes:
        scheduler: the one behind it.
    """

    def __init__(self, scheduler: Any) -> None:
        """Put a scheduler to rest."""
        self.scheduler = scheduler

    def step(self, *_arguments: Any) -> None:
        """Do nothing."""

    def __getattr__(self, name: str) -> Any:
        """Hand on everything else, once there is something to hand it on to."""
        if name == "scheduler" or name.startswith("__"):
            raise AttributeError(name)
        return getattr(self.scheduler, name)
