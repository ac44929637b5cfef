"""Steps that are not finite: what is done about them, before the optimizer takes them."""

import logging
import math
from typing import Any

import pytest
from guarded import BAD, DATA, KEEPS, WITH_A_BAD_ONE, Keeper, Looking, Shelf
from toys import Line, Loss, batches, by_hand, make_trainer

from lt_loop import Callback


def trainer(action: Any, **words: Any) -> Any:
    return make_trainer(backend=Looking(), on_nonfinite=action, max_epochs=1, **(KEEPS | words))


def test_nobody_looks_unless_asked_to() -> None:
    program = Line()
    trainer(None).fit(program, WITH_A_BAD_ONE)

    assert math.isnan(program.weight.value)


def test_an_error_names_layer_step_and_batch() -> None:
    program = Line()
    message = (
        r"The loss and the gradient of weight are not finite at step 3, batch 3 of epoch 0\. Look "
        "at the batch"
    )
    with pytest.raises(FloatingPointError, match=message):
        trainer("raise").fit(program, WITH_A_BAD_ONE)

    assert program.weight.value == by_hand(DATA[:3])


def test_a_step_that_is_skipped_leaves_no_trace(caplog: pytest.LogCaptureFixture) -> None:
    program = Line()
    with caplog.at_level(logging.WARNING, "lt_loop"):
        result = trainer("skip").fit(program, WITH_A_BAD_ONE)

    assert program.weight.value == by_hand(DATA)
    assert (result.progress.steps, result.progress.skipped_steps) == (6, 1)
    assert "The loss and the gradient of weight are not finite at step 3, batch 3" in caplog.text


@pytest.mark.parametrize("window", [[DATA[0], BAD], [BAD, DATA[0]]])
def test_with_accumulation_the_whole_window_is_left_out(
    window: Any, caplog: pytest.LogCaptureFixture
) -> None:
    program = Line()
    trainer("skip", accumulate_grad_batches=2).fit(program, [*DATA[:2], *window, *DATA[4:]])

    assert program.weight.value == by_hand([*DATA[:2], *DATA[4:]], accumulate=2)
    told = "The loss and the gradient of weight are not finite at step 1, batches 2 to 3 of epoch 0"
    assert told in caplog.text


def test_a_loss_that_is_finite_is_not_blamed() -> None:
    class Steep(Line):
        def training_step(self, batch: Any, batch_idx: int) -> Any:
            loss = super().training_step(batch, batch_idx)
            return Loss(self.weight, float(loss), math.inf) if batch_idx == 2 else loss

    with pytest.raises(FloatingPointError, match=r"^The gradient of weight is not finite at step"):
        trainer("raise").fit(Steep(), DATA)


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


class Validations(Callback):
    """Keeps the number of batches at each validation; asks to stop after so many."""

    def __init__(self, stop_at: int | None) -> None:
        self.seen: list[int] = []
        self.stop_at, self.batches = stop_at, 0

    def on_train_batch_end(
        self, trainer: Any, module: Any, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        self.batches += 1  # those of the run, whatever it went back for
        if self.batches == self.stop_at:
            trainer.stop("enough")

    def on_validation_end(self, trainer: Any, pl_module: Any) -> None:
        self.seen.append(trainer.progress.batches)


@pytest.mark.parametrize(
    ("stop_at", "expected"),
    [
        (None, [2, 4, 4, 6]),  # back to the third step, over the fourth again
        (5, [2, 4, 4]),  # where it has just validated again it need not for the stop
        (6, [2, 4, 4, 5]),  # where it has not it does, after the batch that is left out
    ],
)
def test_a_rollback_neither_skips_nor_repeats_a_validation(
    stop_at: int | None, expected: list[int]
) -> None:
    keeper, validations = Keeper(3), Validations(stop_at)
    words = {"callbacks": [keeper, validations], "store": Shelf(keeper), "val_check_interval": 2}
    run = trainer("rollback", num_sanity_val_steps=0, **words)
    run.fit(Line(), [*DATA[:4], BAD, DATA[4]], DATA[:1])

    assert validations.seen == expected


def test_a_rollback_needs_a_checkpoint() -> None:
    with pytest.raises(LookupError, match=r"goes back to a checkpoint.*no callback saves any"):
        trainer("rollback").fit(Line(), DATA)
    keeper = Keeper(100)
    message = (
        r"^on_nonfinite='rollback' goes back to a checkpoint, and this run has saved none yet\. "
        r"Received: The loss and the gradient of weight are not finite at step 0, batch 0 of epoch "
        r"0\. Save one earlier, as by ModelCheckpoint\(every_n_train_steps=\.\.\.\), or use "
        r"'skip'\.$"
    )
    with pytest.raises(LookupError, match=message):
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
