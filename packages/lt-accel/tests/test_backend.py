"""The backend against the hand-written loops it replaces, bit for bit on a CPU."""

import copy
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import mse_loss

from lt_accel import Switches, TorchBackend, select

PRECISIONS = ["32-true", "64-true", "bf16-mixed", "16-mixed", "bf16-true", "16-true"]
TRUE_DTYPES = {"64-true": torch.float64, "bf16-true": torch.bfloat16, "16-true": torch.float16}
MIXED_DTYPES = {"bf16-mixed": torch.bfloat16, "16-mixed": torch.float16}

OPTIMIZERS: dict[str, Callable[[Any], torch.optim.Optimizer]] = {
    "sgd": lambda p: torch.optim.SGD(p, lr=0.05, momentum=0.9),
    "adamw": lambda p: torch.optim.AdamW(p, lr=0.01, eps=1e-4),
    "fused": lambda p: torch.optim.AdamW(p, lr=0.01, eps=1e-4, fused=True),
}


def make_model(seed: int = 0) -> nn.Sequential:
    torch.manual_seed(seed)
    return nn.Sequential(
        nn.Linear(8, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Dropout(0.2), nn.Linear(16, 1)
    )


def make_batches(count: int = 6, *, blow_up_at: int | None = None) -> list[tuple[Tensor, Tensor]]:
    generator = torch.Generator().manual_seed(1)
    batches = [
        (torch.randn(4, 8, generator=generator), torch.randn(4, 1, generator=generator))
        for _ in range(count)
    ]
    if blow_up_at is not None:  # so that the scaled gradient overflows float16
        batches[blow_up_at] = (batches[blow_up_at][0], batches[blow_up_at][1] * 1e4)
    return batches


def loss_of(model: nn.Module, x: Tensor, y: Tensor) -> Tensor:
    return 0.05 * mse_loss(model(x), y)  # small, or torch's first scale would overflow


def by_hand(
    precision: str, make_optimizer: Callable[[Any], Any], clip: Any, batches: list[Any]
) -> tuple[nn.Module, list[bool]]:
    """Train as a user would without any package; return the model and which steps were taken."""
    model = make_model()
    dtype = TRUE_DTYPES.get(precision, torch.float32)
    model.to(dtype)
    optimizer = make_optimizer(model.parameters())
    scaler = torch.amp.GradScaler("cpu", enabled=precision == "16-mixed")
    stepped = []
    for x, y in batches:
        optimizer.zero_grad()
        mixed = MIXED_DTYPES.get(precision)
        with torch.autocast("cpu", dtype=mixed) if mixed else nullcontext():
            loss = loss_of(model, x.to(dtype), y.to(dtype))
        scaler.scale(loss).backward()
        if clip is not None:
            scaler.unscale_(optimizer)
            if clip[1] == "norm":
                torch.nn.utils.clip_grad_norm_(model.parameters(), clip[0])
            else:
                torch.nn.utils.clip_grad_value_(model.parameters(), clip[0])
        scaler.step(optimizer)
        before = scaler.get_scale()
        scaler.update()
        stepped.append(scaler.get_scale() >= before)
    return model, stepped


def by_backend(
    precision: str, make_optimizer: Callable[[Any], Any], clip: Any, batches: list[Any]
) -> tuple[nn.Module, list[bool]]:
    model = make_model()
    backend = TorchBackend("cpu", precision)
    (optimizer,) = backend.setup(model, [make_optimizer(model.parameters())])
    stepped = train(backend, model, optimizer, batches, clip=clip)
    return model, stepped


def train(
    backend: TorchBackend, model: nn.Module, optimizer: Any, batches: list[Any], clip: Any = None
) -> list[bool]:
    step = backend.wrap_step(lambda x, y: loss_of(model, x, y), "train")
    stepped = []
    for batch in batches:
        loss = step(*backend.place(batch))
        backend.zero_grad(optimizer)
        backend.backward(loss)
        if clip is not None:
            backend.clip(optimizer, *clip)
        stepped.append(backend.step(optimizer))
    return stepped


def same_bits(left: nn.Module, right: nn.Module) -> bool:
    pairs = zip(left.state_dict().items(), right.state_dict().items(), strict=True)
    return all(
        a == b and x.dtype == y.dtype and torch.equal(x, y) for (a, x), (b, y) in pairs
    ) and all(torch.isfinite(value).all() for value in left.state_dict().values())


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
@pytest.mark.parametrize("clip", [None, (0.1, "norm"), (0.01, "value")])
def test_same_bits_as_by_hand(precision: str, optimizer: str, clip: Any) -> None:
    expected, steps = by_hand(precision, OPTIMIZERS[optimizer], clip, make_batches())
    model, stepped = by_backend(precision, OPTIMIZERS[optimizer], clip, make_batches())
    assert same_bits(model, expected)
    assert stepped == steps == [True] * 6
    assert not same_bits(model, make_model().to(TRUE_DTYPES.get(precision, torch.float32)))


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("clip", [None, (0.1, "norm")])
def test_an_overflow_skips_the_step_and_says_so(optimizer: str, clip: Any) -> None:
    batches = make_batches(blow_up_at=2)
    expected, steps = by_hand("16-mixed", OPTIMIZERS[optimizer], clip, batches)
    model, stepped = by_backend("16-mixed", OPTIMIZERS[optimizer], clip, batches)
    assert steps == [True, True, False, True, True, True]
    assert stepped == steps
    assert same_bits(model, expected)


def test_accumulation_is_as_by_hand() -> None:
    batches = make_batches(6)
    expected, model = make_model(), make_model()
    optimizer = torch.optim.SGD(expected.parameters(), lr=0.1)
    torch.manual_seed(3)
    for index, (x, y) in enumerate(batches):
        (mse_loss(expected(x), y) / 3).backward()
        if index % 3 == 2:
            optimizer.step()
            optimizer.zero_grad()
    backend = TorchBackend()
    (optimizer,) = backend.setup(model, [torch.optim.SGD(model.parameters(), lr=0.1)])
    torch.manual_seed(3)
    for index, (x, y) in enumerate(batches):
        closes = index % 3 == 2
        backend.backward(mse_loss(model(x), y) / 3, sync=closes)
        if closes:
            backend.step(optimizer)
            backend.zero_grad(optimizer)
    assert same_bits(model, expected)


def test_a_closure_is_handed_to_the_optimizer() -> None:
    x, y = make_batches(1)[0]
    models = [nn.Linear(8, 1), nn.Linear(8, 1)]
    models[1].load_state_dict(models[0].state_dict())
    backend = TorchBackend()
    for model, step in zip(models, [lambda o, c: o.step(c), backend.step], strict=True):
        optimizer = torch.optim.LBFGS(model.parameters(), max_iter=5)
        backend.setup(model, [optimizer])

        def closure(model: nn.Module = model, optimizer: Any = optimizer) -> Tensor:
            optimizer.zero_grad()
            loss = mse_loss(model(x), y)
            loss.backward()
            return loss

        step(optimizer, closure)
    assert same_bits(models[1], models[0])


def test_a_closure_and_a_scaler_are_refused() -> None:
    backend = TorchBackend("cpu", "16-mixed")
    model = make_model()
    with pytest.raises(ValueError, match=r"Received LBFGS \(optimizer 0 of 1\)"):
        backend.setup(model, [torch.optim.LBFGS(model.parameters())])
    (optimizer,) = backend.setup(model, [OPTIMIZERS["sgd"](model.parameters())])
    with pytest.raises(ValueError, match="a closure can't follow"):
        backend.step(optimizer, lambda: None)


def test_setup_returns_the_same_optimizers() -> None:
    model = make_model()
    optimizers = [OPTIMIZERS["sgd"](model.parameters()), OPTIMIZERS["adamw"](model.parameters())]
    returned = TorchBackend().setup(model, optimizers)
    assert all(a is b for a, b in zip(returned, optimizers, strict=True))


def test_an_optimizer_without_the_programs_parameters_is_refused() -> None:
    model = make_model()
    with pytest.raises(ValueError, match="none of them among the 6 of Sequential") as error:
        TorchBackend().setup(model, [OPTIMIZERS["sgd"](make_model().parameters())])
    assert "SGD (optimizer 0 of 1) with 6 parameters" in str(error.value)
    assert "configure_optimizers" in str(error.value)
    some = [*make_model().parameters(), next(model.parameters())]
    TorchBackend().setup(model, [OPTIMIZERS["sgd"](some)])


def test_something_that_is_no_optimizer_is_refused() -> None:
    with pytest.raises(TypeError, match=r"param_groups.*Received function"):
        TorchBackend().setup(make_model(), [make_model])


def test_a_plain_program_is_left_alone() -> None:
    class Plain:
        def __init__(self) -> None:
            self.model = make_model()

    program = Plain()
    backend = TorchBackend("cpu", "64-true")
    backend.setup(program, [OPTIMIZERS["sgd"](program.model.parameters())])
    assert next(program.model.parameters()).dtype is torch.float32
    assert backend.capture()["program"] is None
    backend.restore(backend.capture())


def test_state_of_an_optimizer_follows_its_parameters() -> None:
    model = make_model()
    optimizer = OPTIMIZERS["adamw"](model.parameters())
    mse_loss(model(torch.ones(4, 8)), torch.ones(4, 1)).backward()
    optimizer.step()
    TorchBackend("cpu", "64-true").setup(model, [optimizer])
    state = optimizer.state[next(model.parameters())]
    assert state["exp_avg"].dtype is torch.float64
    assert state["step"].dtype is torch.float32


@pytest.mark.parametrize("precision", TRUE_DTYPES)
def test_conversion_keeps_what_is_not_floating(precision: str) -> None:
    model = make_model()
    model.register_buffer("phase", torch.ones(2, dtype=torch.complex64))
    TorchBackend("cpu", precision).setup(model, [])
    assert model.phase.dtype is torch.complex64
    assert model[1].num_batches_tracked.dtype is torch.int64
    assert model[1].running_mean.dtype is TRUE_DTYPES[precision]


@pytest.mark.parametrize("precision", PRECISIONS)
def test_going_on_from_a_snapshot_gives_the_same_bits(precision: str) -> None:
    batches = make_batches(8)
    model = make_model()
    backend = TorchBackend("cpu", precision)
    (optimizer,) = backend.setup(model, [OPTIMIZERS["adamw"](model.parameters())])
    train(backend, model, optimizer, batches[:4])
    snapshot = backend.capture()
    kept = copy.deepcopy(snapshot)
    train(backend, model, optimizer, batches[4:])
    expected = copy.deepcopy(model)

    backend.restore(snapshot)
    assert not same_bits(model, expected)
    train(backend, model, optimizer, batches[4:])
    assert same_bits(model, expected)

    fresh = make_model(seed=7)
    other = TorchBackend("cpu", precision)
    (optimizer,) = other.setup(fresh, [OPTIMIZERS["adamw"](fresh.parameters())])
    torch.rand(5)
    other.restore(snapshot)
    train(other, fresh, optimizer, batches[4:])
    assert same_bits(fresh, expected)
    assert flat(snapshot) == flat(kept), "a step or a restore changed the snapshot"


def flat(state: Any) -> list[Any]:
    if isinstance(state, Tensor):
        return [state.dtype, *state.reshape(-1).tolist()]
    if isinstance(state, dict):
        return [part for key in state for part in [key, *flat(state[key])]]
    if isinstance(state, list | tuple):
        return [part for one in state for part in flat(one)]
    return [state]


def test_the_scale_is_restored() -> None:
    model = make_model()
    backend = TorchBackend("cpu", "16-mixed")
    (optimizer,) = backend.setup(model, [OPTIMIZERS["sgd"](model.parameters())])
    train(backend, model, optimizer, make_batches(4, blow_up_at=3))
    snapshot = backend.capture()
    assert snapshot["scaler"]["scale"] == 2.0**15
    other = TorchBackend("cpu", "16-mixed")
    other.setup(model, [OPTIMIZERS["sgd"](model.parameters())])
    assert other.capture()["scaler"]["scale"] == 2.0**16
    other.restore(snapshot)
    assert other.capture()["scaler"] == snapshot["scaler"]


def test_a_state_of_another_number_of_optimizers_is_refused() -> None:
    model = make_model()
    backend = TorchBackend()
    backend.setup(model, [OPTIMIZERS["sgd"](model.parameters())])
    snapshot = backend.capture()
    backend.setup(model, [OPTIMIZERS["sgd"](model.parameters()) for _ in range(2)])
    with pytest.raises(ValueError, match="Received the state of 1 for 2"):
        backend.restore(snapshot)


def test_weights_are_restored_where_nothing_is_trained() -> None:
    model = make_model()
    backend = TorchBackend()
    backend.setup(model, [OPTIMIZERS["sgd"](model.parameters())])
    snapshot = backend.capture()
    fresh = make_model(seed=5)
    evaluating = TorchBackend()
    evaluating.setup(fresh, [])
    evaluating.restore(snapshot)
    assert same_bits(fresh, model)


def test_validating_the_program_in_training_forgets_no_optimizer() -> None:
    model = make_model()
    backend = TorchBackend("cpu", "16-mixed")
    (optimizer,) = backend.setup(model, [OPTIMIZERS["sgd"](model.parameters())])
    train(backend, model, optimizer, make_batches(2, blow_up_at=0))
    backend.setup(model, [])
    snapshot = backend.capture()
    assert len(snapshot["optimizers"]) == 1
    assert snapshot["scaler"]["scale"] == 2.0**15


def test_zero_grad_notices_new_groups() -> None:
    model, more = make_model(), nn.Linear(2, 2)
    optimizer = OPTIMIZERS["sgd"](model.parameters())
    backend = TorchBackend()
    backend.setup(model, [optimizer])
    backend.zero_grad(optimizer)
    optimizer.add_param_group({"params": list(more.parameters())})
    for parameter in [*model.parameters(), *more.parameters()]:
        parameter.grad = torch.ones_like(parameter)
    backend.zero_grad(optimizer)
    assert all(p.grad is None for p in [*model.parameters(), *more.parameters()])


@pytest.mark.parametrize("precision", ["32-true", "16-mixed"])
def test_bad_losses_are_named(precision: str) -> None:
    backend = TorchBackend("cpu", precision)
    weight = torch.ones(2, 3, requires_grad=True)
    with pytest.raises(ValueError, match=r"must be a scalar. Received a tensor of shape \(2, 3\)"):
        backend.backward(weight * 2)
    with pytest.raises(ValueError, match="Received a tensor without a gradient") as error:
        backend.backward(torch.ones(()))
    assert isinstance(error.value.__cause__, RuntimeError)
    with pytest.raises(TypeError, match=r"must be a tensor\. Received float"):
        backend.backward(0.5)  # type: ignore[arg-type]


def test_other_errors_of_a_backward_pass_stay_as_they_are() -> None:
    class Broken(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: Tensor) -> Tensor:
            return x.sum()

        @staticmethod
        def backward(ctx: Any, gradient: Tensor) -> Tensor:
            raise RuntimeError("the user's own")

    loss = Broken.apply(torch.ones(2, requires_grad=True))
    with pytest.raises(RuntimeError, match="the user's own") as error:
        TorchBackend().backward(loss)
    assert error.value.__cause__ is None


def test_clipping_returns_the_norm_before() -> None:
    model = nn.Linear(1, 1, bias=False)
    backend = TorchBackend()
    (optimizer,) = backend.setup(model, [torch.optim.SGD(model.parameters(), lr=1.0)])
    model.weight.grad = torch.full((1, 1), 5.0)
    assert float(backend.clip(optimizer, 1.0)) == 5.0  # type: ignore[arg-type]
    assert backend.clip(optimizer, 0.5, "value") is None
    assert float(model.weight.grad) == 0.5


def test_clipping_twice_under_a_scaler_unscales_once() -> None:
    model = nn.Linear(1, 1, bias=False)
    backend = TorchBackend("cpu", "16-mixed")
    (optimizer,) = backend.setup(model, [torch.optim.SGD(model.parameters(), lr=1.0)])
    for _ in range(2):
        backend.zero_grad(optimizer)
        backend.backward(model(torch.full((1, 1), 3.0)).sum())
        assert float(backend.clip(optimizer, 100.0)) == 3.0  # type: ignore[arg-type]
        assert float(backend.clip(optimizer, 100.0)) == 3.0  # type: ignore[arg-type]
        assert backend.step(optimizer)


def test_gradients_are_not_tracked_in_an_evaluation() -> None:
    seen = []

    def loop() -> Iterator[Tensor]:
        weight = torch.ones(1, requires_grad=True)
        seen.append((torch.is_grad_enabled(), torch.is_inference_mode_enabled()))
        yield weight * 2
        seen.append((torch.is_grad_enabled(), torch.is_inference_mode_enabled()))
        return "the end"

    for inference_mode in (True, False):
        seen.clear()
        wrapped = TorchBackend(inference_mode=inference_mode).wrap_step(loop, "evaluate")
        running = wrapped()
        result = next(running)
        assert not result.requires_grad
        assert result.is_inference() is inference_mode
        assert torch.is_grad_enabled()
        assert not torch.is_inference_mode_enabled()
        with pytest.raises(StopIteration) as end:
            next(running)
        assert end.value.value == "the end"
        assert seen == [(False, inference_mode)] * 2


def test_a_sanity_check_leaves_the_random_generators_alone() -> None:
    check = TorchBackend().wrap_step(lambda n: torch.rand(n), "sanity_check")
    torch.manual_seed(0)
    expected = torch.rand(3)
    torch.manual_seed(0)
    assert torch.equal(check(3), expected)
    assert torch.equal(torch.rand(3), expected)


def test_steps_that_need_nothing_are_not_wrapped() -> None:
    def step(batch: Any) -> Any:
        return batch

    backend = TorchBackend()
    assert all(
        backend.wrap_step(step, phase) is step for phase in ("train", "validate", "test", "predict")
    )


def test_settings_hold_from_setup_on(torch_switches: None) -> None:
    backend = TorchBackend(switches=Switches(deterministic="warn"))
    assert not torch.are_deterministic_algorithms_enabled()
    backend.setup(make_model(), [])
    assert torch.are_deterministic_algorithms_enabled()


def test_read_is_the_function_of_that_name() -> None:
    assert TorchBackend().read([1, torch.tensor(2.0)]) == [1.0, 2.0]


def test_a_selection_is_ready_for_a_loop_by_hand() -> None:
    backend = select(accelerator="cpu", precision=64).backend
    model = make_model()
    (optimizer,) = backend.setup(model, [OPTIMIZERS["sgd"](model.parameters())])
    assert train(backend, model, optimizer, make_batches(2)) == [True, True]


def test_anomalies_are_looked_for_in_the_step_and_in_its_gradients_alone() -> None:
    backend = TorchBackend(detect_anomaly=True)
    weight = nn.Parameter(torch.zeros(1))

    def step() -> Tensor:
        return torch.sqrt(weight * 0).sum()

    loss = backend.wrap_step(step, "train")()
    with (
        pytest.warns(UserWarning, match="Error detected in"),
        pytest.raises(RuntimeError, match="returned nan values"),
    ):
        backend.backward(loss)
    assert not torch.is_anomaly_enabled()
    TorchBackend().backward(step())  # nobody looks


def test_validation_within_a_fit_makes_tensors_that_can_be_trained_with() -> None:
    backend = TorchBackend()
    inference = [
        backend.wrap_step(lambda: torch.zeros(1).is_inference(), phase)()
        for phase in ("evaluate", "evaluate_in_fit")
    ]
    tracked = backend.wrap_step(torch.is_grad_enabled, "evaluate_in_fit")()

    assert (inference, tracked) == ([True, False], False)


def test_a_graph_may_be_kept() -> None:
    backend, weight = TorchBackend(), nn.Parameter(torch.ones(1))
    loss = (weight * weight).sum()
    backend.backward(loss, retain_graph=True)
    backend.backward(loss)

    assert weight.grad == 4.0


def test_training_without_gradients_is_refused() -> None:
    module = nn.Linear(1, 1)
    optimizer = torch.optim.SGD(module.parameters(), lr=0.1)
    with torch.inference_mode(), pytest.raises(RuntimeError, match=r"^Training needs gradients\."):
        TorchBackend().setup(module, [optimizer])


def test_weights_trained_elsewhere_keep_their_digits() -> None:
    weights = {"weight": torch.full((1, 1), 1 / 3, dtype=torch.float64)}
    program = nn.Linear(1, 1, bias=False)
    parameter = program.weight
    TorchBackend("cpu", "64-true").adopt(program, weights)
    assert program.weight is parameter
    assert torch.equal(program.weight, weights["weight"])


@pytest.mark.parametrize("clip", [None, (1.0, "norm"), (0.1, "value")])
@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_a_step_that_was_skipped_can_be_told_by_its_layer(clip: Any, bad: float) -> None:
    """Clipping a NaN by the norm would make all gradients NaN, by the value hide an infinity."""
    model = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2), nn.Linear(2, 1))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    backend = TorchBackend("cpu", "16-mixed")
    backend.setup(model, [optimizer])
    step = backend.wrap_step(lambda: model(torch.ones(1, 2)).float().sum() / 100, "train")
    backend.backward(step())
    assert model[0].weight.grad is not None
    model[0].weight.grad[0, 0] = bad
    if clip:
        norm = backend.clip(optimizer, *clip)
        assert norm is None or norm.isinf()
    assert not backend.step(optimizer)
    assert backend.first_non_finite(optimizer) == "0.weight"
    assert backend.loss_scale == 2.0**16
    backend.keep_loss_scale()
    backend.backward(step())
    assert backend.loss_scale == 2.0**16


def test_without_a_scaler_there_is_no_scale() -> None:
    backend = TorchBackend()
    backend.keep_loss_scale()
    assert backend.loss_scale is None


@pytest.mark.parametrize(("phase", "message"), [("trian", "Did you mean 'train'"), (None, "None")])
def test_an_unknown_phase_is_refused(phase: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        TorchBackend().wrap_step(lambda: None, phase)
