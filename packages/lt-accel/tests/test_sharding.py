"""DDP, FSDP2 and tensor parallelism, each as far as it goes beyond the matrix of precisions.

Each test starts two processes once and looks at many things in them.
"""

import re
from typing import Any

import pytest
import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.algorithms.ddp_comm_hooks import default_hooks
from torch.nn.functional import mse_loss
from torch.nn.parallel import DistributedDataParallel

from lt_accel import DDP, FSDP, TensorParallel, select

pytestmark = pytest.mark.timeout(90)


def two(strategy: Any, **words: Any) -> Any:
    return select(accelerator="cpu", devices=2, strategy=strategy, precision="64-true", **words)


def batches(count: int = 4) -> list[tuple[Tensor, Tensor]]:
    generator = torch.Generator().manual_seed(1)
    made = torch.randn(count, 8, 5, generator=generator, dtype=torch.float64)
    return [(one[:, :4], one[:, 4:]) for one in made]


def part(world: Any, *tensors: Tensor) -> tuple[Tensor, ...]:
    return tuple(tensor[world.rank :: world.world_size] for tensor in tensors)


def whole(value: Any) -> Tensor:
    return value.full_tensor() if hasattr(value, "full_tensor") else value


def close(found: Any, expected: Any) -> None:
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-14)


class Pair(nn.Module):
    """Two lines and a weight of its own; its steps never call the module itself."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(3)
        self.first = nn.Linear(4, 3)
        self.second = nn.Linear(4, 1)
        self.scale = nn.Parameter(torch.ones(1))
        self.hidden = nn.ModuleList([nn.Linear(3, 1)])
        self.register_buffer("seen", torch.zeros(()))
        self.double()

    def step(self, x: Tensor, y: Tensor) -> dict[str, Any]:
        prediction = self.hidden[0](torch.tanh(self.first(x))) * self.scale
        return {"loss": mse_loss(prediction, y), "more": [prediction.detach()]}

    def other(self, x: Tensor, y: Tensor) -> Tensor:
        return mse_loss(self.second(x), y)


def gradients(model: nn.Module) -> dict[str, Tensor | None]:
    # Copies: a gradient may be a view of what travels, and change with the next step.
    return {
        name: None if p.grad is None else whole(p.grad).clone()
        for name, p in model.named_parameters()
    }


def expected_gradients(which: str) -> dict[str, Tensor | None]:
    model = Pair()
    x, y = batches()[0]
    loss = model.step(x, y)["loss"] if which == "step" else model.other(x, y)
    loss.backward()
    return gradients(model)


@pytest.mark.parametrize(("layers", "rest"), [(1, ""), (4, " and 5 more")])
def test_parameters_that_a_step_leaves_out_are_named_with_the_strategy(
    layers: int, rest: str
) -> None:
    class Wide(Pair):
        def __init__(self) -> None:
            super().__init__()
            self.first.weight.requires_grad_(False)  # counts for nothing
            self.wide = nn.ModuleList([nn.Linear(4, 1).double() for _ in range(layers)])

    def main(chosen: Any) -> None:
        model = Wide()
        chosen.backend.setup(model, [])
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        chosen.backend.setup(model, [optimizer])
        step = chosen.backend.wrap_step(model.step, "train")
        for batch in batches(2):
            chosen.backend.backward(step(*batch)["loss"])

    unused = ["second.weight", "second.bias", "wide.0.weight", "wide.0.bias", "wide.1.weight"]
    names = ", ".join(unused[: 2 + 2 * layers])
    message = (
        f"whose loss left out {names}{rest}. Use strategy='ddp_find_unused_parameters_true' (DDP("
    )
    chosen = two("ddp")
    with pytest.raises(RuntimeError, match=re.escape(message)):
        chosen.world.launch(lambda: main(chosen))
    if layers == 1:
        chosen = two("ddp_find_unused_parameters_true")
        chosen.world.launch(lambda: main(chosen))


def test_what_else_goes_wrong_in_a_step_is_left_as_it_is() -> None:
    chosen = two("ddp")
    in_reach = DistributedDataParallel._get_active_ddp_module  # where torch.compile looks

    def main() -> None:
        model = Pair()
        chosen.backend.setup(model, [])
        chosen.backend.setup(model, [torch.optim.SGD(model.parameters(), lr=0.1)])

        def fail() -> None:
            assert in_reach().module is model
            raise RuntimeError("of the user")

        with pytest.raises(RuntimeError, match=r"^of the user$"):
            chosen.backend.wrap_step(fail, "train")()
        assert in_reach() is None

    chosen.world.launch(main)


def test_a_step_that_failed_after_its_backward_pass_keeps_no_other_from_averaging() -> None:
    chosen = two("ddp_find_unused_parameters_true")
    backend = chosen.backend

    def main() -> Any:
        model = Pair()
        backend.setup(model, [])
        backend.setup(model, [torch.optim.SGD(model.parameters(), lr=0.1)])

        def fail(x: Tensor, y: Tensor) -> None:
            backend.backward(model.step(x, y)["loss"])
            raise RuntimeError("of the user")

        mine = part(chosen.world, *batches()[0])
        with pytest.raises(RuntimeError, match=r"^of the user$"):
            backend.wrap_step(fail, "train")(*mine)
        model.zero_grad()
        backend.backward(backend.wrap_step(model.step, "train")(*mine)["loss"])
        return gradients(model)

    close(chosen.world.launch(main), expected_gradients("step"))


def test_parameters_that_torch_was_told_to_leave_out() -> None:
    own = [".scale", "second.weight", "second.bias"]  # torch's names, with a dot in each
    chosen = two("ddp")

    def main() -> Any:
        model = Pair()
        DistributedDataParallel._set_params_and_buffers_to_ignore_for_model(model, own)
        chosen.backend.setup(model, [])
        chosen.backend.setup(model, [torch.optim.SGD(model.parameters(), lr=0.1)])
        step = chosen.backend.wrap_step(model.step, "train")
        for x, y in batches(2):  # the second would tell of parameters that got no gradient
            model.zero_grad()
            chosen.backend.backward(step(*part(chosen.world, x, y))["loss"])
        return chosen.world.gather(gradients(model))

    first, second = chosen.world.launch(main)
    assert first["second.weight"] is second["second.weight"] is None
    assert not torch.equal(first["scale"], second["scale"])
    assert torch.equal(first["first.weight"], second["first.weight"])


def test_ddp_options() -> None:
    strategy = DDP(
        find_unused_parameters=True,
        gradient_as_bucket_view=True,
        bucket_cap_mb=1,
        ddp_comm_hook=default_hooks.allreduce_hook,
        broadcast_buffers=True,
    )
    chosen = two(strategy)
    backend, world = chosen.backend, chosen.world

    def main() -> dict[str, Any]:
        model = Pair()
        model.seen += world.rank
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        backend.setup(model, [])
        with pytest.raises(RuntimeError, match=r"before setup\(program, optimizers\)"):
            backend.wrap_step(model.step, "train")
        backend.setup(model, [optimizer])
        x, y = part(world, *batches()[0])
        found: dict[str, Any] = {"seen": world.gather(float(model.seen))}
        # Automatic: one step uses some parameters, another one the others.
        step, other = (
            backend.wrap_step(model.step, "train"),
            backend.wrap_step(model.other, "train"),
        )
        output = step(x, y)
        backend.backward(output["loss"])
        found["step"] = gradients(model)
        backend.zero_grad(optimizer)
        backend.backward(other(x, y))
        found["other"] = gradients(model)
        # Manual: two backward passes within one step.
        backend.zero_grad(optimizer)

        def manual(x: Tensor, y: Tensor) -> None:
            backend.backward(model.step(x, y)["loss"])
            found["manual"] = gradients(model)
            backend.zero_grad(optimizer)
            backend.backward(model.other(x, y))

        stepped = backend.wrap_step(manual, "train")
        stepped(x, y)
        found["manual other"] = gradients(model)
        # A batch that all ranks skip.
        assert backend.wrap_step(lambda: None, "train")() is None
        backend.zero_grad(optimizer)
        stepped(x, y)
        found["after a skip"] = gradients(model)
        # Buffers are those of rank 0 in training; evaluation is everybody's own.
        model.seen += 5 * world.rank
        evaluate = backend.wrap_step(lambda: float(model.seen), "validate")
        if world.rank:
            found["alone"] = evaluate()
        step(x, y)
        found["buffers"] = world.gather(float(model.seen))
        found["keys"] = list(model.state_dict()) == list(Pair().state_dict())
        return found

    found = world.launch(main)
    for name, which in (
        ("step", "step"),
        ("other", "other"),
        ("manual", "step"),
        ("manual other", "other"),
        ("after a skip", "other"),
    ):
        close(found[name], expected_gradients(which))
    assert (found["seen"], found["buffers"], found["keys"]) == ([0.0, 0.0], [0.0, 0.0], True)


def test_ddp_with_a_static_graph_and_a_second_training() -> None:
    chosen = two(DDP(static_graph=True, broadcast_buffers=False))
    backend, world = chosen.backend, chosen.world

    def main() -> dict[str, Any]:
        model = Pair()
        for parameter in (*model.second.parameters(),):
            parameter.requires_grad_(False)
        found: dict[str, Any] = {}
        for training in range(2):  # another optimizer for the same module
            optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
            backend.setup(model, [optimizer])
            open_, closing = (
                backend.wrap_step(model.step, phase) for phase in ("accumulate", "train")
            )
            for _ in range(3):  # the graph is recorded in the first round
                backend.zero_grad(optimizer)
                for index in range(2):
                    x, y = part(world, *batches()[index])
                    loss = (closing if index else open_)(x, y)["loss"] / 2
                    backend.backward(loss, sync=bool(index))
            found[f"training {training}"] = gradients(model)

        def manual(x: Tensor, y: Tensor) -> None:
            backend.backward(model.step(x, y)["loss"])

        with pytest.raises(ValueError, match="static_graph=True is for steps with one backward"):
            backend.wrap_step(manual, "train")(x, y)
        return found

    found = world.launch(main)
    model = Pair()
    for parameter in model.second.parameters():
        parameter.requires_grad_(False)
    for x, y in batches()[:2]:
        (model.step(x, y)["loss"] / 2).backward()
    close(found, {"training 0": gradients(model), "training 1": gradients(model)})


def test_ranks_agree_only_where_an_accumulation_window_closes() -> None:
    buckets: list[int] = []

    def hook(state: Any, bucket: dist.GradBucket) -> torch.futures.Future[Tensor]:
        buckets.append(bucket.index())
        return default_hooks.allreduce_hook(state, bucket)

    def agreed(model: nn.Module, strategy: Any) -> bool:
        """Whether ranks exchanged gradients in this backward pass."""
        if isinstance(strategy, DDP):
            count = len(buckets)
            buckets.clear()
            return count > 0
        # A rank's part of a gradient is there once it was reduced.
        parts = [parameter.grad is not None for parameter in model.parameters()]
        assert len(set(parts)) == 1
        return parts[0]

    def main(chosen: Any, strategy: Any) -> list[bool]:
        backend, model = chosen.backend, Pair()
        backend.setup(model, [])
        (optimizer,) = backend.setup(model, [torch.optim.SGD(model.parameters(), lr=0.1)])
        x, y = part(chosen.world, *batches()[0])
        found = []
        for phase in ("accumulate", "accumulate", "train", "accumulate", "train"):
            step = backend.wrap_step(lambda: model.step(x, y)["loss"] + model.other(x, y), phase)
            backend.backward(step(), sync=phase == "train")
            found.append(agreed(model, strategy))
            if phase == "train":
                backend.zero_grad(optimizer)
        return found

    for strategy in (DDP(ddp_comm_hook=hook), FSDP()):
        chosen = two(strategy)
        found = chosen.world.launch(lambda one=chosen, kind=strategy: main(one, kind))
        assert found == [False, False, True, False, True]


def test_what_torchs_wrappers_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    from lt_accel import replicated, sharded

    told: list[tuple[str, dict[str, Any]]] = []

    def noting(name: str, original: Any) -> Any:
        def noted(*arguments: Any, **words: Any) -> Any:
            told.append((name, words))
            return original(*arguments, **words)

        return noted

    monkeypatch.setattr(replicated, "_Wrapper", noting("ddp", replicated._Wrapper))
    monkeypatch.setattr(sharded, "fully_shard", noting("fsdp", sharded.fully_shard))

    def wrapper(hook: Any) -> Any:
        def wrapped(state: Any, bucket: dist.GradBucket) -> torch.futures.Future[Tensor]:
            told.append(("wrapper", {"state": state}))
            return hook(None, bucket)

        return wrapped

    def main(chosen: Any) -> Any:
        told.clear()
        trained(made(Nested), chosen)
        return [
            (name, {key: value for key, value in words.items() if key != "mesh"})
            for name, words in told
        ]

    chosen = two(
        DDP(
            gradient_as_bucket_view=True,
            bucket_cap_mb=3,
            ddp_comm_hook=default_hooks.allreduce_hook,
            ddp_comm_state="state",
            ddp_comm_wrapper=wrapper,
        )
    )
    first, *rest = chosen.world.launch(lambda: main(chosen))
    assert first == (
        "ddp",
        {
            "find_unused_parameters": False,
            "gradient_as_bucket_view": True,
            "static_graph": False,
            "bucket_cap_mb": 3,
        },
    )
    assert rest == [("wrapper", {"state": "state"})] * 2  # one bucket, two steps
    for given in (None, False, True):
        chosen = two(FSDP(reshard_after_forward=given))
        found = chosen.world.launch(lambda chosen=chosen: main(chosen))
        assert len(found) == 3  # two layers and the root
        for name, words in found:
            assert name == "fsdp"
            assert words.get("reshard_after_forward") is given
            assert not words["mp_policy"].cast_forward_inputs


def test_fsdp_in_a_mixed_precision_leaves_a_batch_as_it_is() -> None:
    chosen = select(accelerator="cpu", devices=2, strategy="fsdp", precision="bf16-mixed")
    backend = chosen.backend

    def main() -> Any:
        model = nn.Sequential(nn.Linear(4, 4))
        backend.setup(model, [])
        seen = []
        model[0].register_forward_hook(lambda _module, given, _output: seen.append(given[0].dtype))
        step = backend.wrap_step(lambda x: (x.dtype, model(x).dtype), "validate")
        return [*step(torch.ones(2, 4)), *seen]

    assert chosen.world.launch(main) == [torch.float32, torch.bfloat16, torch.float32]


def test_ddp_refuses_a_backward_pass_that_would_average_nothing() -> None:
    chosen = two("ddp")
    backend, world = chosen.backend, chosen.world

    def main() -> dict[str, Any]:
        model = Pair()
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        backend.setup(model, [optimizer])
        x, y = part(world, *batches()[0])

        def refused(loss: Tensor, **words: Any) -> None:
            with pytest.raises(RuntimeError, match=r"Call the model in wrap_step\(fn, 'train'\)"):
                backend.backward(loss, **words)
            backend.zero_grad(optimizer)

        refused(model.other(x, y))  # never wrapped
        backend.backward(model.other(x, y), sync=False)  # asks for nothing to be averaged
        backend.zero_grad(optimizer)

        def both(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
            return model.step(x, y)["loss"], model.other(x, y)

        def total(x: Tensor, y: Tensor) -> Tensor:
            return sum(both(x, y))  # type: ignore[return-value]

        step = backend.wrap_step(total, "train")
        open_ = backend.wrap_step(total, "accumulate")
        found: dict[str, Any] = {}
        loss = step(x, y)
        backend.backward(loss, retain_graph=True)
        found["once"] = gradients(model)
        refused(loss)  # torch averages the first time only
        refused(model.other(x, y))
        backend.backward(open_(x, y), sync=False)
        refused(model.other(x, y))
        backend.backward(open_(x, y) / 2, sync=False)
        backend.backward(step(x, y) / 2)
        found["window"] = gradients(model)
        # Losses that share no parameters: of one forward, and of two.
        backend.zero_grad(optimizer)
        for one in backend.wrap_step(both, "train")(x, y):
            backend.backward(one)
        found["two losses"] = gradients(model)
        backend.zero_grad(optimizer)
        first = backend.wrap_step(lambda: model.step(x, y), "train")()["loss"]
        second = backend.wrap_step(lambda: model.other(x, y), "train")()
        backend.backward(first)
        backend.backward(second)
        found["two forwards"] = gradients(model)
        refused(model.other(x, y))
        return found

    model = Pair()
    (model.step(*batches()[0])["loss"] + model.other(*batches()[0])).backward()
    expected = gradients(model)
    found = world.launch(main)
    close(found, dict.fromkeys(["once", "window", "two losses", "two forwards"], expected))


def test_one_rank_has_nobody_to_average_with() -> None:
    chosen = select(accelerator="cpu", devices=1, strategy="ddp", precision="64-true")

    def main() -> dict[str, Tensor | None]:
        model = Pair()
        chosen.backend.setup(model, [torch.optim.SGD(model.parameters(), lr=0.1)])
        chosen.backend.backward(model.other(*batches()[0]))
        return gradients(model)

    close(chosen.world.launch(main), expected_gradients("other"))


@pytest.mark.parametrize("policy", [None, {nn.Linear}, lambda module: type(module) is nn.Linear])
def test_fsdp(policy: Any) -> None:
    chosen = two(FSDP(auto_wrap_policy=policy, reshard_after_forward=False if policy else None))
    backend, world = chosen.backend, chosen.world

    def main() -> dict[str, Any]:
        model = Pair()
        with pytest.raises(ValueError, match=r"Call setup\(program, \[\]\), make them"):
            backend.setup(model, [torch.optim.SGD(model.parameters(), lr=0.1)])
        backend.setup(model, [])
        assert backend.device_mesh.size() == 2
        gathered = {type(m).__name__ for m in model.modules()}
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        backend.setup(model, [optimizer])
        x, y = part(world, *batches()[0])
        found: dict[str, Any] = {"classes": gathered}
        step = backend.wrap_step(model.step, "train")
        # Within an open window gradients are everybody's own; together they are averaged.
        open_ = backend.wrap_step(model.step, "accumulate")
        backend.backward(open_(x, y)["loss"] / 2, sync=False)
        backend.backward(step(x, y)["loss"] / 2)
        found["step"] = gradients(model)
        backend.zero_grad(optimizer)

        def manual(x: Tensor, y: Tensor) -> None:
            backend.backward(model.step(x, y)["loss"])
            backend.step(optimizer)
            backend.zero_grad(optimizer)

        backend.wrap_step(manual, "train")(x, y)
        found["stepped"] = {name: whole(value) for name, value in model.state_dict().items()}
        evaluate = backend.wrap_step(lambda x, y: model.step(x, y)["loss"], "validate")
        loss = backend.wrap_step(evaluate, "evaluate")(x, y)
        found["losses"] = world.gather(float(loss))
        return found

    found = world.launch(main)
    assert "FSDPLinear" in found["classes"]
    assert "FSDPPair" not in found["classes"]  # the user's class stays what it is
    expected = expected_gradients("step")
    close(found["step"], expected)
    model = Pair()
    model.step(*batches()[0])["loss"].backward()
    torch.optim.SGD(model.parameters(), lr=0.1).step()
    close(found["stepped"], dict(model.state_dict()))
    with torch.no_grad():
        x, y = batches()[0]
        expected_losses = [float(model.step(x[r::2], y[r::2])["loss"]) for r in range(2)]
    close(found["losses"], expected_losses)


class Tied(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a, self.h = nn.Linear(4, 4, bias=False), nn.Linear(4, 4, bias=False)
        self.h.weight = self.a.weight

    def forward(self, x: Tensor) -> Tensor:
        return self.h(self.a(x).tanh())


class TiedWithin(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.parts = nn.ModuleDict({"a": nn.Linear(4, 4), "h": nn.Linear(4, 4)})
        self.parts["h"].weight = self.parts["a"].weight

    def forward(self, x: Tensor) -> Tensor:
        return self.parts["h"](self.parts["a"](x).tanh())


class Loose(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a = nn.Linear(4, 4)
        self.listed = nn.ParameterList([nn.Parameter(torch.ones(4)) for _ in range(2)])
        self.named = nn.ParameterDict({"k": nn.Parameter(torch.ones(4))})

    def forward(self, x: Tensor) -> Tensor:
        return self.a(x) * self.listed[0] + self.listed[1] * self.named["k"]


class Nested(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.lists = nn.ModuleList([nn.ModuleList([nn.Linear(4, 4), nn.Linear(4, 4)])])

    def forward(self, x: Tensor) -> Tensor:
        return self.lists[0][1](self.lists[0][0](x))  # type: ignore[index]


class Encoder(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(4, 4)

    def encode(self, x: Tensor) -> Tensor:
        return nn.functional.linear(x, self.layer.weight)


class ByMethod(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.encoder = Encoder()

    def forward(self, x: Tensor) -> Tensor:
        return self.encoder.encode(x)


class ByWeight(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a = nn.Linear(4, 4)

    def forward(self, x: Tensor) -> Tensor:
        return nn.functional.linear(x, self.a.weight, self.a.bias)


class Penalized(ByWeight):
    def forward(self, x: Tensor) -> Tensor:
        return self.a(x) + self.a.weight.square().sum()


def trained(model: nn.Module, chosen: Any) -> dict[str, Tensor]:
    """Train by the backend on this rank's part."""
    backend, world = chosen.backend, chosen.world
    backend.setup(model, [])
    (optimizer,) = backend.setup(model, [torch.optim.SGD(model.parameters(), lr=0.1)])
    step = backend.wrap_step(lambda x, y: mse_loss(model(x), y.expand(-1, 4)), "train")
    for batch in batches(2):
        backend.zero_grad(optimizer)
        backend.backward(step(*part(world, *batch)))
        backend.step(optimizer)
    return {name: whole(value) for name, value in model.state_dict().items()}


def made(kind: type[nn.Module]) -> nn.Module:
    torch.manual_seed(5)
    return kind().double()


def test_fsdp_by_default_trains_what_one_process_trains() -> None:
    kinds = [Tied, TiedWithin, Loose, Nested, ByMethod]
    for kind in kinds:
        one = two("fsdp")
        expected = trained(made(kind), select(accelerator="cpu", precision="64-true"))
        close(one.world.launch(lambda kind=kind, one=one: trained(made(kind), one)), expected)


@pytest.mark.parametrize("kind", [ByWeight, Penalized])  # torch minds in forward, in backward
def test_fsdp_names_the_remedy_for_a_weight_that_is_used_from_outside(kind: Any) -> None:
    refused = two("fsdp")
    with pytest.raises(RuntimeError, match=r"FSDP\(auto_wrap_policy=set\(\)\)"):
        refused.world.launch(lambda: trained(made(kind), refused))
    chosen = two(FSDP(auto_wrap_policy=set()))
    expected = trained(made(kind), select(accelerator="cpu", precision="64-true"))
    close(chosen.world.launch(lambda: trained(made(kind), chosen)), expected)


class Wide(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(4)
        self.up, self.down = nn.Linear(4, 6), nn.Linear(6, 1)
        self.double()

    def step(self, x: Tensor, y: Tensor) -> Tensor:
        return mse_loss(self.down(torch.relu(self.up(x))), y)


def test_tensor_parallel_by_a_plan() -> None:
    from torch.distributed.tensor.parallel import (
        ColwiseParallel,
        RowwiseParallel,
        parallelize_module,
    )

    chosen = two(TensorParallel())
    backend, world = chosen.backend, chosen.world
    assert chosen.reasons["sharding"].startswith("tensor parallel: strategy=TensorParallel(")

    def main() -> dict[str, Any]:
        model = Wide()
        with pytest.raises(ValueError, match="none of whose parameters is spread"):
            backend.setup(model, [])
        mesh = backend.device_mesh
        assert mesh.mesh_dim_names == ("data_parallel", "tensor_parallel")
        plan = {"up": ColwiseParallel(), "down": RowwiseParallel()}
        parallelize_module(model, mesh["tensor_parallel"], plan)
        backend.setup(model, [])
        optimizer = torch.optim.AdamW(model.parameters(), lr=0.1)
        backend.setup(model, [optimizer])
        step = backend.wrap_step(model.step, "train")
        norms = []
        for x, y in batches():  # both ranks share their batches
            backend.zero_grad(optimizer)
            backend.backward(step(x, y))
            norms.append(float(backend.clip(optimizer, 0.5)))
            backend.step(optimizer)
        return {
            "state": {name: whole(value) for name, value in model.state_dict().items()},
            "norms": norms,
            "local": tuple(model.up.weight.to_local().shape),
        }

    found = world.launch(main)
    model = Wide()
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.1)
    norms = []
    for x, y in batches():
        optimizer.zero_grad()
        model.step(x, y).backward()
        norms.append(float(nn.utils.clip_grad_norm_(model.parameters(), 0.5)))
        optimizer.step()
    assert found["local"] == (3, 4)
    close(found["state"], dict(model.state_dict()))
    close(found["norms"], norms)


class Headed(Wide):
    """Some of its parameters are spread over ranks by a plan, others are not."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(1, 1).double()

    def step(self, x: Tensor, y: Tensor) -> Tensor:
        return mse_loss(self.head(self.down(torch.relu(self.up(x)))), y)


def planned(backend: Any, model: Headed) -> None:
    from torch.distributed.fsdp import fully_shard
    from torch.distributed.tensor.parallel import (
        ColwiseParallel,
        RowwiseParallel,
        parallelize_module,
    )

    mesh = backend.device_mesh
    plan = {"up": ColwiseParallel(), "down": RowwiseParallel()}
    parallelize_module(model, mesh["tensor_parallel"], plan)
    if mesh["data_parallel"].size() > 1:
        fully_shard(model, mesh=mesh["data_parallel"])


@pytest.mark.parametrize("data", [1, 2])
def test_clipping_where_only_some_parameters_are_spread_by_the_plan(data: int) -> None:
    strategy = TensorParallel(data_parallel_size=data, tensor_parallel_size=2)
    chosen = select(accelerator="cpu", devices=2 * data, strategy=strategy, precision="64-true")
    backend, world = chosen.backend, chosen.world

    def main() -> dict[str, Any]:
        model = Headed()
        planned(backend, model)
        backend.setup(model, [])
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        backend.setup(model, [optimizer])
        step = backend.wrap_step(model.step, "train")
        mine = world.rank // 2
        norms = []
        for index, (x, y) in enumerate(batches()):
            backend.zero_grad(optimizer)
            backend.backward(step(x[mine::data], y[mine::data]))
            if index % 2:
                assert backend.clip(optimizer, 0.01, "value") is None
            else:
                norms.append(float(backend.clip(optimizer, 0.05)))
            backend.step(optimizer)
        return {
            "state": {name: whole(value) for name, value in model.state_dict().items()},
            "norms": norms,
        }

    found = world.launch(main)
    model = Headed()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    norms = []
    for index, (x, y) in enumerate(batches()):
        optimizer.zero_grad()
        model.step(x, y).backward()
        if index % 2:
            nn.utils.clip_grad_value_(model.parameters(), 0.01)
        else:
            norms.append(float(nn.utils.clip_grad_norm_(model.parameters(), 0.05)))
        optimizer.step()
    close(found["state"], dict(model.state_dict()))
    close(found["norms"], norms)


def test_an_overflow_where_only_some_parameters_are_spread_is_everybodys() -> None:
    chosen = select(accelerator="cpu", devices=2, strategy=TensorParallel(), precision="16-mixed")
    backend, world = chosen.backend, chosen.world

    def main() -> Any:
        model = Headed().float()
        planned(backend, model)
        backend.setup(model, [])
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        backend.setup(model, [optimizer])
        step = backend.wrap_step(model.step, "train")
        taken, norms = [], []
        for index, (x, y) in enumerate(batches()):
            backend.zero_grad(optimizer)
            backend.backward(step(x.float(), y.float()) / 100)
            if index == 1 and world.rank:
                model.up.weight.grad.to_local()[0, 0] = torch.inf
            if index == 2 and world.rank:
                model.head.weight.grad.fill_(torch.nan)
            norms.append(float(backend.clip(optimizer, 0.05)))
            taken.append(backend.step(optimizer))
        return world.gather((taken, norms[0], backend.loss_scale))

    model = Headed().float()
    x, y = batches()[0]
    (model.step(x.float(), y.float()) / 100).backward()
    expected = float(nn.utils.clip_grad_norm_(model.parameters(), 0.05))
    for taken, norm, scale in world.launch(main):
        assert taken == [True, False, False, True]
        assert norm == pytest.approx(expected, rel=1e-2)
        assert scale == 2.0**14


def test_a_program_that_cannot_be_spread() -> None:
    for strategy in ("ddp", "fsdp"):
        chosen = two(strategy)

        def main(chosen: Any = chosen) -> str:
            with pytest.raises(TypeError, match=r"of a torch.nn.Module. Received a object") as no:
                chosen.backend.setup(object(), [])
            return str(no.value)

        assert "or use one process" in chosen.world.launch(main)
