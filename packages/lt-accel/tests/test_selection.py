import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch.distributed import fsdp

from lt_accel import DDP, FSDP, SingleProcess, TensorParallel, TorchBackend, TorchWorld, select

POLICY: Any = getattr(fsdp, "MixedPrecisionPolicy", object)()  # torch 2.6 has it

NO_GPU = pytest.mark.skipif(
    torch.cuda.is_available() or torch.backends.mps.is_available(),
    reason="what a machine without a GPU says",
)


@NO_GPU
def test_everything_is_chosen_with_its_reason() -> None:
    chosen = select()
    assert isinstance(chosen.backend, TorchBackend)
    assert isinstance(chosen.world, SingleProcess)
    assert dict(chosen.reasons) == {
        "device": "cpu: no GPU visible to torch",
        "precision": "32-true: the default",
        "sharding": "none: one process",
        "world": "one process: one device",
    }


def test_none_means_not_given() -> None:
    words: dict[str, Any] = dict.fromkeys(
        ("devices", "precision", "strategy", "num_nodes", "deterministic", "inference_mode")
    )
    chosen = select(accelerator="cpu", **words)
    assert chosen.backend.precision.name == "32-true"
    assert chosen.reasons["precision"] == "32-true: the default"


def test_all_words_at_once() -> None:
    chosen = select(
        accelerator="cpu",
        devices=1,
        num_nodes=1,
        strategy="single_device",
        precision=16,
        sync_batchnorm=True,
        use_distributed_sampler=False,
        inference_mode=False,
        deterministic="warn",
        benchmark=False,
        detect_anomaly=False,
    )
    assert chosen.reasons["precision"] == "16-mixed: precision=16"
    assert not torch.are_deterministic_algorithms_enabled()  # nothing is set before setup


def test_an_unknown_word_finds_the_closest() -> None:
    with pytest.raises(TypeError, match=r"Received 'acelerator'. Did you mean 'accelerator'\?"):
        select(acelerator="cpu")


@NO_GPU
def test_devices_that_are_not_here() -> None:
    with pytest.raises(ValueError, match=r"needs a GPU that torch can see\. Devices here: cpu"):
        select(accelerator="gpu", devices="0")
    with pytest.raises(ValueError, match="needs a device of type 'xla' that torch can see"):
        select(accelerator="xla")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ({"strategy": "single-device"}, "Did you mean 'single_device'"),
        ({"strategy": "dpp"}, "Did you mean 'ddp'"),
        ({"num_nodes": 0}, "num_nodes is a count from 1"),
        ({"num_nodes": 2}, "Received num_nodes=2 and no NODE_RANK, MASTER_ADDR, MASTER_PORT"),
        ({"devices": 2, "strategy": "single_device"}, "'single_device' is one .* devices=2. Drop"),
        ({"max_restarts": -1}, "max_restarts is a count from 0"),
        ({"max_restarts": 1}, "Received max_restarts=1 and strategy='auto' with one device"),
        ({"devices": 2, "sync_batchnorm": True}, "sync_batchnorm=True and accelerator='cpu'"),
        (
            {"devices": 1, "strategy": "ddp", "sync_batchnorm": True},
            "sync_batchnorm=True and accelerator='cpu'",
        ),
        ({"strategy": "fsdp_cpu_offload"}, "cpu_offload=True and accelerator='cpu'"),
        ({"strategy": FSDP(device_mesh=(2, 2)), "devices": 2}, r"device_mesh=\(2, 2\) and 2 proc"),
        (
            {"strategy": FSDP(mixed_precision=POLICY), "precision": "bf16"},
            r"Received MixedPrecisionPolicy\(.*\) and precision='bf16-mixed'",
        ),
        ({"strategy": "fsdp", "sync_batchnorm": True}, "sync_batchnorm=True and (accel|FSDP)"),
        ({"strategy": TensorParallel(data_parallel_size=3), "devices": 2}, "Received 3 times"),
        ({"precision": "banana"}, "Received precision='banana'"),
        ({"deterministic": "wran"}, "Did you mean 'warn'"),
        ({"deterministic": True, "benchmark": True}, "deterministic=True and benchmark=True"),
    ],
)
def test_what_cannot_be_is_refused(words: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        select(accelerator="cpu", **words)


@pytest.mark.parametrize(
    "words",
    [
        {"strategy": 3},
        {"max_restarts": 1.5},
        {"num_nodes": "2"},
        {"num_nodes": True},
        {"inference_mode": "yes"},
        {"sync_batchnorm": 1},
        {"benchmark": "on"},
        {"detect_anomaly": "on"},
    ],
)
def test_wrong_types_are_refused(words: dict[str, Any]) -> None:
    (name,) = words
    with pytest.raises(TypeError, match=name):
        select(accelerator="cpu", **words)


def test_words_reach_the_backend(torch_switches: None) -> None:
    backend = select(
        accelerator="cpu", precision="64", inference_mode=False, detect_anomaly=True
    ).backend
    assert backend.device == torch.device("cpu")
    assert backend.precision.parameters is torch.float64
    backend.setup(torch.nn.Linear(1, 1), [])
    seen = []
    step = backend.wrap_step(lambda: seen.append(torch.is_anomaly_enabled()), "train")
    step()
    assert (seen, torch.is_anomaly_enabled()) == ([True], False)
    evaluate = backend.wrap_step(torch.is_inference_mode_enabled, "evaluate")
    assert evaluate() is False


@pytest.mark.parametrize(
    ("words", "sharding", "world"),
    [
        ({"devices": 2}, "DDP: strategy='auto'", "2 processes to start by fork: devices=2"),
        (
            {"strategy": "ddp"},
            "DDP: strategy='ddp'",
            "one process to start by fork: devices='auto'",
        ),
        (
            {"devices": 3, "strategy": "ddp_spawn"},
            "DDP: strategy='ddp_spawn'",
            "3 processes to start by spawn: devices=3",
        ),
        (
            {"devices": 2, "strategy": "fsdp", "num_nodes": 1},
            "FSDP2: strategy='fsdp'",
            "2 processes to start by fork: devices=2 and num_nodes=1",
        ),
        (
            {"devices": 2, "strategy": DDP()},
            "DDP: strategy=DDP()",
            "2 processes to start by fork: devices=2",
        ),
        (
            {"devices": 2, "strategy": DDP(static_graph=True, start_method="spawn")},
            "DDP: strategy=DDP(start_method='spawn', static_graph=True)",
            "2 processes to start by spawn: devices=2",
        ),
    ],
)
def test_several_processes(words: dict[str, Any], sharding: str, world: str) -> None:
    chosen = select(accelerator="cpu", **words)
    assert isinstance(chosen.world, TorchWorld)
    assert chosen.world.world_size == words.get("devices", 1)
    assert chosen.reasons["sharding"] == sharding
    assert chosen.reasons["world"] == world
    assert chosen.backend.collective_forward is (words.get("strategy") == "fsdp")


def test_what_only_sharding_needs_is_imported_for_it_alone() -> None:
    code = (
        "import sys, lt_accel; lt_accel.select(accelerator='cpu', devices=2, strategy='ddp')\n"
        "print('torch.distributed.fsdp' in sys.modules)\n"
        "lt_accel.select(accelerator='cpu', devices=2, strategy='fsdp')\n"
        "print('torch.distributed.fsdp' in sys.modules)"
    )
    run = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120
    )
    assert run.stdout.split() == ["False", "True"]


@pytest.mark.parametrize("strategy", ["ddp", "fsdp", TensorParallel()])
def test_a_backend_says_whose_ranks_it_was_composed_for(strategy: Any) -> None:
    chosen = select(accelerator="cpu", devices=2, strategy=strategy)
    assert chosen.backend.world is chosen.world
    assert select(accelerator="cpu").backend.world is None


@pytest.mark.parametrize(
    ("make", "kind", "message"),
    [
        (lambda: FSDP(device_mesh=2), TypeError, r"Received device_mesh=2\."),  # type: ignore[arg-type]
        (lambda: FSDP(device_mesh=(0, 2)), TypeError, r"Received device_mesh=\(0, 2\)"),
        (lambda: FSDP(device_mesh=(1.0, 2)), TypeError, "two counts from 1"),  # type: ignore[arg-type]
        (lambda: DDP(hang_timeout="3"), ValueError, r"Received hang_timeout='3'"),  # type: ignore[arg-type]
        (lambda: DDP(hang_timeout=True), ValueError, r"Received hang_timeout=True"),
        (lambda: DDP(process_group_backend="glo"), ValueError, r"'glo'\. .*'gloo'"),
        (lambda: DDP(process_group_backend=3), TypeError, "is a name"),  # type: ignore[arg-type]
        (lambda: select(compile={"mode": "nonsense"}), ValueError, "compile={'mode': 'nonsense'}"),
        (lambda: select(compile={"backend": "nope"}), ValueError, "compile={'backend': 'nope'}"),
        (
            lambda: select(accelerator="cpu", devices=2, strategy=FSDP(mixed_precision=3)),
            TypeError,
            r"MixedPrecisionPolicy\. Received mixed_precision=3\.",
        ),
    ],
)
def test_what_an_option_can_not_be_is_told_when_it_is_chosen(
    make: Callable[[], Any], kind: type[Exception], message: str
) -> None:
    with pytest.raises(kind, match=message):
        make()


def test_a_carrier_may_be_named_for_each_device() -> None:
    DDP(process_group_backend="cpu:gloo,cuda:nccl")
    DDP(process_group_backend="gloo")
