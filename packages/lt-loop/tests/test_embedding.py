"""trainer.steps(): the loop stays in the caller's hands."""

import signal
from typing import Any

import pytest
from toys import Calling, Line, Stream, batches, by_hand, make_trainer

from lt_loop import Callback

DATA = batches(4)


class Witness(Callback):
    """Writes down what happens to a run."""

    def __init__(self) -> None:
        self.seen: list[str] = []

    def setup(self, trainer: Any, module: Any, stage: str) -> None:
        self.seen.append("set up")

    def on_exception(self, trainer: Any, module: Any, exception: BaseException) -> None:
        self.seen.append(f"saw {exception!r}")

    def on_fit_end(self, trainer: Any, module: Any) -> None:
        self.seen.append("ended")

    def teardown(self, trainer: Any, module: Any, stage: str) -> None:
        self.seen.append("torn down")


# --- the loop


@pytest.mark.parametrize("accumulate", [1, 3])
def test_a_loop_of_ones_own_does_what_fit_does(accumulate: int) -> None:
    model, witness = Line(), Witness()
    words = {"max_epochs": 2, "accumulate_grad_batches": accumulate}
    trainer = make_trainer(callbacks=witness, **words)

    seen = [(p.epoch, p.batch, p.batches, p.steps) for p in trainer.steps(model, DATA)]

    assert model.weight.value == by_hand(DATA, epochs=2, accumulate=accumulate)
    if accumulate == 1:
        assert seen[:5] == [(0, 1, 1, 1), (0, 2, 2, 2), (0, 3, 3, 3), (1, 0, 4, 4), (1, 1, 5, 5)]
    else:
        assert seen == [(0, 3, 3, 1), (1, 0, 4, 2), (1, 3, 7, 3), (2, 0, 8, 4)]
    assert witness.seen == ["set up", "ended", "torn down"]
    assert trainer.result is not None
    assert trainer.result.reason == "max_epochs=2 reached"


def test_the_progress_is_one_object_that_is_updated_in_place() -> None:
    trainer = make_trainer(max_epochs=2)

    assert len({id(p) for p in trainer.steps(Line(), DATA)} | {id(trainer.progress)}) == 1


def test_nothing_runs_before_the_first_step_is_asked_for() -> None:
    model, witness = Line(), Witness()

    make_trainer(callbacks=witness).steps(model, DATA)

    assert (witness.seen, model.weight.value) == ([], 0.0)


def test_what_can_be_known_to_be_wrong_is_refused_at_once() -> None:
    with pytest.raises(TypeError, match="fit needs a module with training_step"):
        make_trainer().steps(object(), DATA)


def test_nothing_runs_between_two_steps() -> None:
    reads: list[int] = []

    class Counting:
        def __iter__(self) -> Any:
            for number, batch in enumerate(DATA):
                reads.append(number)
                yield batch

    model = Line()
    run = make_trainer().steps(model, Counting())
    next(run)
    next(run)

    assert reads == [0, 1]
    assert model.weight.value == by_hand(DATA[:2])


def test_the_last_step_of_an_epoch_comes_with_its_end() -> None:
    """What is captured there holds the validation and the schedules of the epoch."""
    validated: list[int] = []
    look = Calling("on_validation_end", lambda trainer: validated.append(trainer.global_step))
    trainer = make_trainer(callbacks=look, num_sanity_val_steps=0)

    for progress in trainer.steps(Line(), DATA, DATA):
        if progress.epoch == 1:
            break

    assert validated == [4]


def test_limits_and_requests_end_the_loop() -> None:
    assert len(list(make_trainer(max_steps=6).steps(Line(), DATA))) == 6

    trainer = make_trainer()
    for progress in trainer.steps(Line(), DATA):
        if progress.steps == 3:
            trainer.stop("seen enough")
    assert trainer.result is not None
    assert (trainer.result.reason, progress.steps) == ("seen enough", 3)


# --- leaving it


def test_leaving_the_loop_tears_the_run_down_and_is_no_exception() -> None:
    model, witness = Line(), Witness()
    trainer = make_trainer(callbacks=witness)

    for progress in trainer.steps(model, DATA):
        if progress.steps == 3:
            break

    assert witness.seen == ["set up", "torn down"]
    assert model.weight.value == by_hand(DATA[:3])
    assert trainer.result is not None
    assert trainer.result.reason == "left by the caller"


def test_an_exception_of_the_caller_tears_the_run_down() -> None:
    witness = Witness()

    with pytest.raises(ArithmeticError, match="the caller's"):  # noqa: PT012 - the caller's loop
        for _ in make_trainer(callbacks=witness).steps(Line(), DATA):
            raise ArithmeticError("the caller's")

    assert witness.seen == ["set up", "torn down"]


def test_a_run_can_be_closed() -> None:
    witness = Witness()
    run: Any = make_trainer(callbacks=witness).steps(Line(), DATA)
    next(run)
    run.close()

    assert witness.seen == ["set up", "torn down"]
    assert list(run) == []


def test_trouble_in_the_teardown_of_a_run_that_is_left_comes_out() -> None:
    def fail(trainer: Any) -> None:
        raise ArithmeticError("in the teardown")

    run: Any = make_trainer(callbacks=Calling("teardown", fail)).steps(Line(), DATA)
    next(run)

    with pytest.raises(ArithmeticError, match="in the teardown"):
        run.close()


@pytest.mark.parametrize("loader", [DATA, Stream(DATA)], ids=["length", "no length"])
def test_a_run_that_was_left_goes_on_elsewhere(loader: Any) -> None:
    trainer = make_trainer(max_epochs=3)
    for progress in trainer.steps(Line(), loader):
        if progress.steps == 6:
            break
    model = Line()

    make_trainer(max_epochs=3).fit(model, loader, ckpt_path=trainer.capture())

    assert model.weight.value == by_hand(DATA, epochs=3)


def test_a_state_can_be_captured_in_the_loop() -> None:
    model, trainer = Line(), make_trainer(max_epochs=2)
    states = [trainer.capture() for _ in trainer.steps(model, DATA)]

    for at, state in enumerate(states[:-1], 1):
        model = Line()
        rest = list(make_trainer(max_epochs=2).steps(model, DATA, ckpt_path=state))
        assert len(rest) == 8 - at
        assert model.weight.value == by_hand(DATA, epochs=2)


def test_signals_are_left_to_the_caller() -> None:
    witness = Witness()
    with pytest.raises(KeyboardInterrupt):  # noqa: PT012 - the caller's loop
        for _ in make_trainer(callbacks=witness).steps(Line(), DATA):
            assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
            signal.raise_signal(signal.SIGINT)

    assert witness.seen == ["set up", "torn down"]


# --- several runs at a time


def test_two_runs_may_take_turns() -> None:
    class Logging(Line):
        def training_step(self, batch: Any, batch_idx: int) -> Any:
            self.trainer.log("slope", self.weight.value)
            return super().training_step(batch, batch_idx)

    models = [Logging(), Logging()]
    trainers = [make_trainer(max_epochs=2), make_trainer(max_epochs=2, accumulate_grad_batches=2)]
    runs = [t.steps(m, DATA) for t, m in zip(trainers, models, strict=True)]
    turns = zip(*runs, strict=False)  # the second one takes half as many steps
    assert len(list(turns)) == 4
    for _ in runs[0]:
        pass

    assert models[0].weight.value == by_hand(DATA, epochs=2)
    assert models[1].weight.value == by_hand(DATA, epochs=2, accumulate=2)
    assert trainers[0].callback_metrics != trainers[1].callback_metrics


def test_a_callback_may_run_another_trainer() -> None:
    inner: list[float] = []

    def train_another(trainer: Any) -> None:
        model = Line()
        make_trainer(max_epochs=1).fit(model, DATA[:2])
        inner.append(model.weight.value)

    model = Line()
    nested = Calling("on_train_epoch_end", train_another)
    make_trainer(max_epochs=2, callbacks=nested).fit(model, DATA)

    assert inner == [by_hand(DATA[:2])] * 2
    assert model.weight.value == by_hand(DATA, epochs=2)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_another_trainer_may_evaluate_the_program_of_a_run() -> None:
    """Afterwards the program logs to the run that it is in."""

    class Logging(Line):
        def training_step(self, batch: Any, batch_idx: int) -> Any:
            self.trainer.log("slope", self.weight.value)
            return super().training_step(batch, batch_idx)

        def test_step(self, batch: Any, batch_idx: int) -> None:
            self.trainer.log("test_slope", self.weight.value)

    model, trainer = Logging(), make_trainer(max_epochs=1)
    tables = [make_trainer().test(model, DATA) for _ in trainer.steps(model, DATA)]

    slopes = [by_hand(DATA[:n]) for n in range(5)]
    assert [table["test_slope"] for (table,) in tables] == pytest.approx(slopes[1:])
    assert trainer.callback_metrics == {"slope": slopes[3]}
    assert model.trainer is trainer


@pytest.mark.parametrize("call", ["fit", "validate", "test", "predict", "steps"])
def test_a_trainer_runs_one_thing_at_a_time(call: str) -> None:
    model, trainer = Line(), make_trainer(max_epochs=1)

    for _ in trainer.steps(model, DATA):
        with pytest.raises(
            RuntimeError, match=r"one run at a time.*close it.*or use a second Trainer"
        ):
            getattr(trainer, call)(model, DATA)

    assert model.weight.value == by_hand(DATA)
    assert trainer.test(model, DATA) is not None


def test_a_planned_run_is_refused_where_another_one_began_before_it() -> None:
    trainer = make_trainer(max_epochs=1)
    first, second = trainer.steps(Line(), DATA), trainer.steps(Line(), DATA)
    next(first)

    with pytest.raises(RuntimeError, match=r"one run at a time\. .* fit while fit is under way"):
        next(second)
    assert len(list(first)) == len(DATA) - 1


def test_a_run_that_never_begins_takes_nothing_away() -> None:
    program, first, second = Line(), make_trainer(max_epochs=1), make_trainer()
    steps = first.steps(program, DATA)
    next(steps)
    second.steps(program, DATA)

    assert program.trainer is first
    list(steps)


def test_a_program_is_fitted_by_one_run_at_a_time() -> None:
    program, first, second = Line(), make_trainer(max_epochs=1), make_trainer(max_epochs=1)
    steps = first.steps(program, DATA)
    next(steps)

    with pytest.raises(
        RuntimeError, match=r"trained by one run at a time\. Received a fit of Line"
    ):
        second.fit(program, DATA)
    assert program.trainer is first
    second.validate(program, DATA)
    list(steps)
    assert second.fit(program, DATA).reason == "max_epochs=1 reached"
