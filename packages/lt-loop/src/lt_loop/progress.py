"""Progress: how far a run has come, each count under its own name."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields


@dataclass(slots=True)
class Progress:
    """How far a run has come. Only the engine writes it; it is saved with a checkpoint.

    Attributes:
        epoch: epochs completed, which is also the index of the epoch under way.
        batch: batches done in the epoch under way.
        batches: training batches done in the whole run.
        steps: optimizer steps taken in the whole run (Lightning's ``global_step``): one for each
            effective batch in which anything stepped.
        skipped_steps: steps that a loss scaler skipped; they count in nothing else.
    """

    epoch: int = 0
    batch: int = 0
    batches: int = 0
    steps: int = 0
    skipped_steps: int = 0

    def state_dict(self) -> dict[str, int]:
        """Return the counts by name."""
        return asdict(self)

    def load_state_dict(self, state: Mapping[str, int]) -> None:
        """Put the counts back, in place.

        Raises:
            ValueError: a count is missing.
        """
        names = [field.name for field in fields(self)]
        if missing := [name for name in names if name not in state]:
            raise ValueError(
                f"A saved progress holds {', '.join(names)}. Received {dict(state)!r}, "
                f"which lacks {', '.join(missing)}."
            )
        for name in names:
            setattr(self, name, int(state[name]))
