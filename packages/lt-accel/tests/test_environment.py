from pathlib import Path

import pytest

from lt_accel.environment import LAUNCHERS, PORTS, Variables, first_host, placement

TORCHRUN = {
    "RANK": "5",
    "WORLD_SIZE": "8",
    "LOCAL_RANK": "1",
    "LOCAL_WORLD_SIZE": "4",
    "GROUP_RANK": "1",
    "MASTER_ADDR": "node0",
    "MASTER_PORT": "29400",
    "TORCHELASTIC_RESTART_COUNT": "2",
}
SLURM = {
    "SLURM_JOB_ID": "77",
    "SLURM_STEP_ID": "0",
    "SLURM_PROCID": "5",
    "SLURM_NTASKS": "8",
    "SLURM_STEP_NUM_TASKS": "8",
    "SLURM_LOCALID": "1",
    "SLURM_NODEID": "1",
    "SLURM_STEP_NODELIST": "gpu[07-08],login1",
}
LSF = {
    "JSM_NAMESPACE_RANK": "5",
    "JSM_NAMESPACE_SIZE": "8",
    "JSM_NAMESPACE_LOCAL_RANK": "1",
    "JSM_NAMESPACE_LOCAL_SIZE": "4",
    "MASTER_ADDR": "node0",
    "LSB_JOBID": "77",
}
OPEN_MPI = {
    "OMPI_COMM_WORLD_RANK": "5",
    "OMPI_COMM_WORLD_SIZE": "8",
    "OMPI_COMM_WORLD_LOCAL_RANK": "1",
    "OMPI_COMM_WORLD_LOCAL_SIZE": "4",
    "MASTER_ADDR": "node0",
    "MASTER_PORT": "1234",
}
PMI = {
    "PMI_RANK": "5",
    "PMI_SIZE": "8",
    "MPI_LOCALRANKID": "1",
    "MPI_LOCALNRANKS": "4",
    "MASTER_ADDR": "node0",
    "MASTER_PORT": "1234",
}


@pytest.mark.parametrize(
    ("variables", "by", "address"),
    [
        (TORCHRUN, "torchrun (RANK=5, WORLD_SIZE=8)", "node0"),
        (SLURM, "srun (Slurm) (SLURM_PROCID=5, SLURM_STEP_NUM_TASKS=8)", "gpu07"),
        (LSF, "jsrun (LSF) (JSM_NAMESPACE_RANK=5, JSM_NAMESPACE_SIZE=8)", "node0"),
        (OPEN_MPI, "mpirun (Open MPI) (OMPI_COMM_WORLD_RANK=5, OMPI_COMM_WORLD_SIZE=8)", "node0"),
        (PMI, "mpiexec (PMI) (PMI_RANK=5, PMI_SIZE=8)", "node0"),
    ],
)
def test_every_launcher_is_understood(variables: Variables, by: str, address: str) -> None:
    place = placement(variables)
    assert place is not None
    assert (place.rank, place.world_size, place.local_rank, place.node_rank) == (5, 8, 1, 1)
    assert (place.by, place.address) == (by, address)
    assert place.restarts == (2 if variables is TORCHRUN else 0)


def test_the_table_holds_them_all() -> None:
    assert [launcher.name for launcher in LAUNCHERS] == [
        "torchrun",
        "srun (Slurm)",
        "jsrun (LSF)",
        "mpirun (Open MPI)",
        "mpiexec (PMI)",
    ]


@pytest.mark.parametrize(
    "variables",
    [
        {},
        {"MASTER_ADDR": "node0", "MASTER_PORT": "1"},
        {"SLURM_JOB_ID": "7", "SLURM_PROCID": "0", "SLURM_NTASKS": "4"},  # a batch script
        {**TORCHRUN, "RANK": "0", "WORLD_SIZE": "1"},
        {"RANK": "3"},
    ],
)
def test_nobody_started_others(variables: Variables) -> None:
    assert placement(variables) is None


def test_torchrun_under_srun_counts() -> None:
    place = placement({**SLURM, **TORCHRUN})
    assert place is not None
    assert place.by.startswith("torchrun")


def test_all_ranks_of_a_job_derive_the_same_port() -> None:
    ports = set()
    for rank in range(4):
        place = placement({**SLURM, "SLURM_PROCID": str(rank)})
        assert place is not None
        ports.add(place.port)
    (port,) = ports
    assert port in PORTS
    other = placement({**SLURM, "SLURM_JOB_ID": "78"})
    assert other is not None
    assert other.port != port


def test_ranks_of_one_machine_need_no_address() -> None:
    here = {k: v for k, v in OPEN_MPI.items() if k not in ("MASTER_ADDR", "MASTER_PORT")}
    place = placement({**here, "OMPI_COMM_WORLD_LOCAL_SIZE": "8"})
    assert place is not None
    assert (place.address, place.port) == ("127.0.0.1", 29500)
    with pytest.raises(ValueError, match=r"OMPI_COMM_WORLD_RANK=5 .* no address. Set MASTER_ADDR"):
        placement(here)


def test_lsf_computes_on_the_second_line(tmp_path: Path) -> None:
    file = tmp_path / "hosts"
    file.write_text("batch1\nnode3\nnode3\nnode4\n")
    variables = {k: v for k, v in LSF.items() if k != "MASTER_ADDR"}
    place = placement({**variables, "LSB_DJOB_RANKFILE": str(file)})
    assert place is not None
    assert place.address == "node3"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"LOCAL_RANK": ""}, "no LOCAL_RANK. Set it for each process"),
        ({"RANK": "one"}, "RANK is a whole number. Received RANK='one'"),
        ({"RANK": "8"}, "Received rank 8 of 8 from torchrun. Check RANK and WORLD_SIZE"),
        ({"MASTER_PORT": "x"}, "Received MASTER_PORT='x'"),
        ({"MASTER_ADDR": ""}, "Received RANK=5, WORLD_SIZE=8 from torchrun and no address"),
    ],
)
def test_what_is_missing_is_named(change: Variables, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        placement({**TORCHRUN, **change})


def test_first_hosts() -> None:
    assert first_host("node1") == "node1"
    assert first_host("node[3]") == "node3"
    assert first_host("a[001-010,020],b1") == "a001"
