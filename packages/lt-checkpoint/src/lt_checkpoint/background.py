"""Work beside the training: one piece at a time, awaited, its failure handed over."""

import faulthandler
import threading
from collections.abc import Callable
from typing import final


@final
class Piece:
    """One piece of work.

    Attributes:
        given_up: whether it has taken too long: it has failed, whatever becomes of it.
    """

    given_up = False


@final
class Background:
    """Runs one function at a time in a thread. Whoever starts the next one waits for it first.

    Who waits and is interrupted, as by a second Ctrl-C, waits no more: what hangs must not keep the
    process. For the same reason the thread is a daemon; :meth:`take_failure` is called before the
    end of every run, and waits.

    Attributes:
        left_behind: whether a piece of work was given up and may still use what it was given.
    """

    def __init__(self, seconds: float | None = None) -> None:
        """Wait so long for one piece of work; None for any time."""
        self._seconds = seconds
        self._thread: threading.Thread | None = None
        self._piece = Piece()
        self._failure: Exception | None = None
        self.left_behind = False

    def start(self, work: Callable[[Piece], None]) -> None:
        """Run a function in the background, after what runs there has ended."""
        self.wait()
        self._piece = piece = Piece()

        def run() -> None:
            try:
                work(piece)
            except Exception as error:  # raised by take_failure
                if not piece.given_up:
                    self._failure = self._failure or error

        self._thread = threading.Thread(target=run, name="lt-checkpoint", daemon=True)
        self._thread.start()

    @property
    def failed(self) -> bool:
        """Whether something has failed; does not wait."""
        return self._failure is not None

    def take_failure(self) -> Exception | None:
        """Wait for what runs; return the first failure since the last call, None for none."""
        self.wait()
        failure, self._failure = self._failure, None
        return failure

    def abandon(self) -> Exception | None:
        """Wait for nothing; return what failed, as far as it is known."""
        if self._thread is not None and self._thread.is_alive():
            self._give_up(TimeoutError("Nobody waited for its end."))
        self._thread = None
        return self.take_failure()

    def wait(self) -> None:
        """Return when nothing runs."""
        thread, self._thread = self._thread, None
        if thread is None:
            return
        try:
            thread.join(self._seconds)
        except BaseException:
            self._give_up(TimeoutError("Nobody waited for its end."))
            raise
        if thread.is_alive():
            faulthandler.dump_traceback(all_threads=True)
            self._give_up(
                TimeoutError(
                    f"A save beside the training ends within {self._seconds:g} seconds. Received "
                    "one that does not. Look at the disk, or pass "
                    "ModelCheckpoint(save_timeout=...)."
                )
            )

    def _give_up(self, failure: Exception) -> None:
        self._piece.given_up = self.left_behind = True
        self._failure = self._failure or failure
