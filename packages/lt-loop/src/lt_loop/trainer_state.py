"""What a trainer does, in Lightning's words: ``trainer.state``."""

from dataclasses import dataclass
from typing import Literal

from lt_loop.run import Function, Stage


@dataclass(frozen=True, slots=True)
class TrainerState:
    """What a trainer does, in Lightning's words.

    Attributes:
        fn: ``fit``, ``validate``, ``test``, ``predict``, None before the first run.
        stage: ``train``, ``sanity_check``, ``validate``, ``test``, ``predict``, None between runs.
        status: ``initializing``, ``running``, ``finished`` or ``interrupted``.
    """

    fn: Function | None = None
    stage: Stage | None = None
    status: Literal["initializing", "running", "finished", "interrupted"] = "initializing"

    @property
    def finished(self) -> bool:
        """Whether the last run ended well."""
        return self.status == "finished"

    @property
    def stopped(self) -> bool:
        """Whether the last run ended, well or not."""
        return self.status in ("finished", "interrupted")
