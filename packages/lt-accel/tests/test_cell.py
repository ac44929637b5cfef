"""What a rank shows in the cell of a notebook, and whom it can ask."""

import builtins
import getpass
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from lt_accel import TorchWorld, select

pytestmark = pytest.mark.timeout(40)


def two() -> TorchWorld:
    world = select(accelerator="cpu", devices=2).world
    assert isinstance(world, TorchWorld)
    return world


class Session:
    """What a kernel sends with; it drops what others than its own process send."""

    def __init__(self) -> None:
        self.pid = os.getpid()


@pytest.fixture
def session(monkeypatch: pytest.MonkeyPatch) -> Session:
    """That of a kernel, in which this process seems to run."""
    kept = Session()
    shell = SimpleNamespace(kernel=SimpleNamespace(session=kept))
    monkeypatch.setitem(sys.modules, "IPython", SimpleNamespace(get_ipython=lambda: shell))
    return kept


def test_the_session_of_a_kernel_lets_its_ranks_send(session: Session) -> None:
    world = two()

    assert world.launch(lambda: world.gather(session.pid == os.getpid())) == [True, True]
    assert session.pid == os.getpid()


@pytest.mark.parametrize("ask", ["input", "getpass"])
def test_a_question_in_a_cell_is_refused_rather_than_waited_for(
    session: Session, ask: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def of_the_kernel(prompt: str) -> str:
        raise AssertionError("the kernel was asked, and the answer would go to it")

    module: Any = {"input": builtins, "getpass": getpass}[ask]
    monkeypatch.setattr(module, ask, of_the_kernel)
    with pytest.raises(EOFError, match=r"Received the question 'Name: '\. Ask before the run"):
        two().launch(lambda: getattr(module, ask)("Name: "))
    assert getattr(module, ask) is of_the_kernel


@pytest.mark.parametrize("shell", [None, SimpleNamespace()], ids=["none", "of a terminal"])
def test_without_a_kernel_nothing_changes(shell: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "IPython", SimpleNamespace(get_ipython=lambda: shell))
    world, asks = two(), builtins.input

    assert world.launch(lambda: world.gather(builtins.input is asks)) == [True, True]


AT_A_TERMINAL = """
import fcntl, getpass, termios
fcntl.ioctl(0, termios.TIOCSCTTY, 0)  # now this process has a terminal
from lt_accel import select
world = select(accelerator="cpu", devices=2).world
try:
    world.launch(lambda: getpass.getpass("password: "))
except EOFError:
    open("refused", "w").close()
"""


@pytest.mark.slow
def test_a_password_asked_for_at_a_terminal_is_refused_too(tmp_path: Path) -> None:
    (tmp_path / "script.py").write_text(AT_A_TERMINAL)
    ours, theirs = os.openpty()
    try:
        subprocess.run(
            [sys.executable, "-W", "ignore", "script.py"],
            cwd=tmp_path,
            stdin=theirs,
            start_new_session=True,
            capture_output=True,
            timeout=30,
            check=True,
        )
    finally:
        os.close(ours)
        os.close(theirs)
    assert (tmp_path / "refused").exists()
