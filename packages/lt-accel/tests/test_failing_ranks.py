"""What becomes of a group when one of its ranks fails, in any way. Nothing here may hang."""

import contextlib
import gc
import multiprocessing
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.distributed import TCPStore  # type: ignore[attr-defined]

from lt_accel import DDP, RankError, TorchWorld, select, supervision

# Each of these ends within seconds; what the group must not do is wait for ever.
pytestmark = pytest.mark.timeout(40)


def two(**words: Any) -> TorchWorld:
    world = select(accelerator="cpu", devices=2, **words).world
    assert isinstance(world, TorchWorld)
    return world


def where_rank_1_fails(world: TorchWorld, fail: Callable[[], Any]) -> Callable[[], None]:
    """Return a main in whose midst rank 1 fails, and rank 0 waits for it."""

    def main() -> None:
        for call in range(3):
            world.agree(0)
            if world.rank == 1 and call == 1:
                fail()
            world.reduce([1.0], "sum")

    return main


class PlainError(LookupError):
    pass


class DemandingError(Exception):
    def __init__(self, what: str, *, why: str) -> None:
        super().__init__(f"{what}: {why}")


def raise_(error: BaseException) -> None:
    raise error


def test_an_exception_keeps_its_type_and_shows_its_traceback() -> None:
    world = two()
    with pytest.raises(PlainError, match="no such thing") as raised:
        world.launch(where_rank_1_fails(world, lambda: raise_(PlainError("no such thing"))))
    whose, traceback = raised.value.__notes__
    assert whose == "Raised on rank 1 of 2, where its traceback was:"
    assert "in raise_" in traceback
    assert traceback.endswith("PlainError: no such thing")


@pytest.mark.parametrize(
    "torchs",
    [
        "Unable to handle autograd's threading in combination with fork-based multiprocessing.",
        "Cannot re-initialize CUDA in forked subprocess. To use CUDA with multiprocessing, ...",
    ],
)
def test_what_torch_says_of_a_fork_is_explained(torchs: str) -> None:
    world = two()
    with pytest.raises(RuntimeError, match=r"can't be forked.* or use strategy='ddp_spawn'"):
        world.launch(where_rank_1_fails(world, lambda: raise_(RuntimeError(torchs))))


def test_an_exception_that_cannot_be_pickled_is_told() -> None:
    world = two()
    error = DemandingError("water", why="thirst")
    with pytest.raises(RankError, match="Rank 1 of 2 raised DemandingError: water: thirst") as told:
        world.launch(where_rank_1_fails(world, lambda: raise_(error)))
    assert (told.value.rank, told.value.exit_code) == (1, None)
    assert "in raise_" in told.value.__notes__[1]


def test_an_exit_is_that_of_the_caller() -> None:
    world = two()
    with pytest.raises(SystemExit) as left:
        world.launch(where_rank_1_fails(world, lambda: sys.exit(4)))
    assert left.value.code == 4


@pytest.mark.parametrize("code", [0, None])
def test_an_exit_that_says_all_went_well_is_a_failure(code: int | None) -> None:
    world = two()
    with pytest.raises(RankError, match=rf"Rank 1 of 2 left by sys\.exit\({code}\)") as told:
        world.launch(where_rank_1_fails(world, lambda: sys.exit(code)))
    assert (told.value.rank, told.value.exit_code) == (1, 0)
    assert "in main" in told.value.__notes__[1]


@pytest.mark.parametrize(
    ("fail", "said", "code"),
    [
        (lambda: os.kill(os.getpid(), signal.SIGKILL), "was killed by SIGKILL", -9),
        (lambda: os.kill(os.getpid(), signal.SIGSEGV), "was killed by SIGSEGV", -11),
        (lambda: os._exit(3), "exited with code 3", 3),
        (lambda: os._exit(0), "(exited with code 0|ended before its work was done)", 0),
    ],
    ids=["kill", "segfault", "exit", "exit-0"],
)
def test_a_rank_that_ends_without_a_word(fail: Callable[[], Any], said: str, code: int) -> None:
    world = two()
    with pytest.raises(RankError, match=f"Rank 1 of 2 {said}") as told:
        world.launch(where_rank_1_fails(world, fail))
    assert (told.value.rank, told.value.exit_code or 0) == (1, code)


def test_all_ranks_end_without_a_word(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supervision, "GRACE", 1.0)
    with pytest.raises(RankError, match=r"Rank [01] of 2 (exited with code 0|ended before)"):
        two().launch(lambda: os._exit(0))


def sleeps_for_ever() -> None:
    time.sleep(1000)


def never_returns_to_python() -> None:
    sum(range(10**15))


@pytest.mark.parametrize("hang", [sleeps_for_ever, never_returns_to_python])
def test_a_rank_that_hangs_shows_where(hang: Callable[[], None]) -> None:
    world = two(strategy=DDP(hang_timeout=1.5))
    message = r"Rank 1 of 2 showed no sign of life for 1.5 s \(hang_timeout\)"
    with pytest.raises(RankError, match=message) as told:
        world.launch(where_rank_1_fails(world, hang))
    note, other = told.value.__notes__
    assert re.search(rf"in {hang.__name__}\n.*in main$", note, re.DOTALL)
    assert "watchdog" not in note
    assert other.startswith("Rank 0's Python stack was, the latest call first: It waits for others")


@pytest.mark.parametrize("bad", [0, 1])
@pytest.mark.parametrize("silent_in", ["torch's collective", "a step"])
def test_a_rank_that_waits_in_a_collective_of_torch_is_not_blamed(bad: int, silent_in: str) -> None:
    world = two(strategy=DDP(hang_timeout=1.5))

    def main() -> None:
        world.agree(0)
        if world.rank == bad:
            if silent_in == "torch's collective":  # longer silent than the one to blame
                world.pulse.beat()
            sleeps_for_ever()
        if silent_in == "a step":
            time.sleep(0.1)
            world.pulse.beat()
        torch.distributed.all_reduce(torch.ones(1))

    with pytest.raises(RankError, match=f"Rank {bad} of 2 showed no sign of life") as told:
        world.launch(main)
    assert told.value.rank == bad
    assert "in sleeps_for_ever" in told.value.__notes__[0]
    assert "in all_reduce" in told.value.__notes__[1]


def test_garbage_of_before_the_fork_is_left_alone() -> None:
    """The end of torch's store waits for a thread, which a fork does not have."""
    world = two()
    gc.disable()  # so that it is garbage still
    try:
        cycle: list[Any] = [TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)]
        cycle.append(cycle)
        del cycle
        assert world.launch(lambda: gc.collect() >= 0)
    finally:
        gc.enable()
        gc.collect()


def test_a_rank_that_is_stopped() -> None:
    world = two(strategy=DDP(hang_timeout=1.5))
    stop = where_rank_1_fails(world, lambda: os.kill(os.getpid(), signal.SIGSTOP))
    with pytest.raises(RankError, match="Rank 1 of 2 showed no sign of life") as told:
        world.launch(stop)
    assert "the process is stopped" in told.value.__notes__[0]


def test_what_is_watched_by_others_may_take_its_time() -> None:
    """A save has a time of its own; both ranks are in it, or one waits in the agreement."""
    world = two(strategy=DDP(hang_timeout=0.4))

    def main() -> list[int]:
        world.agree(0)
        with world.busy():
            time.sleep(1.5 if world.rank else 0.0)
            told = world.gather(world.rank)
        world.agree(0)
        return told

    assert world.launch(main) == [0, 1]


def test_time_before_the_first_step_is_free() -> None:
    world = two(strategy=DDP(hang_timeout=0.3))

    def main() -> int:
        time.sleep(1.0 if world.rank == 0 else 0.0)  # prepares data, say
        return world.agree(0)

    assert world.launch(main) == 0


def test_survivors_that_do_not_listen_are_killed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supervision, "GRACE", 1.0)
    world = two()

    def main() -> None:
        if world.rank == 1:
            os._exit(5)
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        time.sleep(1000)

    with pytest.raises(RankError, match=r"Rank 1 of 2 (exited with code 5|ended before)"):
        world.launch(main)


def test_a_group_starts_again() -> None:
    world = two(max_restarts=2)

    def main() -> list[int]:
        if world.restarts < 2 and world.rank == 1:
            os.kill(os.getpid(), signal.SIGKILL)
        return world.gather(world.restarts)

    assert world.launch(main) == [2, 2]
    with pytest.raises(PlainError, match="attempt 2"):
        world.launch(lambda: raise_(PlainError(f"attempt {world.restarts}")))


def test_a_result_comes_back_pickled() -> None:
    world = two()
    with pytest.raises(TypeError, match=r"can be pickled\. Received function"):
        world.launch(lambda: lambda: 0)


STOPS = """
import os, signal, sys, time
from lt_accel import select

world = select(accelerator="cpu", devices=2).world
asked = []

def main():
    signal.signal(signal.SIGTERM, lambda number, frame: asked.append(number))
    signal.signal(signal.SIGINT, lambda number, frame: asked.append(number))
    os.write(1, f"ready {os.getpid()}\\n".encode())  # in one piece
    steps = 0
    while not world.agree(len(asked)):
        steps += 1
        time.sleep(0.01)
    return world.gather((steps, [signal.Signals(n).name for n in asked]))

(first, asked0), (second, asked1) = world.launch(main)
print(first == second, asked0, asked1)
"""


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_to_the_launcher_reaches_each_rank_once(
    tmp_path: Path, number: signal.Signals
) -> None:
    launcher = started(STOPS, tmp_path)
    wait_for_ranks(launcher)
    launcher.send_signal(number)
    output, errors = launcher.communicate(timeout=30)
    assert output == f"True ['{number.name}'] ['{number.name}']\n", errors
    assert launcher.returncode == 0


@pytest.mark.slow
def test_ranks_that_do_not_ask_die_of_the_signal_and_the_launcher_too(tmp_path: Path) -> None:
    deaf = STOPS.replace("    signal.signal(signal.SIGTERM", "    0 and (signal.SIGTERM")
    launcher = started(deaf, tmp_path)
    wait_for_ranks(launcher)
    launcher.send_signal(signal.SIGTERM)
    launcher.communicate(timeout=30)
    assert launcher.returncode == -signal.SIGTERM


LINGERS = """
import contextlib, os, signal, sys, time
from lt_accel import ranks, select

world = select(accelerator="cpu", devices=2).world
saves = {saves}
ranks.PARTING = 0.1 if saves else 5.0
asked = []

def main():
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda number, frame: asked.append(signal.Signals(number).name))
    os.write(1, f"ready {os.getpid()}\\n".encode())
    while not world.agree(len(asked)):
        time.sleep(0.01)
    if world.rank == 0:
        with world.busy() if saves else contextlib.nullcontext():
            time.sleep(1.0)
        print(asked, flush=True)
    raise SystemExit(143)

world.launch(main)
"""


@pytest.mark.slow
@pytest.mark.parametrize("saves", [False, True])
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_ranks_that_were_told_to_end_wait_for_the_slowest(
    tmp_path: Path, number: signal.Signals, saves: bool
) -> None:
    """Torch would end it with a SIGTERM as soon as one of them is gone."""
    launcher = started(LINGERS.replace("{saves}", str(saves)), tmp_path)
    wait_for_ranks(launcher)
    launcher.send_signal(number)
    output, errors = launcher.communicate(timeout=30)
    assert output == f"['{number.name}']\n", errors
    assert launcher.returncode == 143


@pytest.mark.slow
def test_a_signal_to_each_process_reaches_a_rank_once(tmp_path: Path) -> None:
    """As a cluster sends it; what the launcher hands on is not taken for a second one."""
    patient = STOPS.replace("while not", "ends = time.monotonic() + 2\n    while not")
    patient = patient.replace("world.agree(len(asked))", "world.agree(ends < time.monotonic())")
    launcher = started(patient, tmp_path)
    for pid in (*wait_for_ranks(launcher), launcher.pid):
        os.kill(pid, signal.SIGTERM)
    output, errors = launcher.communicate(timeout=30)
    assert output == "True ['SIGTERM'] ['SIGTERM']\n", errors


@pytest.mark.slow
def test_other_signals_reach_the_ranks_where_nobody_else_handles_them(tmp_path: Path) -> None:
    asking = STOPS.replace("signal.SIGINT, lambda", "signal.SIGUSR1, lambda")
    launcher = started(asking, tmp_path)
    wait_for_ranks(launcher)
    launcher.send_signal(signal.SIGUSR1)
    output, errors = launcher.communicate(timeout=30)
    assert output == "True ['SIGUSR1'] ['SIGUSR1']\n", errors
    launcher = started(STOPS, tmp_path)
    wait_for_ranks(launcher)
    launcher.send_signal(signal.SIGUSR1)
    launcher.communicate(timeout=30)
    assert launcher.returncode == -signal.SIGUSR1, "where nobody asked for it"


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder for temporary files, of this process and of those it starts."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setenv("TMPDIR", str(folder))
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


@pytest.mark.parametrize(
    "fail",
    [lambda: None, lambda: raise_(PlainError()), lambda: os.kill(os.getpid(), signal.SIGKILL)],
    ids=["nothing", "exception", "kill"],
)
def test_nothing_is_left_in_the_temporary_folder(fail: Callable[[], Any], temporary: Path) -> None:
    world = two()
    with contextlib.suppress(PlainError, RankError):
        world.launch(where_rank_1_fails(world, fail))
    kept = ("torchinductor_",)  # torch's cache of compiled code, which is there to stay
    assert [path for path in temporary.iterdir() if not path.name.startswith(kept)] == []


@pytest.mark.slow
def test_what_a_killed_launcher_has_left_is_removed_by_the_next(
    tmp_path: Path, temporary: Path
) -> None:
    killed, living = started(STOPS, tmp_path), started(STOPS, tmp_path)
    ranks = wait_for_ranks(killed)
    wait_for_ranks(living)
    killed.kill()
    killed.communicate(timeout=10)
    while any(map(lives, ranks)):
        time.sleep(0.05)  # the test's timeout is the bound
    (temporary / "lt-ranks-of-others").mkdir()  # no lock in it: not ours to judge
    assert len(list(temporary.glob("lt-ranks-*"))) == 3

    assert two().launch(lambda: 5) == 5
    assert len(list(temporary.glob("lt-ranks-*"))) == 2
    living.send_signal(signal.SIGTERM)
    output, errors = living.communicate(timeout=30)
    assert output == "True ['SIGTERM'] ['SIGTERM']\n", errors
    assert [path.name for path in temporary.iterdir()] == ["lt-ranks-of-others"]


def busy(folder: Path) -> None:
    """What a worker of a loader does that won't look up for a long time."""
    (folder / f"worker-{os.getpid()}").touch()
    time.sleep(1000)


@pytest.mark.parametrize(
    "fail",
    [lambda: raise_(PlainError()), lambda: os.kill(os.getpid(), signal.SIGKILL)],
    ids=["exception", "kill"],
)
def test_workers_of_a_rank_that_fails_end_with_it(fail: Callable[[], Any], tmp_path: Path) -> None:
    world = two()

    def main() -> None:
        worker = multiprocessing.get_context("fork").Process(
            target=busy, args=(tmp_path,), daemon=True
        )
        worker.start()
        while len(list(tmp_path.glob("worker-*"))) < 2:
            time.sleep(0.01)
        world.barrier()
        where_rank_1_fails(world, fail)()

    with pytest.raises((PlainError, RankError)):
        world.launch(main)
    workers = [int(path.name.removeprefix("worker-")) for path in tmp_path.glob("worker-*")]
    assert len(workers) == 2
    while any(map(lives, workers)):
        time.sleep(0.05)  # the test's timeout is the bound


def test_answers_to_signals_are_what_they_were() -> None:
    numbers = [signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT, signal.SIGUSR1]
    world = two()

    def answers() -> list[Any]:
        return [signal.getsignal(number) for number in numbers]

    before = answers()  # ignored under nohup
    inside = world.launch(lambda: [str(answer) for answer in answers()[2:4]])
    assert inside == [str(answer) for answer in before[2:4]]  # not torch's, of the launcher
    assert answers() == before


HANGS_UP = STOPS.replace("asked = []", "asked = []; signal.signal(signal.SIGHUP, signal.SIG_IGN)")


@pytest.mark.slow
def test_a_launcher_that_ignores_a_hangup_goes_on(tmp_path: Path) -> None:
    launcher = started(HANGS_UP, tmp_path)  # as nohup has it
    wait_for_ranks(launcher)
    launcher.send_signal(signal.SIGHUP)
    with pytest.raises(subprocess.TimeoutExpired):
        launcher.wait(timeout=2)
    launcher.send_signal(signal.SIGTERM)
    output, errors = launcher.communicate(timeout=30)
    assert output == "True ['SIGTERM'] ['SIGTERM']\n", errors


DEAF = STOPS.replace("time.sleep(0.01)", "sum(range(10**15))")


@pytest.mark.slow
def test_the_third_signal_ends_all_at_once(tmp_path: Path) -> None:
    launcher = started(DEAF, tmp_path)
    ranks = wait_for_ranks(launcher)
    time.sleep(0.5)  # into the sum
    for _ in range(3):
        launcher.send_signal(signal.SIGTERM)
        time.sleep(0.3)
    launcher.communicate(timeout=8)  # torch alone would ask, and wait for ten seconds
    assert launcher.returncode == 128 + signal.SIGTERM
    assert not any(map(lives, ranks))


@pytest.mark.slow
def test_ranks_die_with_a_launcher_that_is_killed(tmp_path: Path, temporary: Path) -> None:
    launcher = started(STOPS, tmp_path)
    ranks = wait_for_ranks(launcher)
    launcher.kill()
    launcher.communicate(timeout=10)
    while any(map(lives, ranks)):
        time.sleep(0.05)  # the test's timeout is the bound


def started(script: str, folder: Path) -> subprocess.Popen[str]:
    (folder / "script.py").write_text(script)
    return subprocess.Popen(
        [sys.executable, "script.py"],
        cwd=folder,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def wait_for_ranks(launcher: subprocess.Popen[str]) -> list[int]:
    assert launcher.stdout is not None
    return [int(launcher.stdout.readline().split()[1]) for _ in range(2)]


def lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    status = Path(f"/proc/{pid}/stat")
    return not status.exists() or status.read_text().rpartition(")")[2].split()[0] != "Z"
