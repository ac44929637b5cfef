"""Cell: what a rank forked from a notebook's kernel shows there, and that nobody answers it."""

import builtins
import getpass
import os
import sys
from typing import Any, NoReturn


def show_in_cell() -> None:
    """Let what this rank displays appear in the cell that started it. Elsewhere, do nothing.

    A kernel forwards what its children send, and guards its session against them until they have
    written text. Widgets and figures that come before that would be lost, with a warning for each.

    Whoever asks a question here would wait for ever: the answer goes to the kernel. Standard input
    is closed already, as in every rank; but a kernel puts an ``input`` of its own in place of
    Python's.
    """
    ipython = sys.modules.get("IPython")
    shell = None if ipython is None else ipython.get_ipython()
    session = getattr(getattr(shell, "kernel", None), "session", None)
    if session is not None:
        session.pid = os.getpid()
        builtins.input = getpass.getpass = _nobody_answers


def _nobody_answers(prompt: object = "", *_stream: Any, **_words: Any) -> NoReturn:
    """Raise what ``input`` raises where there is no standard input."""
    raise EOFError(
        "A rank is a process of its own, at whose keyboard nobody sits. Received the question "
        f"{str(prompt)!r}. Ask before the run starts its processes."
    )
