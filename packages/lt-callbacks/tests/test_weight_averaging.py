"""WeightAveraging and EMAWeightAveraging against torch's AveragedModel and the formula, by hand."""

import copy
from collections.abc import Callable
from typing import Any

import pytest

pytest.importorskip("torch")

import torch
from torch import nn
from torch.optim.swa_utils import (
    AveragedModel,
    get_ema_multi_avg_fn,
    get_swa_multi_avg_fn,
)

from lt_callbacks import EMAWeightAveraging, LambdaCallback, WeightAveraging
from lt_loop import Trainer
from lt_loop.solo import DuckBackend

EPOCHS = 3


class Network(nn.Sequential):
    """With batch normalization, which has buffers; validation notes the weights it sees."""

    trainer: Any = None

    def __init__(self) -> None:
        torch.manual_seed(0)
        super().__init__(nn.Linear(4, 3), nn.BatchNorm1d(3), nn.Tanh(), nn.Linear(3, 1))
        self.validated: list[Any] = []

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        return self(batch).square().mean()

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        self.validated.append(copied(self))

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.parameters(), lr=0.1, momentum=0.9)


def copied(module: nn.Module) -> dict[str, Any]:
    return {name: value.clone() for name, value in module.state_dict().items()}


def equal(one: Any, other: Any) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


@pytest.fixture
def batches() -> list[Any]:
    generator = torch.Generator().manual_seed(1)
    return [torch.randn(5, 4, generator=generator) for _ in range(4)]


def trainer(*callbacks: Any, **words: Any) -> Trainer:
    words = {"max_epochs": EPOCHS, "num_sanity_val_steps": 0, "backend": DuckBackend()} | words
    return Trainer(
        callbacks=list(callbacks),
        logger=False,
        enable_progress_bar=False,
        enable_checkpointing=False,
        **words,
    )


def by_hand(
    batches: list[Any],
    average: Callable[[nn.Module], AveragedModel],
    *,
    step: Callable[[int], bool] = lambda index: True,
    epoch: Callable[[int], bool] = lambda index: False,
) -> tuple[dict[str, Any], dict[str, Any], list[dict[str, Any]]]:
    """Return average and weights at the end, and the averages that each epoch's validation sees."""
    model = Network()
    optimizer, averaged, seen, index = model.configure_optimizers(), average(model), [], 0
    for number in range(EPOCHS):
        for batch in batches:
            optimizer.zero_grad()
            model.training_step(batch, 0).backward()
            optimizer.step()
            if step(index):
                averaged.update_parameters(model)
            index += 1
        seen.append(copied(averaged.module))
        if epoch(number):
            averaged.update_parameters(model)
    return copied(averaged.module), copied(model), seen


def torchs(**options: Any) -> Callable[[nn.Module], AveragedModel]:
    return lambda model: AveragedModel(model, **{"use_buffers": True, **options})


def ema(decay: float) -> Callable[[nn.Module], AveragedModel]:
    return torchs(multi_avg_fn=get_ema_multi_avg_fn(decay))


def formula(decay: float) -> Callable[[nn.Module], AveragedModel]:
    return torchs(avg_fn=lambda average, new, _count: decay * average + (1 - decay) * new)


def close(one: Any, other: Any) -> bool:
    """The same but for the rounding of a sum that is written in another way."""
    return all(torch.allclose(one[name], other[name], rtol=1e-5, atol=1e-7) for name in one)


class EverySecondEpoch(WeightAveraging):
    def should_update(self, step_idx: int | None = None, epoch_idx: int | None = None) -> bool:
        return epoch_idx is not None and epoch_idx % 2 == 0


CASES = [
    (lambda: WeightAveraging(), torchs(), {}),
    (
        lambda: WeightAveraging(use_buffers=False),
        torchs(use_buffers=False, multi_avg_fn=get_swa_multi_avg_fn()),
        {},
    ),
    (
        lambda: WeightAveraging(avg_fn=lambda average, new, count: torch.maximum(average, new)),
        torchs(avg_fn=lambda average, new, count: torch.maximum(average, new)),
        {},
    ),
    (lambda: EMAWeightAveraging(decay=0.5), ema(0.5), {}),
    (lambda: EMAWeightAveraging(), ema(0.999), {}),
    (
        lambda: EMAWeightAveraging(
            decay=0.7, update_every_n_steps=3, update_starting_at_step=2, device="cpu"
        ),
        ema(0.7),
        {"step": lambda index: index >= 2 and index % 3 == 0},
    ),
    (
        lambda: EMAWeightAveraging(decay=0.7, update_every_n_steps=0, update_starting_at_epoch=1),
        ema(0.7),
        {"step": lambda index: False, "epoch": lambda index: index >= 1},
    ),
    (
        lambda: EverySecondEpoch(),
        torchs(),
        {"step": lambda index: False, "epoch": lambda index: index % 2 == 0},
    ),
]


@pytest.mark.parametrize(("make", "average", "when"), CASES)
def test_the_average_is_that_of_a_loop_by_hand(
    make: Any, average: Any, when: Any, batches: list[Any]
) -> None:
    model = Network()

    trainer(make()).fit(model, batches, [batches[0]])

    averaged, _, seen = by_hand(batches, average, **when)
    torchs_own = average(Network())  # takes its mean one tensor at a time, in another sum
    same = close if torchs_own.avg_fn is torchs_own.multi_avg_fn is None else equal
    assert same(copied(model), averaged)
    assert all(same(ours, theirs) for ours, theirs in zip(model.validated, seen, strict=True))
    assert model[1].num_batches_tracked == averaged["1.num_batches_tracked"]


@pytest.mark.parametrize("decay", [0.5, 0.999])
def test_the_exponential_average_is_the_formula(decay: float, batches: list[Any]) -> None:
    trainer(EMAWeightAveraging(decay=decay)).fit(model := Network(), batches)

    assert close(copied(model), by_hand(batches, formula(decay))[0])


def test_the_default_is_the_mean_of_all_steps(batches: list[Any]) -> None:
    trainer(WeightAveraging(use_buffers=False)).fit(model := Network(), batches)

    plain, seen = Network(), []
    optimizer = plain.configure_optimizers()
    for batch in batches * EPOCHS:
        optimizer.zero_grad()
        plain.training_step(batch, 0).backward()
        optimizer.step()
        seen.append([parameter.detach().clone() for parameter in plain.parameters()])
    for ours, theirs in zip(model.parameters(), zip(*seen, strict=True), strict=True):
        torch.testing.assert_close(ours.detach(), torch.stack(theirs).mean(0))


def test_epochs_of_unknown_length_are_taken_in_too(batches: list[Any]) -> None:
    class Endless:
        def __iter__(self) -> Any:
            return iter(batches)

    model = Network()

    trainer(EverySecondEpoch()).fit(model, Endless())

    expected = by_hand(batches, torchs(), step=lambda _: False, epoch=lambda e: e % 2 == 0)[0]
    assert close(copied(model), expected)


def test_training_never_sees_the_average(batches: list[Any]) -> None:
    seen: dict[str, Any] = {}
    watch = LambdaCallback(on_train_epoch_end=lambda _, module: seen.update(copied(module)))

    trainer(WeightAveraging(), watch).fit(Network(), batches, [batches[0]])

    assert equal(seen, by_hand(batches, torchs())[1])


def test_a_step_of_several_batches_counts_once(batches: list[Any]) -> None:
    calls: list[int | None] = []

    class Counting(WeightAveraging):
        def should_update(self, step_idx: int | None = None, epoch_idx: int | None = None) -> bool:
            calls.append(step_idx)
            return step_idx is not None

    trainer(Counting(), accumulate_grad_batches=2, max_epochs=2).fit(Network(), batches)

    assert calls == [0, 1, None, 2, 3, None]


def test_a_state_holds_both(batches: list[Any]) -> None:
    for at in (5, 12):
        run, model = trainer(EMAWeightAveraging(decay=0.5)), Network()
        for progress in run.steps(model, batches):
            if progress.steps == at:
                break
        state = run.capture()

        short = copy.deepcopy(batches)
        averaged, weights, _ = by_hand(short, ema(0.5), step=lambda index, at=at: index < at)
        assert equal(state["state_dict"], averaged)
        if at == 12:
            assert equal(state["current_model_state"], weights)
        assert int(state["averaging_state"]["n_averaged"]) == at
        assert not equal(state["current_model_state"], state["state_dict"])


@pytest.mark.parametrize("make", [case[0] for case in CASES])
@pytest.mark.parametrize("at", [1, 4, 6])
def test_a_run_that_was_broken_off_goes_on_to_the_same_bits(
    make: Any, at: int, batches: list[Any]
) -> None:
    whole = Network()
    trainer(make()).fit(whole, batches, [batches[0]])

    first, second = trainer(make()), Network()
    for progress in first.steps(Network(), batches, [batches[0]]):
        if progress.steps == at:
            break
    state = first.capture()
    kept = copy.deepcopy(state)
    trainer(make()).fit(second, batches, [batches[0]], ckpt_path=state)

    assert equal(copied(second), copied(whole))
    assert equal(second.validated[-1], whole.validated[-1])
    assert equal(state["state_dict"], kept["state_dict"])  # nobody wrote into it


def test_a_run_that_was_over_goes_on_from_the_weights_in_training(batches: list[Any]) -> None:
    whole, first = Network(), Network()
    trainer(WeightAveraging()).fit(whole, batches)

    short = trainer(WeightAveraging(), max_epochs=1)
    short.fit(first, batches)
    state = short.capture()
    assert equal(state["state_dict"], copied(first))
    trainer(WeightAveraging()).fit(again := Network(), batches, ckpt_path=state)

    assert equal(copied(again), copied(whole))


def test_an_average_may_begin_in_a_run_that_goes_on(batches: list[Any]) -> None:
    first = trainer(max_epochs=1)
    first.fit(Network(), batches)
    state = first.capture()

    trainer(WeightAveraging()).fit(model := Network(), batches, ckpt_path=state)

    expected = by_hand(batches, torchs(), step=lambda index: index >= len(batches))[0]
    assert close(copied(model), expected)


def test_a_validation_that_fails_gives_the_weights_back(batches: list[Any]) -> None:
    class Failing(Network):
        def validation_step(self, batch: Any, batch_idx: int) -> None:
            raise RuntimeError("no")

    with pytest.raises(RuntimeError, match="no"):
        trainer(EMAWeightAveraging(decay=0.5), max_epochs=1).fit(
            model := Failing(), batches, [batches[0]]
        )

    plain = Network()
    trainer(max_epochs=1).fit(plain, batches)
    assert equal(copied(model), copied(plain))


def test_validation_after_the_fit_sees_what_is_in_the_module(batches: list[Any]) -> None:
    run, model = trainer(WeightAveraging()), Network()
    run.fit(model, batches)
    left = copied(model)

    run.validate(model, [batches[0]], verbose=False)

    assert equal(model.validated[-1], left)
    assert equal(copied(model), left)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ({"decay": 1.5}, "decay is a number from 0 to 1"),
        ({"update_every_n_steps": -1}, "update_every_n_steps is an int of at least 0"),
    ],
)
def test_bad_arguments_are_refused(words: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        EMAWeightAveraging(**words)


def test_a_program_without_weights_is_refused(scripted: Any) -> None:
    with pytest.raises(TypeError, match=r"averages the weights of an nn\.Module\. Received Scri"):
        trainer(WeightAveraging()).fit(scripted(train_x=[1]), [0])
