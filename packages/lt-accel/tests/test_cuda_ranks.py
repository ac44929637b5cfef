"""What only ranks on GPUs can show: NCCL, shared batch statistics, weights kept on the host."""

from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import mse_loss

from lt_accel import DDP, FSDP, TorchBackend, select

STEPS, SIZE = 6, 8


def on_gpus(count: int, strategy: Any, name: str) -> Any:
    missing = torch.cuda.device_count() < count
    return pytest.param(
        {"accelerator": "gpu", "devices": count, "strategy": strategy},
        id=f"{name} on {count}",
        marks=[
            pytest.mark.gpu,
            pytest.mark.timeout(120),
            pytest.mark.skipif(missing, reason=f"needs CUDA devices: {count}, and -m gpu"),
        ],
    )


def make_model(*, normalized: bool = False) -> nn.Sequential:
    torch.manual_seed(0)
    middle: list[nn.Module] = [nn.BatchNorm1d(8)] if normalized else []
    return nn.Sequential(nn.Linear(6, 8), *middle, nn.Tanh(), nn.Linear(8, 1)).double()


def make_batches() -> list[tuple[Tensor, Tensor]]:
    generator = torch.Generator().manual_seed(1)
    x, y = torch.randn(2, STEPS, SIZE, 6, generator=generator, dtype=torch.float64)
    return list(zip(x, y.sum(-1, keepdim=True), strict=True))


def by_hand(model: nn.Module) -> dict[str, Tensor]:
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.05)
    for x, y in make_batches():
        optimizer.zero_grad()
        mse_loss(model(x), y).backward()
        nn.utils.clip_grad_norm_(model.parameters(), 0.5)
        optimizer.step()
    return model.state_dict()


@dataclass(frozen=True)
class Training:
    """What each rank does, with its part of each batch; a spawned rank gets it pickled."""

    backend: TorchBackend
    world: Any
    normalized: bool

    def __call__(self) -> dict[str, Any]:
        backend, world = self.backend, self.world
        model = make_model(normalized=self.normalized)
        backend.setup(model, [])
        (optimizer,) = backend.setup(model, [torch.optim.AdamW(model.parameters(), lr=0.05)])
        step = backend.wrap_step(lambda x, y: mse_loss(model(x), y), "train")
        for batch in make_batches():
            x, y = (part[world.rank :: world.world_size] for part in batch)
            backend.zero_grad(optimizer)
            backend.backward(step(*backend.place((x, y))))
            backend.clip(optimizer, 0.5)
            backend.step(optimizer)
        at_rest = {str(parameter.device.type) for parameter in model.parameters()}
        state = {
            name: value.full_tensor() if hasattr(value, "full_tensor") else value
            for name, value in model.state_dict().items()
        }
        state = {name: value.cpu() for name, value in state.items()}
        everywhere = world.gather({name: value.tolist() for name, value in state.items()})
        assert all(one == everywhere[0] for one in everywhere)
        return {"state": state, "at rest": at_rest}


def by_ranks(words: dict[str, Any], *, normalized: bool = False) -> dict[str, Any]:
    """Train in ranks; return what rank 0 says in the end."""
    chosen = select(precision="64-true", **words)
    return chosen.world.launch(Training(chosen.backend, chosen.world, normalized))


def assert_close(found: dict[str, Tensor], expected: dict[str, Tensor]) -> None:
    assert list(found) == list(expected)
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value, rtol=1e-9, atol=1e-12)


SPAWNED = {
    "ddp": DDP(start_method="spawn"),
    "fsdp": FSDP(start_method="spawn"),
    "fsdp_cpu_offload": FSDP(start_method="spawn", cpu_offload=True),
}
"""A process that has used a GPU, in another test, can't be forked."""


@pytest.mark.parametrize(
    "words",
    [
        *({"accelerator": "cpu", "devices": 2, "strategy": name} for name in ("ddp", "fsdp")),
        *(on_gpus(count, SPAWNED[name], name) for count in (1, 2) for name in ("ddp", "fsdp")),
    ],
)
def test_ranks_learn_what_one_process_learns(words: dict[str, Any]) -> None:
    found = by_ranks(words)
    assert found["at rest"] == {"cuda" if words["accelerator"] == "gpu" else "cpu"}
    assert_close(found["state"], by_hand(make_model()))


def offloading(count: int) -> Any:
    return on_gpus(count, SPAWNED["fsdp_cpu_offload"], "fsdp_cpu_offload")


@pytest.mark.parametrize("words", [offloading(1), offloading(2)])
def test_parameters_are_kept_on_the_host(words: dict[str, Any]) -> None:
    found = by_ranks(words)
    assert found["at rest"] == {"cpu"}
    assert_close(found["state"], by_hand(make_model()))


@pytest.mark.parametrize("words", [on_gpus(count, SPAWNED["ddp"], "ddp") for count in (1, 2)])
def test_batch_statistics_are_those_of_all_ranks(words: dict[str, Any]) -> None:
    found = by_ranks({**words, "sync_batchnorm": True}, normalized=True)
    assert_close(found["state"], by_hand(make_model(normalized=True)))
