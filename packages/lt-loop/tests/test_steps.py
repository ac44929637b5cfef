"""What may come out of a step, what the engine does around it, and what it keeps."""

import weakref
from collections.abc import Callable
from typing import Any

import pytest
from toys import (
    Calling,
    Halving,
    Line,
    Loss,
    Sgd,
    Stream,
    Weight,
    batches,
    by_hand,
    make_trainer,
    value_and_slope,
)

from lt_loop import Callback
from lt_loop.solo import DuckBackend

DATA = batches(7)


class Outputs(Callback):
    """Keeps what on_train_batch_end is given."""

    def __init__(self) -> None:
        self.seen: list[Any] = []

    def on_train_batch_end(
        self, trainer: Any, module: Any, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        self.seen.append(outputs)


# --- what training_step returns


def test_a_loss_is_handed_on_detached_and_undivided() -> None:
    outputs, model = Outputs(), Line()
    losses = [value_and_slope(0.0, batch)[0] for batch in DATA[:2]]

    trainer = make_trainer(max_epochs=1, accumulate_grad_batches=2, callbacks=outputs)
    trainer.fit(model, DATA[:2])

    assert outputs.seen == [{"loss": loss} for loss in losses]
    assert not any(isinstance(output["loss"], Loss) for output in outputs.seen)


def test_a_dict_is_handed_on_with_what_else_is_in_it() -> None:
    class Returning(Line):
        def training_step(self, batch: Any, batch_idx: int) -> Any:
            loss = self.loss(batch)
            return {"loss": loss, "more": [loss, (batch_idx,)]}

    outputs, model = Outputs(), Returning()
    make_trainer(max_epochs=1, callbacks=outputs).fit(model, DATA[:1])

    (output,) = outputs.seen
    loss = value_and_slope(0.0, DATA[0])[0]
    assert output == {"loss": loss, "more": [loss, (0,)]}
    assert not isinstance(output["more"][0], Loss)
    assert model.weight.value == by_hand(DATA[:1])


@pytest.mark.parametrize("hook", ["on_before_zero_grad", "on_before_backward", "on_after_backward"])
def test_none_skips_a_batch(hook: str) -> None:
    class Skipping(Line):
        def training_step(self, batch: Any, batch_idx: int) -> Any:
            return None if batch_idx in (0, 3) else self.loss(batch)

    outputs, calls, model = Outputs(), Calling(hook, lambda trainer: None), Skipping()
    result = make_trainer(max_epochs=1, callbacks=[outputs, calls]).fit(model, DATA)

    assert model.weight.value == by_hand([*DATA[1:3], *DATA[4:]])
    assert (result.progress.batches, result.progress.steps) == (7, 5)
    assert [batch for batch, output in enumerate(outputs.seen) if output == {}] == [0, 3]
    assert calls.calls == 5


@pytest.mark.parametrize("skipped", [{0}, {1}, {2}, {0, 2}, {6}], ids=str)
def test_none_within_a_window_leaves_the_others_their_share(skipped: set[int]) -> None:
    """The window is divided by its size, which is known before its losses are."""

    class Skipping(Line):
        def training_step(self, batch: Any, batch_idx: int) -> Any:
            return None if batch_idx in skipped else self.loss(batch)

    weight = Weight()
    optimizer = Sgd(weight)
    for window in ((0, 1, 2), (3, 4, 5), (6,)):
        weight.grad = 0.0
        for index in set(window) - skipped:
            weight.grad += value_and_slope(weight.value, DATA[index])[1] / len(window)
        if set(window) - skipped:
            optimizer.step()

    model = Skipping()
    make_trainer(max_epochs=1, accumulate_grad_batches=3).fit(model, DATA)

    assert model.weight.value == weight.value


@pytest.mark.parametrize(
    ("output", "message"),
    [
        ({"los": 1.0}, r"holds the loss under 'loss'. Received the keys \['los'\]"),
        ([1.0], r"Received list. Return the loss itself"),
        ("loss", r"Received str. Return the loss itself"),
        (1.0, r"The loss must have a method backward\(\). Received float"),
    ],
)
def test_what_is_no_loss_is_refused(output: Any, message: str) -> None:
    class Returning(Line):
        def training_step(self, batch: Any, batch_idx: int) -> Any:
            return output

    with pytest.raises(TypeError, match=message):
        make_trainer(max_epochs=1).fit(Returning(), DATA)


def test_a_step_may_leave_out_the_index() -> None:
    class Short(Line):
        def training_step(self, batch: Any) -> Any:
            return self.loss(batch)

        def validation_step(self, batch: Any) -> None:
            assert batch in DATA

    model = Short()
    make_trainer(max_epochs=1).fit(model, DATA, DATA)

    assert model.weight.value == by_hand(DATA)


def test_a_step_end_gets_and_replaces_the_output() -> None:
    class Ending(Line):
        def training_step(self, batch: Any, batch_idx: int) -> Any:
            return {"batch": batch}

        def training_step_end(self, output: Any) -> Any:
            return self.loss(output["batch"])

    model = Ending()
    make_trainer(max_epochs=1).fit(model, DATA)

    assert model.weight.value == by_hand(DATA)


# --- what is kept


class Output:
    """Something a step returns and that can be seen to be gone."""


class Returning(Line):
    """Returns an object with each step, and counts how many of all are still there."""

    def __init__(self) -> None:
        super().__init__()
        self.returned: list[weakref.ref[Output]] = []
        self.most = 0

    def output(self) -> Output:
        alive = sum(ref() is not None for ref in self.returned)
        self.most = max(self.most, alive)
        output = Output()
        self.returned.append(weakref.ref(output))
        return output

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        return {"loss": self.loss(batch), "output": self.output()}

    def evaluation_step(self, batch: Any, batch_idx: int) -> Any:
        return self.output()

    validation_step = test_step = predict_step = evaluation_step


CALLS: dict[str, Callable[[Any, Any], Any]] = {
    "training": lambda trainer, model: trainer.fit(model, DATA),
    "validation": lambda trainer, model: trainer.validate(model, DATA),
    "test": lambda trainer, model: trainer.test(model, DATA),
    "predict": lambda trainer, model: trainer.predict(model, DATA, return_predictions=False),
}


@pytest.mark.parametrize("call", CALLS)
def test_outputs_that_nobody_wants_are_let_go_of(call: str) -> None:
    model = Returning()

    CALLS[call](make_trainer(max_epochs=1), model)

    assert len(model.returned) == 7
    assert model.most <= 1


@pytest.mark.parametrize("call", ["training", "validation", "test"])
def test_outputs_are_kept_for_an_epoch_end_that_wants_them(call: str) -> None:
    kept: list[int] = []

    class Wanting(Returning):
        def epoch_end(self, outputs: list[Any]) -> None:
            kept.append(len(outputs))

    setattr(Wanting, f"{call}_epoch_end", Wanting.epoch_end)
    model = Wanting()
    CALLS[call](make_trainer(max_epochs=2), model)

    epochs = 2 if call == "training" else 1
    assert kept == [7] * epochs
    assert model.most == 6, "the seventh is counted when it is not there yet"
    assert not any(ref() for ref in model.returned), "kept beyond the end of the epoch"


def test_training_epoch_end_gets_what_on_train_batch_end_got() -> None:
    got: list[Any] = []

    class Wanting(Line):
        def training_step(self, batch: Any, batch_idx: int) -> Any:
            return None if batch_idx == 2 else {"loss": self.loss(batch), "index": batch_idx}

        def training_epoch_end(self, outputs: list[Any]) -> None:
            got.append([output["index"] for output in outputs])
            assert not any(isinstance(output["loss"], Loss) for output in outputs)

    make_trainer(max_epochs=2).fit(Wanting(), DATA[:4])

    assert got == [[0, 1, 3], [0, 1, 3]]


# --- around the step


class Probe(DuckBackend):
    """A backend that clips, skips steps, and writes down what it is asked."""

    def __init__(self, skip: tuple[int, ...] = ()) -> None:
        super().__init__()
        self.skip, self.asked, self.syncs = skip, 0, list[bool]()
        self.wrapped: list[str] = []
        self.clipped: list[tuple[float, float | None, str]] = []
        self.placed: list[Any] = []

    def wrap_step(self, fn: Any, phase: Any) -> Any:
        self.wrapped.append(phase)
        return fn

    def place(self, batch: Any) -> Any:
        self.placed.append(batch)
        return batch

    def backward(self, loss: Any, *, sync: bool) -> None:
        self.syncs.append(sync)
        super().backward(loss, sync=sync)

    def clip(self, optimizer: Any, value: float | None, algorithm: Any) -> None:
        self.clipped.append((optimizer.weight.grad, value, algorithm))
        if value is not None:
            optimizer.weight.grad = min(max(optimizer.weight.grad, -value), value)

    def step(self, optimizer: Any, closure: Any) -> bool:
        self.asked += 1
        return self.asked not in self.skip and super().step(optimizer, closure)


@pytest.mark.parametrize("loader", [DATA, Stream(DATA)], ids=["length", "no length"])
def test_only_the_last_backward_of_a_window_is_synchronized(loader: Any) -> None:
    probe = Probe()

    make_trainer(max_epochs=1, accumulate_grad_batches=3, backend=probe).fit(Line(), loader)

    assert probe.syncs == [False, False, True, False, False, True, True]


def test_gradients_are_clipped_after_the_hooks_have_seen_them() -> None:
    seen: list[float] = []

    class Looking(Line):
        def on_before_optimizer_step(self, optimizer: Any) -> None:
            seen.append(optimizer.weight.grad)

    weight = Weight()
    optimizer = Sgd(weight)
    whole: list[float] = []
    for batch in DATA:
        slope = value_and_slope(weight.value, batch)[1]
        whole.append(slope)
        weight.grad = min(max(slope, -0.125), 0.125)
        optimizer.step()

    probe, model = Probe(), Looking()
    words = {"gradient_clip_val": 0.125, "gradient_clip_algorithm": "value"}
    make_trainer(max_epochs=1, backend=probe, **words).fit(model, DATA)

    assert model.weight.value == weight.value
    assert seen == whole
    assert [c for c in probe.clipped if c[1]] == [(slope, 0.125, "value") for slope in whole]


def test_a_step_that_the_scaler_skipped_counts_as_none() -> None:
    class Scheduled(Line):
        def configure_optimizers(self) -> Any:
            optimizer = super().configure_optimizers()
            self.schedule = Halving(optimizer)
            return [optimizer], [{"scheduler": self.schedule, "interval": "step"}]

    ends, model = Calling("on_train_batch_end", lambda trainer: None), Scheduled()
    trainer = make_trainer(max_epochs=1, backend=Probe(skip=(2, 5)), callbacks=ends)
    progress = trainer.fit(model, DATA).progress

    assert (progress.batches, progress.steps, progress.skipped_steps) == (7, 5, 2)
    assert model.schedule.steps == 5
    assert ends.calls == 7


def test_steps_are_wrapped_once_and_batches_placed_once() -> None:
    probe = Probe()

    trainer = make_trainer(max_epochs=3, backend=probe, num_sanity_val_steps=0)
    trainer.fit(Line(), DATA, DATA[:1])

    assert probe.wrapped.count("train") == 1
    assert probe.placed == [*DATA, DATA[0]] * 3


def test_the_programs_own_versions_of_steps_of_the_engine_are_called_instead() -> None:
    calls: list[Any] = []

    class Own(Line):
        def backward(self, loss: Any) -> None:
            calls.append("backward")
            loss.backward()

        def optimizer_zero_grad(self, epoch: int, batch_idx: int, optimizer: Any) -> None:
            calls.append((epoch, batch_idx))
            optimizer.zero_grad()

        def optimizer_step(
            self, epoch: int, batch_idx: int, optimizer: Any, optimizer_closure: Any
        ) -> None:
            calls.append("step")
            optimizer.step(closure=optimizer_closure)

    model = Own()
    make_trainer(max_epochs=2, accumulate_grad_batches=2).fit(model, DATA[:3])

    first = [(0, 0), "backward", "step", "backward", "step", (0, 2), "backward"]
    again = [(1, 0), "backward", "step", "backward", "step", (1, 2), "backward"]
    assert calls == [*first, *again]
    assert model.weight.value == by_hand(DATA[:3], epochs=2, accumulate=2)


@pytest.mark.parametrize("owner", ["program", "datamodule"])
def test_batches_go_through_the_transfer_hooks_of_one_owner(owner: str) -> None:
    class Transferring:
        def on_before_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:
            return ("before", batch, dataloader_idx)

        def transfer_batch_to_device(self, batch: Any, device: Any, dataloader_idx: int) -> Any:
            return ("moved", batch, device)

        def on_after_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:
            return ("after", batch, dataloader_idx)

    class Data:
        def test_dataloader(self) -> Any:
            return [Stream("a"), Stream("b")]

    class Program(Line):
        device = "here"
        seen: Any = ()

        def test_step(self, batch: Any, batch_idx: int, dataloader_idx: int) -> None:
            self.seen += (batch,)

    class TransferringData(Data, Transferring):
        pass

    class TransferringProgram(Program, Transferring):
        pass

    model = TransferringProgram() if owner == "program" else Program()
    make_trainer().test(model, datamodule=Data() if owner == "program" else TransferringData())

    assert model.seen == tuple(
        ("after", ("moved", ("before", batch, index), "here"), index)
        for index, batch in enumerate("ab")
    )


# --- optimizers that evaluate the loss themselves


class Twice(Sgd):
    """Evaluates the loss before and after a first small step, as optimizers with a search do."""

    def step(self, closure: Callable[[], Any]) -> None:  # type: ignore[override]
        first = float(closure())
        super().step()
        second = float(closure())
        if second < first:
            super().step()


class Searching(Line):
    def configure_optimizers(self) -> Any:
        return Twice(self.weight)


def test_an_optimizer_that_wants_a_closure_gets_one() -> None:
    weight = Weight()
    optimizer = Twice(weight)
    evaluations = 0
    for batch in DATA * 2:

        def closure(batch: Any = batch) -> float:
            nonlocal evaluations
            evaluations += 1
            value, weight.grad = value_and_slope(weight.value, batch)
            return value

        optimizer.step(closure)

    outputs, model = Outputs(), Searching()
    before_steps = Calling("on_before_optimizer_step", lambda trainer: None)
    trainer = make_trainer(max_epochs=2, callbacks=[outputs, before_steps])
    result = trainer.fit(model, DATA)

    assert model.weight.value == weight.value
    assert before_steps.calls == evaluations
    assert result.progress.steps == len(outputs.seen) == 14
    assert outputs.seen[0] == {"loss": value_and_slope(0.0, DATA[0])[0]}


def test_a_closure_can_not_skip_a_batch() -> None:
    class Skipping(Searching):
        def training_step(self, batch: Any, batch_idx: int) -> Any:
            return None

    with pytest.raises(ValueError, match=r"Twice evaluates .* can't skip a batch.*for batch 0"):
        make_trainer(max_epochs=1).fit(Skipping(), DATA)


def test_a_closure_and_accumulation_are_refused_together() -> None:
    with pytest.raises(ValueError, match=r"Twice evaluates .*accumulate_grad_batches=2"):
        make_trainer(max_epochs=1, accumulate_grad_batches=2).fit(Searching(), DATA)


# --- learning-rate schedules


class Scheduled(Line):
    """Has one schedule, and logs what a plateau may be seen in."""

    def __init__(self, cls: type = Halving, **config: Any) -> None:
        super().__init__()
        self.cls, self.config = cls, config

    def configure_optimizers(self) -> Any:
        optimizer = super().configure_optimizers()
        self.scheduler = self.cls(optimizer)
        return {
            "optimizer": optimizer,
            "lr_scheduler": {"scheduler": self.scheduler, **self.config},
        }

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        self.trainer.log("val_loss", self.loss(batch))

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        loss = self.loss(batch)
        self.trainer.log("loss", loss, on_epoch=True)
        return loss


@pytest.mark.parametrize(
    ("config", "words", "steps"),
    [
        ({}, {}, 4),
        ({"interval": "epoch"}, {"accumulate_grad_batches": 3}, 4),
        ({"interval": "epoch", "frequency": 3}, {}, 1),
        ({"interval": "step"}, {}, 28),
        ({"interval": "step"}, {"accumulate_grad_batches": 3}, 12),
        ({"interval": "step", "frequency": 5}, {}, 5),
    ],
    ids=str,
)
def test_a_schedule_is_stepped_when_its_interval_is_over(
    config: dict[str, Any], words: dict[str, Any], steps: int
) -> None:
    model = Scheduled(**config)

    make_trainer(max_epochs=4, **words).fit(model, DATA)

    assert model.scheduler.steps == steps


@pytest.mark.parametrize("accumulate", [1, 3])
def test_a_schedule_of_steps_computes_what_it_does_by_hand(accumulate: int) -> None:
    model = Scheduled(interval="step")

    make_trainer(max_epochs=2, accumulate_grad_batches=accumulate).fit(model, DATA)

    expected = by_hand(DATA, epochs=2, accumulate=accumulate, halve_each_step=True)
    assert model.weight.value == expected


class ReduceLROnPlateau:
    """Known by its name, as torch's is."""

    def __init__(self, optimizer: Any) -> None:
        self.seen: list[Any] = []

    def step(self, metric: Any) -> None:
        self.seen.append(metric)


def mean_loss(slope: float, data: list[Any]) -> float:
    samples = [(value_and_slope(slope, batch)[0], len(batch[0])) for batch in data]
    return sum(loss * size for loss, size in samples) / sum(size for _, size in samples)


def test_a_plateau_is_looked_for_in_what_the_epoch_logged() -> None:
    model = Scheduled(ReduceLROnPlateau, monitor="val_loss")

    make_trainer(max_epochs=2).fit(model, DATA, DATA[:3])

    assert model.scheduler.seen == [
        mean_loss(by_hand(DATA, epochs=epochs), DATA[:3]) for epochs in (1, 2)
    ]
    assert type(model.scheduler.seen[0]) is float


def test_a_plateau_may_be_looked_for_in_the_mean_of_the_training() -> None:
    losses: list[tuple[float, int]] = []

    class Remembering(Scheduled):
        def training_step(self, batch: Any, batch_idx: int) -> Any:
            losses.append((float(self.loss(batch)), len(batch[0])))
            return super().training_step(batch, batch_idx)

    for monitor in ("loss", "loss_epoch"):
        losses.clear()
        model = Remembering(ReduceLROnPlateau, monitor=monitor)
        make_trainer(max_epochs=1).fit(model, DATA)

        mean = sum(loss * size for loss, size in losses) / sum(size for _, size in losses)
        assert model.scheduler.seen == [mean]


def test_a_plateau_of_a_value_that_nobody_logs_is_refused() -> None:
    model = Scheduled(ReduceLROnPlateau, monitor="val_los")

    with pytest.raises(LookupError, match=r"monitor='val_los', but .*Did you mean 'val_loss'\?"):
        make_trainer(max_epochs=1).fit(model, DATA, DATA)


def test_a_plateau_that_is_not_strict_waits_for_its_value() -> None:
    model = Scheduled(ReduceLROnPlateau, monitor="val_loss", strict=False)

    make_trainer(max_epochs=2, check_val_every_n_epoch=2).fit(model, DATA, DATA)

    assert len(model.scheduler.seen) == 1


def test_a_step_that_always_returns_none_trains_nothing_and_is_refused() -> None:
    program = type("Program", (Line,), {"training_step": lambda self, batch, batch_idx: None})()

    with pytest.raises(
        ValueError, match=r"Received None for every one of the 7 batches of epoch 0"
    ):
        make_trainer(max_epochs=2).fit(program, DATA)


def test_an_epoch_that_was_cut_short_steps_no_schedule_of_epochs() -> None:
    model = Scheduled()

    make_trainer(max_steps=10).fit(model, DATA)

    assert model.scheduler.steps == 1


# The arguments of a step


def seen_by(step: Any, loaders: int = 1) -> list[Any]:
    """What a test step got of one batch of each loader."""
    seen: list[Any] = []
    program = type("Program", (Line,), {"test_step": step})()
    program.seen = seen
    data = [Stream([("batch", n)]) for n in range(loaders)]
    make_trainer().test(program, data if loaders > 1 else data[0])
    return seen


def test_a_step_takes_as_many_arguments_as_it_wants() -> None:
    def one(self: Any, x: Any) -> None:
        self.seen.append(x)

    def two(self: Any, x: Any, i: int) -> None:
        self.seen.append((x, i))

    def all_of_them(self: Any, *args: Any) -> None:
        self.seen.append(args)

    assert seen_by(one) == [("batch", 0)]
    assert seen_by(two) == [(("batch", 0), 0)]
    assert seen_by(all_of_them) == [(("batch", 0), 0)]
    assert seen_by(all_of_them, loaders=2) == [(("batch", 0), 0, 0), (("batch", 1), 0, 1)]


def test_a_step_may_take_its_arguments_by_name() -> None:
    def swapped(self: Any, dataloader_idx: int, batch: Any) -> None:
        self.seen.append((dataloader_idx, batch))

    def by_keyword(self: Any, *, batch_idx: int, batch: Any, dataloader_idx: int = 7) -> None:
        self.seen.append((batch_idx, batch, dataloader_idx))

    assert seen_by(swapped, loaders=2) == [(0, ("batch", 0)), (1, ("batch", 1))]
    assert seen_by(by_keyword) == [(0, ("batch", 0), 0)]


def test_an_argument_that_would_get_another_ones_value_is_refused() -> None:
    def step(self: Any, x: Any, dataloader_idx: int) -> None:
        raise AssertionError

    message = (
        r"test_step is called with \(batch, batch_idx, dataloader_idx\)\. .*dataloader_idx stands"
    )
    with pytest.raises(TypeError, match=message):
        seen_by(step)


def test_several_loaders_need_a_step_that_tells_them_apart() -> None:
    def step(self: Any, batch: Any, batch_idx: int) -> None:
        raise AssertionError

    with pytest.raises(TypeError, match=r"With several loaders test_step takes .* and 2 loaders\."):
        seen_by(step, loaders=2)


def test_a_step_that_wants_the_iterator_is_refused() -> None:
    def step(self: Any, dataloader_iter: Any) -> None:
        raise AssertionError

    with pytest.raises(TypeError, match=r"test_step is handed batches\. .* trainer\.steps"):
        seen_by(step)
