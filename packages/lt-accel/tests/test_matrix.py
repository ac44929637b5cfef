"""Every precision on one process, on two with DDP, and on two with FSDP2, against plain torch."""

import copy
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import mse_loss

from lt_accel import select
from lt_accel.precision import PRECISIONS

pytestmark = pytest.mark.timeout(60)

WORLDS: dict[str, dict[str, Any]] = {
    "one": {"devices": 1},
    "ddp": {"devices": 2, "strategy": "ddp"},
    "fsdp": {"devices": 2, "strategy": "fsdp"},
}
# What is left of a weight's digits after eight steps whose gradients were added up in another
# order: in the dtype of the weights, or in that of the products.
TOLERANCE = {
    "32-true": 1e-6,
    "64-true": 1e-14,
    "bf16-mixed": 1e-2,
    "16-mixed": 1e-3,
    "bf16-true": 3e-2,
    "16-true": 3e-3,
}
WINDOW, STEPS, CLIP = 2, 8, 0.3


def make_model() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.LayerNorm(8), nn.Linear(8, 1))


def make_optimizer(model: nn.Module) -> torch.optim.Optimizer:
    return torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)


def make_batches() -> list[tuple[Tensor, Tensor]]:
    generator = torch.Generator().manual_seed(1)
    shapes = [((8, 6), (8, 1))] * STEPS
    return [tuple(torch.randn(s, generator=generator) for s in pair) for pair in shapes]  # type: ignore[misc]


def by_hand(name: str) -> tuple[dict[str, Tensor], list[float], list[bool]]:
    """Train on whole batches, in one process, with nothing of ours."""
    precision = PRECISIONS[name]
    model = make_model()
    if precision.parameters is not None:
        model.to(precision.parameters)
    optimizer = make_optimizer(model)
    scaler = torch.amp.GradScaler("cpu", enabled=precision.scaled)
    norms, taken = [], []
    for index, (x, y) in enumerate(make_batches()):
        if precision.parameters is not None:
            x, y = x.to(precision.parameters), y.to(precision.parameters)
        mixed = precision.autocast is not None
        with torch.autocast("cpu", dtype=precision.autocast, enabled=mixed):
            loss = mse_loss(model(x), y)
        scaler.scale(loss / WINDOW).backward()
        if (index + 1) % WINDOW == 0:
            scaler.unscale_(optimizer)
            norms.append(float(nn.utils.clip_grad_norm_(model.parameters(), CLIP)))
            scaler.step(optimizer)
            before = scaler.get_scale()
            scaler.update()
            taken.append(scaler.get_scale() >= before)
            optimizer.zero_grad()
    return model.state_dict(), norms, taken


def whole(state: dict[str, Any]) -> dict[str, Tensor]:
    return {k: v.full_tensor() if hasattr(v, "full_tensor") else v for k, v in state.items()}


@pytest.mark.parametrize("where", WORLDS)
@pytest.mark.parametrize("name", PRECISIONS)
def test_matrix(name: str, where: str) -> None:
    expected, expected_norms, expected_taken = by_hand(name)
    chosen = select(accelerator="cpu", precision=name, **WORLDS[where])
    backend, world = chosen.backend, chosen.world

    def main() -> dict[str, Any]:
        model = make_model()
        if world.rank:
            nn.init.zeros_(model[0].weight)  # what counts is rank 0's
        backend.setup(model, [])
        (optimizer,) = backend.setup(model, [make_optimizer(model)])
        forward = {
            sync: backend.wrap_step(
                lambda x, y: mse_loss(model(x), y), "train" if sync else "accumulate"
            )
            for sync in (True, False)
        }
        norms, taken = [], []
        for index, (x, y) in enumerate(make_batches()):
            part = slice(world.rank, None, world.world_size)
            x, y = backend.place((x[part], y[part]))
            closes = (index + 1) % WINDOW == 0
            if not index % WINDOW:
                backend.zero_grad(optimizer)
            backend.backward(forward[closes](x, y) / WINDOW, sync=closes)
            if closes:
                norms.append(float(backend.clip(optimizer, CLIP)))
                taken.append(backend.step(optimizer))
        state = whole(model.state_dict())
        # Evaluation: any number of forwards, of the same weights.
        evaluate = backend.wrap_step(lambda x: model(x).float().mean(), "validate")
        loop = backend.wrap_step(
            lambda: [evaluate(backend.place(x)) for x, _ in make_batches()], "evaluate"
        )
        means = backend.read(loop())
        assert world.gather(means) == [means] * world.world_size
        return {"state": state, "norms": norms, "keys": list(model.state_dict()), "taken": taken}

    found = world.launch(main)
    assert found["keys"] == list(expected)
    assert found["taken"] == expected_taken
    assert sum(expected_taken) >= STEPS // WINDOW - 1
    exact = where == "one"
    for key, value in expected.items():
        assert value.dtype is found["state"][key].dtype
        tolerance = 0.0 if exact else TOLERANCE[name]
        torch.testing.assert_close(found["state"][key], value, rtol=tolerance, atol=tolerance)
    torch.testing.assert_close(
        found["norms"],
        expected_norms,
        rtol=0.0 if exact else 10 * TOLERANCE[name],
        atol=0.0,
        equal_nan=True,
    )


@pytest.mark.parametrize("where", ["ddp", "fsdp"])
def test_an_overflow_on_one_rank_skips_the_step_on_all(where: str) -> None:
    chosen = select(accelerator="cpu", precision="16-mixed", **WORLDS[where])
    backend, world = chosen.backend, chosen.world

    def main() -> list[Any]:
        model = make_model()
        backend.setup(model, [])
        (optimizer,) = backend.setup(model, [make_optimizer(model)])
        step = backend.wrap_step(lambda x, y: mse_loss(model(x), y) / 100, "train")
        taken = []
        for index, (x, y) in enumerate(make_batches()[:3]):
            if index == 1 and world.rank == 1:
                y = y * 1e30
            backend.zero_grad(optimizer)
            backend.backward(step(x, y))
            backend.clip(optimizer, CLIP)
            taken.append(backend.step(optimizer))
        scaler = backend.capture()["scaler"]
        return world.gather((taken, scaler["scale"], scaler["_growth_tracker"]))

    assert world.launch(main) == [([True, False, True], 2.0**15, 1)] * 2


def test_states_cross_worlds() -> None:
    """What FSDP2 wrote goes on in one process, in DDP and in FSDP2 of another size, and back."""
    precision = "64-true"

    def train(chosen: Any, start: Any, batches: list[Any]) -> Any:
        backend, world = chosen.backend, chosen.world

        def main() -> Any:
            model = make_model()
            backend.setup(model, [])
            (optimizer,) = backend.setup(model, [torch.optim.AdamW(model.parameters(), lr=0.05)])
            if start is not None:
                backend.restore({**backend.capture(), **start})
            step = backend.wrap_step(lambda x, y: mse_loss(model(x), y), "train")
            for x, y in batches:
                part = slice(world.rank, None, world.world_size)
                backend.zero_grad(optimizer)
                backend.backward(step(*backend.place((x[part], y[part]))))
                backend.step(optimizer)
            state = backend.capture()
            spread = [type(v).__name__ for v in state["program"].values()]
            moments = state["optimizers"][0]["state"]
            return {
                "program": whole(state["program"]),
                "optimizers": [
                    {
                        **state["optimizers"][0],
                        "state": {index: whole(one) for index, one in moments.items()},
                    }
                ],
            }, spread

        return world.launch(main)

    def choose(**words: Any) -> Any:
        return select(accelerator="cpu", precision=precision, **words)

    batches = make_batches()
    expected, _ = train(choose(devices=1), None, batches)
    first, spread = train(choose(devices=2, strategy="fsdp"), None, batches[:4])
    assert set(spread) == {"DTensor"}
    for words in ({"devices": 1}, {"devices": 2}, {"devices": 4, "strategy": "fsdp"}):
        rest, _ = train(choose(**words), copy.deepcopy(first), batches[4:])
        torch.testing.assert_close(rest["program"], expected["program"], rtol=1e-13, atol=1e-13)
        for one, other in zip(
            rest["optimizers"][0]["state"].values(),
            expected["optimizers"][0]["state"].values(),
            strict=True,
        ):
            torch.testing.assert_close(one, other, rtol=1e-12, atol=1e-14)
