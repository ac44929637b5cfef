"""Settings: what is the same for all loaders of a feed."""

from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any, Literal, final, get_args

Ordering = Literal["seeded", "torch"]
OnUnseekable = Literal["warn", "error"]


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """How loaders are read; :class:`lt_data.TorchFeed` says what each of them means.

    Raises:
        TypeError: a number is none.
        ValueError: a choice is none of those there are, or a time is negative.
    """

    seed: int | None = None
    order: Ordering = "seeded"
    on_unseekable: OnUnseekable = "warn"
    timeout: float = 300.0
    seed_samples: bool = True

    def __post_init__(self) -> None:
        _check_choice("order", self.order, get_args(Ordering))
        _check_choice("on_unseekable", self.on_unseekable, get_args(OnUnseekable))
        if self.seed is not None and (
            isinstance(self.seed, bool) or not isinstance(self.seed, int)
        ):
            raise TypeError(
                f"seed is an int, or None for that of torch. Received {self.seed!r} of type "
                f"{type(self.seed).__name__}."
            )
        if isinstance(self.timeout, bool) or not isinstance(self.timeout, int | float):
            raise TypeError(
                f"timeout is a number of seconds. Received {self.timeout!r} of type "
                f"{type(self.timeout).__name__}. 0 waits without end."
            )
        if not 0 <= self.timeout < float("inf"):
            raise ValueError(
                f"timeout is 0 seconds or more. Received {self.timeout!r}. 0 waits without end."
            )


def _check_choice(name: str, given: Any, choices: tuple[str, ...]) -> None:
    if given in choices:
        return
    close = get_close_matches(str(given), choices, n=1)
    hint = f" Did you mean {close[0]!r}?" if close else ""
    raise ValueError(f"{name} is one of {', '.join(map(repr, choices))}. Received {given!r}.{hint}")
