"""Steps that are not finite: what is done about them, before the optimizer takes them."""

import logging
import math
from typing import Any

import pytest
from toys import Line, batches, by_hand, make_trainer

from lt_loop import Callback
from lt_loop.solo import DuckBackend, NoStore

DATA = batches(6)
KEEPS: dict[str, Any] = {"enable_checkpointing": None}
BAD = ([math.nan], [1.0])
WITH_A_BAD_ONE = [*DATA[:3], BAD, *DATA[3:]]


class Looking(DuckBackend):
    """Can look at the one gradient there is."""

    def first_non_finite(self, optimizer: Any) -> str | None:
        return None if math.isfinite(optimizer.weight.grad) else "weight"


def trainer(action: Any, **words: Any) -> Any:
    return make_trainer(backend=Looking(), on_nonfinite=action, max_epochs=1, **(KEEPS | words))


def test_nobody_looks_unless_asked_to() -> None:
    program = Line()
    trainer(None).fit(program, WITH_A_BAD_ONE)

    assert math.isnan(program.weight.value)


def test_an_error_names_layer_step_and_batch() -> None:
    program = Line()
    message = r"gradient of weight is not finite at step 3, batch 3 of epoch 0\. Look at the batch"
    with pytest.raises(FloatingPointError, match=message):
        trainer("raise").fit(program, WITH_A_BAD_ONE)

    assert program.weight.value == by_hand(DATA[:3])


def test_a_step_that_is_skipped_leaves_no_trace(caplog: pytest.LogCaptureFixture) -> None:
    program = Line()
    with caplog.at_level(logging.WARNING, "lt_loop"):
        result = trainer("skip").fit(program, WITH_A_BAD_ONE)

    assert program.weight.value == by_hand(DATA)
    assert (result.progress.steps, result.progress.skipped_steps) == (6, 1)
    assert "The gradient of weight is not finite at step 3, batch 3" in caplog.text


def test_with_accumulation_the_whole_window_is_left_out() -> None:
    program = Line()
    trainer("skip", accumulate_grad_batches=2).fit(program, [*DATA[:2], DATA[0], BAD, *DATA[4:]])

    assert program.weight.value == by_hand([*DATA[:2], *DATA[4:]], accumulate=2)


class Keeper(Callback):
    """Saves every n-th step in memory."""

    role = "checkpoint"

    def __init__(self, every: int) -> None:
        self.every, self.states = every, {}

    def on_safe_point(self, trainer: Any, pl_module: Any) -> None:
        if trainer.global_step % self.every == 0:
            self.states["last"] = trainer.capture()

    def resolve(self, which: str) -> str | None:
        return which if which in self.states else None


class Shelf(NoStore):
    def __init__(self, keeper: Keeper) -> None:
        self.keeper = keeper

    def load(self, name: str, *, world: Any = None) -> Any:
        return self.keeper.states[name]


class Drifting(Line):
    """Its third gradient of the first pass is bad, whatever the batch."""

    seen = 0

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        self.seen += 1
        return self.loss(BAD if self.seen == 5 else batch)


@pytest.mark.parametrize("every", [1, 2, 3])
def test_a_rollback_goes_back_and_leaves_the_batch_out(every: int) -> None:
    keeper, program = Keeper(every), Line()
    run = trainer("rollback", callbacks=keeper, store=Shelf(keeper))
    result = run.fit(program, WITH_A_BAD_ONE)

    assert program.weight.value == by_hand(DATA)
    assert (result.progress.batch, result.progress.steps) == (0, 6)
    assert result.progress.batches == 7


def test_a_rollback_repeats_what_came_after_the_checkpoint() -> None:
    keeper, program = Keeper(3), Drifting()
    trainer("rollback", callbacks=keeper, store=Shelf(keeper)).fit(program, DATA)

    assert program.weight.value == by_hand([*DATA[:4], DATA[5]])
    assert program.seen == 5 + 2  # from the third step on, and without the fifth batch


class Summing(Line):
    """Logs the input of each batch, and counts batches in an object as torchmetrics has them."""

    def __init__(self) -> None:
        super().__init__()
        self.metric, self.counts = Counting(), []

    def named_modules(self) -> Any:
        return [("metric", self.metric)]

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        if math.isfinite(batch[0][0]):
            self.trainer.log("x", batch[0][0], on_step=False, on_epoch=True)
        self.metric.seen += 1
        return super().training_step(batch, batch_idx)

    def on_train_epoch_end(self) -> None:
        self.counts.append(self.metric.seen)
        self.metric.reset()


class Counting:
    """What of torchmetrics' protocol is looked at."""

    seen = 0

    @property
    def metric_state(self) -> dict[str, Any]:
        return {"seen": self.seen}

    def reset(self) -> None:
        self.seen = 0


@pytest.mark.parametrize("every", [1, 2, 3])
def test_a_rollback_sums_up_as_if_nothing_had_been_in_between(every: int) -> None:
    keeper, program, plain = Keeper(every), Summing(), Summing()
    means: dict[str, list[Any]] = {"plain": [], "rollback": []}
    for name, one, words in (
        ("plain", plain, {"on_nonfinite": None}),
        ("rollback", program, {"callbacks": keeper, "store": Shelf(keeper)}),
    ):

        class Means(Callback):
            monitors = True

            def on_train_epoch_end(self, trainer: Any, module: Any, name: str = name) -> None:
                means[name].append(trainer.callback_metrics["x"])

        given = {"on_nonfinite": "rollback"} | words
        callbacks = [Means(), *([words["callbacks"]] if "callbacks" in words else [])]
        run = make_trainer(
            **(KEEPS | given | {"callbacks": callbacks, "backend": Looking(), "max_epochs": 3})
        )
        run.fit(one, DATA if name == "plain" else WITH_A_BAD_ONE)

    assert means["rollback"] == pytest.approx(means["plain"])
    assert program.counts == plain.counts == [6, 6, 6]


def test_a_rollback_needs_a_checkpoint() -> None:
    with pytest.raises(LookupError, match=r"goes back to a checkpoint.*no callback saves any"):
        trainer("rollback").fit(Line(), DATA)
    keeper = Keeper(100)
    with pytest.raises(LookupError, match="Received callbacks that have none"):
        trainer("rollback", callbacks=keeper, store=Shelf(keeper)).fit(Line(), [BAD, *DATA])


def test_going_back_again_and_again_ends() -> None:
    class Hopeless(Line):
        def training_step(self, batch: Any, batch_idx: int) -> Any:
            return self.loss(BAD if batch_idx > 2 else batch)

    keeper = Keeper(1)
    run = trainer("rollback", callbacks=keeper, store=Shelf(keeper))
    with pytest.raises(RuntimeError, match="goes back to its checkpoint 10 times comes no further"):
        run.fit(Hopeless(), batches(30))


def test_what_can_not_look_is_refused() -> None:
    with pytest.raises(LookupError, match="needs a backend that can look at its gradients"):
        make_trainer(on_nonfinite="skip").fit(Line(), DATA)

    class Own(Line):
        def optimizer_step(self, epoch: int, batch_idx: int, optimizer: Any, closure: Any) -> None:
            optimizer.step(closure)

    with pytest.raises(ValueError, match="stands between the gradients and the step"):
        trainer("skip").fit(Own(), DATA)

    class Manual(Line):
        automatic_optimization = False

    with pytest.raises(ValueError, match="the module decides whether to step"):
        trainer("skip").fit(Manual(), DATA)
    with pytest.raises(ValueError, match=r"on_nonfinite is one of .*Did you mean 'skip'"):
        trainer("skp")


class Scaling(Looking):
    """Never takes a step that is not finite, as a backend with a loss scaler."""

    def __init__(self, scale: float) -> None:
        super().__init__()
        self.loss_scale = scale

    def step(self, optimizer: Any, closure: Any) -> bool:
        if self.first_non_finite(optimizer):
            self.loss_scale /= 2
            return False
        return super().step(optimizer, closure)


class Overflowing(Line):
    """The gradient of its fourth batch is not finite, though the loss is."""

    def on_after_backward(self) -> None:
        if self.weight.grad == self.slope_of_the_fourth:
            self.weight.grad = math.inf

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        self.slope_of_the_fourth = None
        loss = super().training_step(batch, batch_idx)
        if batch_idx == 3:
            self.slope_of_the_fourth = loss._slope
        return loss


def scaled(action: Any, scale: float, **words: Any) -> Any:
    words = {"max_epochs": 1, **KEEPS, **words}
    return make_trainer(backend=Scaling(scale), on_nonfinite=action, **words)


@pytest.mark.parametrize("action", [None, "raise", "skip", "rollback"])
def test_what_a_scaler_tries_out_is_logged_and_no_more(
    action: Any, caplog: pytest.LogCaptureFixture
) -> None:
    keeper, program = Keeper(1), Overflowing()
    with caplog.at_level(logging.INFO, "lt_loop"):
        run = scaled(action, 8.0, callbacks=keeper, store=Shelf(keeper))
        result = run.fit(program, DATA)

    assert program.weight.value == by_hand([*DATA[:3], *DATA[4:]])
    assert (result.progress.steps, result.progress.skipped_steps) == (5, 1)
    (record,) = [one for one in caplog.records if "gradient" in one.message]
    assert record.levelno == logging.INFO
    assert record.message == (
        "The gradient of weight, times 4, does not fit: skipped step 3, batch 3 of epoch 0"
    )


@pytest.mark.parametrize(
    ("program", "data", "scale", "told"),
    [
        (Line, WITH_A_BAD_ONE, 8.0, "is not finite, nor is the loss, at step 3, batch 3 of"),
        (Overflowing, DATA, 2.0, "is not finite at step 3, batch 3 of epoch 0"),
    ],
    ids=["the loss", "at a scale of 1"],
)
@pytest.mark.parametrize("action", [None, "raise", "skip", "rollback"])
def test_what_no_scale_can_help_is_a_step_that_is_not_finite(
    action: Any, program: Any, data: Any, scale: float, told: str, caplog: Any
) -> None:
    keeper, line = Keeper(2), program()
    run = scaled(action, scale, callbacks=keeper, store=Shelf(keeper))
    good = [batch for index, batch in enumerate(data) if index != 3]
    if action == "raise":
        with pytest.raises(FloatingPointError, match=f"The gradient of weight {told}"):
            run.fit(line, data)
        assert line.weight.value == by_hand(data[:3])
        return
    with caplog.at_level(logging.WARNING, "lt_loop"):
        result = run.fit(line, data)

    assert f"The gradient of weight {told}" in caplog.text
    assert line.weight.value == by_hand(good)
    assert result.progress.skipped_steps == (0 if action == "rollback" else 1)
