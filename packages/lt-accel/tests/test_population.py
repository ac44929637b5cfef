"""How many processes there will be: for machines and clusters this one is not."""

from datetime import timedelta
from typing import Any

import pytest
import torch

from lt_accel.population import Population, Wanted, populate
from lt_accel.strategies import DDP, TensorParallel, strategy_named

CPU = {"cpu": 1}
FOUR = {"cpu": 1, "cuda": 4}
MAC = {"cpu": 1, "mps": 1}
SLURM = {
    "SLURM_STEP_ID": "0",
    "SLURM_PROCID": "6",
    "SLURM_STEP_NUM_TASKS": "8",
    "SLURM_LOCALID": "2",
    "SLURM_NODEID": "1",
    "SLURM_STEP_NODELIST": "n[1-2]",
    "SLURM_JOB_ID": "3",
}
TORCHRUN = {
    "RANK": "1",
    "WORLD_SIZE": "2",
    "LOCAL_RANK": "1",
    "LOCAL_WORLD_SIZE": "2",
    "MASTER_ADDR": "localhost",
    "MASTER_PORT": "29400",
}
MACHINES = {"NODE_RANK": "1", "MASTER_ADDR": "n1", "MASTER_PORT": "1234"}


def people(variables: Any = (), here: Any = CPU, **words: Any) -> Population:
    strategy = words.pop("strategy", "auto")
    given: dict[str, Any] = {
        "accelerator": "auto",
        "devices": "auto",
        "num_nodes": None,
        "max_restarts": 0,
        **words,
    }
    spread = strategy_named(strategy)
    return populate(Wanted(strategy=strategy, spread=spread, **given), dict(variables), here)


def names(found: Population) -> list[str]:
    return list(map(str, found.devices))


def test_one_device_unless_more_are_named() -> None:
    alone = people(here=FOUR)
    assert (names(alone), alone.strategy, alone.how) == (["cuda:0"], None, None)
    assert alone.why_world == "one process: one device"
    all_of_them = people(here=FOUR, strategy="ddp")
    assert names(all_of_them) == ["cuda:0", "cuda:1", "cuda:2", "cuda:3"]
    assert all_of_them.why_world == "4 processes to start by fork: devices='auto'"


def test_several_devices_are_ddp() -> None:
    found = people(here=FOUR, devices=[1, 3], strategy="auto")
    assert isinstance(found.strategy, DDP)
    assert names(found) == ["cuda:1", "cuda:3"]


def test_the_strategy_says_how_long_to_wait() -> None:
    patient = DDP(timeout=timedelta(hours=2), hang_timeout=None, start_method="popen")
    found = people(devices=2, strategy=patient, max_restarts=3)
    assert found.how is not None
    assert (found.how.timeout, found.how.hang_timeout) == (timedelta(hours=2), None)
    assert (found.how.start_method, found.how.max_restarts, found.how.processes) == ("fork", 3, 2)


def test_processes_of_slurm() -> None:
    found = people(SLURM, FOUR)
    assert found.why_world == (
        "rank 6 of 8: started by srun (Slurm) (SLURM_PROCID=6, SLURM_STEP_NUM_TASKS=8)"
    )
    assert found.place is not None
    assert found.place.address == "n1"
    assert found.devices[found.place.local_rank] == torch.device("cuda", 2)
    assert isinstance(found.strategy, DDP)
    assert names(people(SLURM, FOUR, devices=4, num_nodes=2)) == names(found)


def test_a_launcher_may_show_each_process_one_gpu() -> None:
    found = people(SLURM, {"cpu": 1, "cuda": 1})
    assert found.place is not None
    assert found.devices[found.place.local_rank] == torch.device("cuda", 0)


def test_the_others_can_be_left_alone() -> None:
    assert people(SLURM, FOUR, strategy="single_device").place is None


@pytest.mark.parametrize(
    ("variables", "here", "words", "message"),
    [
        (
            TORCHRUN,
            CPU,
            {"devices": 4},
            r"Received devices=4, which is 4, and 2 processes from torchrun \(RANK=1, WORLD_SIZE=2",
        ),
        (TORCHRUN, CPU, {"devices": 1}, "devices=1, which is 1, and 2 processes .*'single_device'"),
        (TORCHRUN, CPU, {"devices": 2, "num_nodes": 2}, "devices=2 and num_nodes=2, which is 4"),
        (TORCHRUN, CPU, {"num_nodes": 3}, "num_nodes=3, and 2 processes from torchrun"),
        (TORCHRUN, CPU, {"max_restarts": 1}, "max_restarts=1, and processes from torchrun"),
        (TORCHRUN, MAC, {}, "torch can't connect processes on mps"),
        (SLURM, {"cpu": 1, "cuda": 2}, {}, "local rank 2 from srun .* and 2 devices"),
        ({}, MAC, {"strategy": "fsdp"}, "strategy='fsdp' and accelerator='auto'"),
        ({}, CPU, {"devices": 2, "num_nodes": 2}, "no NODE_RANK, MASTER_ADDR, MASTER_PORT"),
        (MACHINES, CPU, {"num_nodes": 2, "max_restarts": 1}, "max_restarts=1 and num_nodes=2"),
        ({**MACHINES, "NODE_RANK": "2"}, CPU, {"num_nodes": 2}, "NODE_RANK=2 and num_nodes=2"),
        ({**MACHINES, "NODE_RANK": "a"}, CPU, {"num_nodes": 2}, "Received NODE_RANK='a'"),
    ],
)
def test_contradictions_name_both_sides(
    variables: Any, here: Any, words: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        people(variables, here, **words)


def test_several_machines_of_our_own() -> None:
    found = people(MACHINES, FOUR, num_nodes=2, devices=4)
    assert found.how is not None
    assert (found.how.num_nodes, found.how.node_rank) == (2, 1)
    assert (found.how.address, found.how.port) == ("n1", 1234)


@pytest.mark.parametrize(
    ("data", "tensor", "processes", "nodes", "sizes"),
    [
        ("auto", "auto", 4, 2, (2, 4)),
        ("auto", 2, 4, 2, (4, 2)),
        (2, "auto", 4, 1, (2, 2)),
        (1, 4, 4, 1, (1, 4)),
    ],
)
def test_sizes_of_a_mesh(
    data: Any, tensor: Any, processes: int, nodes: int, sizes: tuple[int, int]
) -> None:
    strategy = TensorParallel(data_parallel_size=data, tensor_parallel_size=tensor)
    assert strategy.sizes(processes, nodes) == sizes


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: DDP(timeout=3), TypeError, "timeout=3. Use timedelta"),
        (lambda: DDP(timeout=timedelta()), ValueError, "longer than nothing"),
        (lambda: DDP(hang_timeout=0), ValueError, "hang_timeout=0"),
        (lambda: DDP(start_method="frok"), ValueError, "Did you mean 'fork'"),
        (lambda: DDP(ddp_comm_state=1), ValueError, "ddp_comm_hook=None"),
        (lambda: TensorParallel(tensor_parallel_size=0), ValueError, "tensor_parallel_size=0"),
        (lambda: TensorParallel(data_parallel_size=True), ValueError, "data_parallel_size=True"),
    ],
)
def test_strategies_check_themselves(make: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        make()
