"""What only a GPU can show."""

import subprocess
import sys
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn.functional import mse_loss

from lt_accel import TorchBackend, isolate_rng, move, select

pytestmark = pytest.mark.gpu

PRECISIONS = ["32-true", "64-true", "bf16-mixed", "16-mixed", "bf16-true", "16-true"]
MIXED = {"bf16-mixed": torch.bfloat16, "16-mixed": torch.float16}
TRUE = {"64-true": torch.float64, "bf16-true": torch.bfloat16, "16-true": torch.float16}


def make_model() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Dropout(0.2), nn.Linear(16, 1))


def make_batches(count: int = 6) -> list[tuple[torch.Tensor, torch.Tensor]]:
    generator = torch.Generator().manual_seed(1)
    return [
        (torch.randn(4, 8, generator=generator), torch.randn(4, 1, generator=generator))
        for _ in range(count)
    ]


def make_optimizer(model: nn.Module, *, fused: bool) -> torch.optim.Optimizer:
    return torch.optim.AdamW(model.parameters(), lr=0.01, eps=1e-4, fused=fused)


def by_hand(precision: str, *, fused: bool) -> nn.Module:
    dtype, mixed = TRUE.get(precision, torch.float32), MIXED.get(precision)
    model = make_model().to("cuda", dtype)
    optimizer = make_optimizer(model, fused=fused)
    scaler = torch.amp.GradScaler("cuda", enabled=precision == "16-mixed")
    torch.manual_seed(2)
    for x, y in make_batches():
        optimizer.zero_grad()
        with torch.autocast("cuda", dtype=mixed, enabled=mixed is not None):
            loss = mse_loss(model(x.to("cuda", dtype)), y.to("cuda", dtype))
        scaler.scale(loss).backward()
        scaler.unscale_(optimizer)
        torch.nn.utils.clip_grad_norm_(model.parameters(), 0.5)
        scaler.step(optimizer)
        scaler.update()
    return model


def train(backend: TorchBackend, model: nn.Module, optimizer: Any, batches: list[Any]) -> None:
    step = backend.wrap_step(lambda x, y: mse_loss(model(x), y), "train")
    for batch in batches:
        loss = step(*backend.place(batch))
        backend.zero_grad(optimizer)
        backend.backward(loss)
        backend.clip(optimizer, 0.5)
        backend.step(optimizer)


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("fused", [False, True])
def test_same_bits_as_by_hand(precision: str, fused: bool) -> None:
    expected = by_hand(precision, fused=fused)
    model = make_model()
    backend = select(accelerator="cuda", devices=1, precision=precision).backend
    (optimizer,) = backend.setup(model, [make_optimizer(model, fused=fused)])
    torch.manual_seed(2)
    train(backend, model, optimizer, make_batches())
    assert all(map(torch.equal, model.parameters(), expected.parameters()))


def test_a_snapshot_holds_the_generator_of_the_gpu() -> None:
    model = make_model()
    backend = TorchBackend("cuda:0")
    (optimizer,) = backend.setup(model, [make_optimizer(model, fused=False)])
    train(backend, model, optimizer, make_batches(2))
    snapshot = backend.capture()
    train(backend, model, optimizer, make_batches(4))
    expected = [p.detach().clone() for p in model.parameters()]
    backend.restore(snapshot)
    train(backend, model, optimizer, make_batches(4))
    assert all(map(torch.equal, model.parameters(), expected))


def test_isolation_covers_the_gpu() -> None:
    torch.manual_seed(0)
    expected = torch.rand(3, device="cuda")
    torch.manual_seed(0)
    with isolate_rng():
        torch.rand(5, device="cuda")
    assert torch.equal(torch.rand(3, device="cuda"), expected)


def test_state_of_an_optimizer_moves_along() -> None:
    model = make_model()
    optimizer = make_optimizer(model, fused=False)
    mse_loss(model(torch.ones(4, 8)), torch.ones(4, 1)).backward()
    optimizer.step()
    TorchBackend("cuda:0").setup(model, [optimizer])
    state = optimizer.state[next(model.parameters())]
    assert state["exp_avg"].device.type == "cuda"


def test_pinned_batches_arrive_whole() -> None:
    batch = {"x": torch.arange(1_000_000).pin_memory(), "name": "kept"}
    moved = move(batch, "cuda")
    assert torch.equal(moved["x"].cpu(), batch["x"])
    assert moved["name"] == "kept"


def test_values_of_two_devices_are_read_together() -> None:
    values = [torch.tensor(1.5, device="cuda"), 2, torch.tensor(3, device="cuda"), torch.tensor(4)]
    assert TorchBackend("cuda:0").read(values) == [1.5, 2.0, 3.0, 4.0]


def test_the_choice_and_its_reason() -> None:
    chosen = select()
    assert chosen.backend.device == torch.device("cuda", 0)
    assert "visible" in chosen.reasons["device"]


@pytest.mark.parametrize("compiled", [{}, {"mode": "default"}], ids=["eager", "compiled"])
def test_a_recorded_step_does_the_same(compiled: dict[str, Any]) -> None:
    def run(word: Any) -> tuple[nn.Module, list[float], list[float]]:
        torch.manual_seed(0)
        model = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 1))
        backend = select(accelerator="cuda", devices=1, compile=word).backend
        backend.setup(model, [])
        optimizer = torch.optim.AdamW(model.parameters(), lr=0.01, capturable=True)
        backend.setup(model, [optimizer])
        step = backend.wrap_step(lambda x, y: mse_loss(model(x), y), "train")
        losses, norms = [], []
        for batch in make_batches(8):
            loss = step(*backend.place(batch))
            backend.zero_grad(optimizer)
            backend.backward(loss)
            norm = backend.clip(optimizer, 0.5)
            assert backend.step(optimizer)
            norms.append(float(norm))  # type: ignore[arg-type]
            losses.append(float(loss.detach()))
        return model, losses, norms

    expected, losses, norms = run(False)
    model, found_losses, found_norms = run({"cuda_graph": True, **compiled})
    torch.testing.assert_close(found_losses[4:], losses[4:])
    torch.testing.assert_close(found_norms[4:], norms[4:])
    torch.testing.assert_close(list(model.parameters()), list(expected.parameters()))


def test_a_recorded_step_may_not_wait() -> None:
    model = make_model().cuda()
    backend = select(accelerator="cuda", devices=1, compile={"cuda_graph": True}).backend
    backend.setup(model, [])
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    backend.setup(model, [optimizer])

    def waits(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        loss = mse_loss(model(x), y)
        return loss * loss.item()

    step = backend.wrap_step(waits, "train")

    def five_steps() -> None:
        for batch in make_batches(5):
            loss = step(*backend.place(batch))
            backend.zero_grad(optimizer)
            backend.backward(loss)
            backend.step(optimizer)

    with pytest.raises(RuntimeError, match="can't wait for the GPU"):
        five_steps()
    assert float(torch.ones(2, device="cuda").sum()) == 2  # the GPU computes as before


def test_prefetched_batches_are_whole_and_in_order() -> None:
    backend = select(accelerator="cuda", devices=1).backend
    batches = [{"x": torch.full((500_000,), float(i)).pin_memory(), "i": i} for i in range(8)]
    means = []
    for batch in backend.prefetch(batches):
        assert batch["x"].is_cuda
        means.append((batch["i"], batch["x"].square().mean()))  # computed beside the next copy
    assert [(i, float(mean)) for i, mean in means] == [(i, float(i * i)) for i in range(8)]


def test_compiled_steps_do_the_same() -> None:
    torch.compiler.reset()
    expected = by_hand("32-true", fused=False)
    model = make_model()
    backend = select(accelerator="cuda", devices=1, compile={"backend": "aot_eager"}).backend
    (optimizer,) = backend.setup(model, [make_optimizer(model, fused=False)])
    torch.manual_seed(2)
    train(backend, model, optimizer, make_batches())
    torch.testing.assert_close(list(model.parameters()), list(expected.parameters()))


def test_a_process_that_has_used_the_gpu_is_not_forked() -> None:
    torch.ones(1, device="cuda")
    world = select(accelerator="cuda", devices=1, strategy="ddp").world
    with pytest.raises(RuntimeError, match="cuda is initialised"):
        world.launch(lambda: None)


ASKS = """
import torch
from lt_accel import select
chosen = select(accelerator={accelerator!r}, devices=1, strategy="ddp")
{before}

def main():
    model = torch.nn.Linear(1, 1)
    backend = chosen.backend
    (optimizer,) = backend.setup(model, [torch.optim.SGD(model.parameters(), lr=0.1)])
    step = backend.wrap_step(lambda x: model(x).mean(), "train")
    backend.backward(step(backend.place(torch.ones(1, 1))))
    backend.step(optimizer)
    return model.weight.device.type

print(chosen.world.launch(main))
"""
BACKWARD = "torch.ones(1, requires_grad=True).sum().backward()"


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ({}, "cuda"),
        ({"before": "assert torch.cuda.is_available()"}, "cuda"),
        ({"before": "torch._C._cuda_getDeviceCount()"}, "Received a fork of such a one"),
        ({"before": BACKWARD}, "Received a fork of such a one"),
        ({"before": BACKWARD, "accelerator": "cpu"}, "Received a fork of such a one"),
    ],
)
def test_what_may_go_before_a_fork(words: dict[str, str], expected: str) -> None:
    script = ASKS.format(**{"before": "", "accelerator": "gpu", **words})
    command = [sys.executable, "-W", "ignore", "-c", script]
    done = subprocess.run(command, capture_output=True, text=True, timeout=90, check=False)
    assert expected in done.stdout + done.stderr
