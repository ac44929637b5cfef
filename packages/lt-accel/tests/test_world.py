"""Two processes on this machine: that they find each other, and what they tell each other."""

import os
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import torch

from lt_accel import DDP, SingleProcess, TorchWorld, select
from lt_accel.launching import refuse_to_start

pytestmark = pytest.mark.timeout(60)


def test_one_process_alone() -> None:
    world = SingleProcess()
    assert (world.rank, world.world_size, world.local_rank) == (0, 1, 0)
    assert (world.node_rank, world.restarts) == (0, 0)
    assert world.launch(lambda: "result") == "result"
    assert world.agree(3) == 3
    assert world.reduce([1.0, 2.0], "mean") == [1.0, 2.0]
    assert world.broadcast({"a": 1}) == {"a": 1}
    assert world.gather("mine") == ["mine"]
    assert world.barrier() is None  # type: ignore[func-returns-value]


def two(**words: Any) -> TorchWorld:
    world = select(accelerator="cpu", devices=2, **words).world
    assert isinstance(world, TorchWorld)
    return world


def test_two_processes() -> None:
    world = two()
    outside = os.getpid()

    def main() -> dict[str, Any]:  # a closure: nothing of it is pickled
        rank = world.rank
        early = [world.agree(5 if rank else 0), world.agree(0), world.agree(1 + rank)]
        late = [world.agree(0) for _ in range(5)]
        everybody = world.gather((rank, world.local_rank, world.node_rank, world.device.type))
        world.barrier()
        return {
            "agreed": world.gather((early, late)),
            "everybody": everybody,
            "size": world.world_size,
            "reduced": [world.reduce([1.0 + rank, 0.5], op) for op in ("mean", "sum")],
            "extremes": [world.reduce([rank], op) for op in ("min", "max")],
            "broadcast": world.broadcast({"from": rank}, src=1),
            "nested": world.launch(lambda: "here"),
            "threads": torch.get_num_threads(),
            "inside": os.getpid() != outside,
            "large": torch.arange(3_000_000),
        }

    assert world.world_size == 2
    result = world.launch(main)
    assert torch.equal(result.pop("large"), torch.arange(3_000_000))
    assert result == {
        "agreed": [([0, 5, 0], [2, 0, 0, 0, 0])] * 2,
        "everybody": [(0, 0, 0, "cpu"), (1, 1, 0, "cpu")],
        "size": 2,
        "reduced": [[1.5, 0.5], [3.0, 1.0]],
        "extremes": [[0.0], [1.0]],
        "broadcast": {"from": 1},
        "nested": "here",
        "threads": 1,
        "inside": True,
    }
    assert world.launch(lambda: world.rank) == 0  # a second time
    assert "OMP_NUM_THREADS" in os.environ or "TORCHELASTIC_SIGNALS_TO_HANDLE" not in os.environ


def test_a_thread_talks_beside_the_rest() -> None:
    """Over a channel of its own, so that nobody hears what was meant for the other thread."""
    world = two()

    def main() -> list[Any]:
        channel = world.beside()
        heard: list[Any] = []

        def talk() -> None:
            heard.extend(channel.gather(("beside", n, world.rank)) for n in range(200))

        thread = threading.Thread(target=talk)
        thread.start()
        told = [world.gather((number, world.rank)) for number in range(200)]
        world.barrier()
        thread.join()
        channel.close()
        assert told == [[(number, 0), (number, 1)] for number in range(200)]
        place = (channel.rank == world.rank, channel.world_size)
        return world.gather((place, heard))

    expected = [[("beside", number, 0), ("beside", number, 1)] for number in range(200)]
    assert world.launch(main) == [((True, 2), expected)] * 2


def test_a_group_of_one() -> None:
    world = select(accelerator="cpu", devices=1, strategy="ddp").world
    assert world.launch(lambda: (world.rank, world.agree(4), world.agree(0))) == (0, 0, 4)


def test_from_a_thread() -> None:
    world, found = two(), []
    thread = threading.Thread(target=lambda: found.append(world.launch(lambda: world.world_size)))
    thread.start()
    thread.join(timeout=30)
    assert found == [2]


def test_a_world_outside_of_a_launch_says_so() -> None:
    world = two()
    assert (world.rank, world.local_rank, world.restarts, world.is_up) == (0, 0, 0, False)
    with pytest.raises(RuntimeError, match=r"a world of 2. Pass what calls it to world.launch"):
        world.barrier()


def test_a_worker_of_a_pool_can_start_processes(tmp_path: Path) -> None:
    world = two()

    def main() -> list[int]:
        with ThreadPoolExecutor(1) as inner:  # what a rank has of its own works as ever
            inner.submit((tmp_path / str(world.rank)).touch)
        return world.gather(world.rank)

    with ThreadPoolExecutor(2) as pool:
        pool.submit(int).result()
        assert pool.submit(world.launch, main).result(timeout=50) == [0, 1]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["0", "1"]


def test_a_gpu_in_use_cannot_be_forked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: True)
    with pytest.raises(
        RuntimeError, match=r"cuda is initialised.*torchrun, or use strategy='ddp_sp"
    ):
        refuse_to_start("fork")
    refuse_to_start("spawn")


def test_a_start_method_that_the_system_lacks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("multiprocessing.get_all_start_methods", lambda: ["spawn"])
    with pytest.raises(RuntimeError, match="start_method='fork' needs a system that has it"):
        refuse_to_start("fork")


SCRIPT = """
import sys
from lt_accel import select

world = select(accelerator="cpu", strategy=sys.argv[1] if len(sys.argv) > 1 else "auto").world

class Main:
    def __init__(self, world):
        self.world = world

    def __call__(self):
        answers = self.world.agree(self.world.rank), self.world.agree(0)
        return self.world.gather(self.world.rank), answers, self.world.restarts

if __name__ == "__main__":
    for _ in range(2):
        result = world.launch(Main(world))
    if world.rank == 0:
        print(result)
"""


def run(*arguments: str, folder: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=folder,
        env={**os.environ, "OMP_NUM_THREADS": "1", **variables},
        capture_output=True,
        text=True,
        timeout=50,
    )


@pytest.mark.slow
def test_torchrun(tmp_path: Path) -> None:
    (tmp_path / "script.py").write_text(SCRIPT)
    words = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", "script.py")
    done = run(*words, folder=tmp_path, TMPDIR=str(tmp_path))  # torchrun leaves a folder there
    assert done.returncode == 0, done.stderr
    assert done.stdout == "([0, 1], (0, 1), 0)\n"


@pytest.mark.slow
def test_srun(tmp_path: Path) -> None:
    """What Slurm would set, for two processes that are started by hand."""
    (tmp_path / "script.py").write_text(SCRIPT)
    variables = {
        "SLURM_STEP_ID": "0",
        "SLURM_JOB_ID": str(os.getpid()),
        "SLURM_STEP_NUM_TASKS": "2",
        "SLURM_NODEID": "0",
        "SLURM_STEP_NODELIST": "localhost",
    }
    ranks = [
        subprocess.Popen(
            [sys.executable, "script.py", "ddp"],
            cwd=tmp_path,
            env={**os.environ, **variables, "SLURM_PROCID": rank, "SLURM_LOCALID": rank},
            stdout=subprocess.PIPE,
            text=True,
        )
        for rank in "01"
    ]
    outputs = [rank.communicate(timeout=50)[0] for rank in ranks]
    assert [rank.returncode for rank in ranks] == [0, 0]
    assert outputs == ["([0, 1], (0, 1), 0)\n", ""]


@pytest.mark.slow
def test_spawned_processes_get_what_is_pickled(tmp_path: Path) -> None:
    script = SCRIPT.replace(
        'strategy=sys.argv[1] if len(sys.argv) > 1 else "auto"', 'devices=2, strategy="ddp_spawn"'
    )
    (tmp_path / "script.py").write_text(script)
    done = run("script.py", folder=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout == "([0, 1], (0, 1), 0)\n"


@pytest.mark.slow
def test_two_machines_of_one_rank(tmp_path: Path) -> None:
    (tmp_path / "script.py").write_text(SCRIPT.replace("accelerator", "num_nodes=2, accelerator"))
    port = str(20000 + os.getpid() % 10000)
    nodes = [
        subprocess.Popen(
            [sys.executable, "script.py"],
            cwd=tmp_path,
            env={
                **os.environ,
                "NODE_RANK": node,
                "MASTER_ADDR": "127.0.0.1",
                "MASTER_PORT": port,
            },
            stdout=subprocess.PIPE,
            text=True,
        )
        for node in "01"
    ]
    outputs = [node.communicate(timeout=50)[0] for node in nodes]
    assert [node.returncode for node in nodes] == [0, 0]
    assert outputs == ["([0, 1], (0, 1), 0)\n"] * 2


def test_hang_timeout_is_a_word_of_the_strategy() -> None:
    world = select(accelerator="cpu", devices=2, strategy=DDP(hang_timeout=7.0)).world
    assert isinstance(world, TorchWorld)
    assert world._how.hang_timeout == 7.0
