"""The order in which a run happens, and what is left of it when something goes wrong."""

import signal
import traceback
from collections.abc import Iterator
from typing import Any

import pytest
from toys import Calling, Everything, Line, Stream, batches, make_trainer, recording

from lt_loop import Callback
from lt_loop.solo import CountedIterable, IterableFeed

DATA = batches(2)

# The order of hooks, as recorded from Lightning 2.6, with the epoch ends of Lightning 1.0 in their
# place; "both" is the callback first, then the program. Only teardown is another: ours undoes
# setup in reverse.

BATCH = """
program on_before_batch_transfer
program transfer_batch_to_device
program on_after_batch_transfer
"""

VALIDATION = f"""
program on_validation_model_eval
both on_validation_start
both on_validation_epoch_start
{BATCH}
both on_validation_batch_start
program validation_step
program validation_step_end
both on_validation_batch_end
program validation_epoch_end
both on_validation_epoch_end
both on_validation_end
program on_validation_model_train
"""

TRAINING_BATCH = f"""
{BATCH}
both on_train_batch_start
program optimizer_step
program training_step
program training_step_end
both on_before_zero_grad
program optimizer_zero_grad
both on_before_backward
program backward
both on_after_backward
both on_before_optimizer_step
program configure_gradient_clipping
program lr_scheduler_step
both on_train_batch_end
"""

FIT = f"""
program configure_callbacks
program prepare_data
both setup
program configure_model
program configure_optimizers
both on_fit_start
callback on_sanity_check_start
program val_dataloader
{VALIDATION}
callback on_sanity_check_end
program train_dataloader
both on_train_start
both on_train_epoch_start
{TRAINING_BATCH}
{TRAINING_BATCH}
program on_validation_model_zero_grad
{VALIDATION}
program training_epoch_end
both on_train_epoch_end
both on_train_end
both on_fit_end
program teardown
callback teardown
"""

VALIDATE = f"""
program configure_callbacks
program prepare_data
both setup
program configure_model
program val_dataloader
{VALIDATION}
program teardown
callback teardown
"""

TEST = f"""
program configure_callbacks
program prepare_data
both setup
program configure_model
program test_dataloader
program on_test_model_eval
both on_test_start
both on_test_epoch_start
{BATCH}
both on_test_batch_start
program test_step
program test_step_end
both on_test_batch_end
program test_epoch_end
both on_test_epoch_end
both on_test_end
program on_test_model_train
program teardown
callback teardown
"""

PREDICT = f"""
program configure_callbacks
program prepare_data
both setup
program configure_model
program predict_dataloader
program on_predict_model_eval
both on_predict_start
both on_predict_epoch_start
{BATCH}
both on_predict_batch_start
program predict_step
both on_predict_batch_end
both on_predict_epoch_end
both on_predict_end
program on_predict_model_train
program teardown
callback teardown
"""

ORDERS = {"fit": FIT, "validate": VALIDATE, "test": TEST, "predict": PREDICT}


def lines(order: str) -> list[str]:
    """Spell an order out: one line for each call."""
    called: list[str] = []
    for line in filter(None, order.splitlines()):
        who, name = line.split()
        called += [f"callback {name}", f"program {name}"] if who == "both" else [line]
    return called


@pytest.mark.parametrize(("call", "order"), ORDERS.items(), ids=ORDERS)
def test_hooks_are_called_in_lightnings_order(call: str, order: str) -> None:
    calls: list[str] = []
    callback = recording(Callback, "callback", calls)
    program = recording(Everything, "program", calls)
    trainer = make_trainer(max_epochs=1, num_sanity_val_steps=1, callbacks=callback)

    getattr(trainer, call)(program)

    theirs = [call for call in calls if not call.endswith("on_safe_point")]  # only here
    assert theirs == lines(order)


def test_callbacks_are_called_in_their_order_and_before_the_program() -> None:
    calls: list[str] = []

    class Program(Line):
        def on_train_start(self) -> None:
            calls.append("program")

    callbacks = [Calling("on_train_start", lambda _, n=n: calls.append(n)) for n in "abc"]
    make_trainer(max_epochs=1, callbacks=callbacks).fit(Program(), DATA)

    assert calls == ["a", "b", "c", "program"]


def test_a_callback_that_monitors_sees_what_the_program_logs_at_the_end_of_the_epoch() -> None:
    seen: list[Any] = []

    class Monitor(Callback):
        def __init__(self, monitors: bool) -> None:
            self.monitors = monitors

        def on_train_epoch_end(self, trainer: Any, module: Any) -> None:
            seen.append((self.monitors, trainer.callback_metrics.get("f1")))

    class Program(Line):
        def on_train_epoch_end(self) -> None:
            seen.append("program")
            self.trainer.log("f1", 0.5)

    make_trainer(max_epochs=1, callbacks=[Monitor(True), Monitor(False)]).fit(Program(), DATA)

    assert seen == [(False, None), "program", (True, 0.5)]


def test_callbacks_of_the_program_come_last_and_replace_those_of_their_type() -> None:
    calls: list[str] = []

    class Named(Callback):
        def __init__(self, name: str) -> None:
            self.name = name

        def on_train_start(self, trainer: Any, module: Any) -> None:
            calls.append(self.name)

    class Replaced(Named):
        pass

    class Program(Line):
        def configure_callbacks(self) -> Any:
            return Replaced("the program's")

    callbacks = [Replaced("the trainer's"), Named("another")]
    make_trainer(max_epochs=1, callbacks=callbacks).fit(Program(), DATA)

    assert calls == ["another", "the program's"]


def test_a_datamodule_learns_of_the_exception_after_the_callbacks() -> None:
    calls: list[str] = []

    class Data:
        def train_dataloader(self) -> Any:
            return DATA

        def on_exception(self, exception: BaseException) -> None:
            calls.append(f"data: {exception}")

        def teardown(self, stage: str) -> None:
            calls.append("torn down")

    class Listening(Callback):
        def on_exception(self, trainer: Any, module: Any, exception: BaseException) -> None:
            calls.append(f"callback: {exception}")

    def fail(trainer: Any) -> None:
        raise ArithmeticError("lost")

    trainer = make_trainer(callbacks=[Listening(), Calling("on_train_start", fail)])
    with pytest.raises(ArithmeticError, match="lost"):
        trainer.fit(Line(), datamodule=Data())

    assert calls == ["callback: lost", "data: lost", "torn down"]


def test_a_datamodule_with_a_misspelt_hook_is_refused() -> None:
    class Data:
        def train_dataloader(self) -> Any:
            return DATA

        def train_dataloaders(self) -> Any:
            return DATA

        def val_dataloaders(self) -> Any:
            return DATA

    message = r"Data\.val_dataloaders is never called.*Did you mean 'val_dataloader'\?"
    with pytest.raises(TypeError, match=message):
        make_trainer().fit(Line(), datamodule=Data())


def test_the_class_of_a_datamodule_is_refused() -> None:
    class Data:
        pass

    with pytest.raises(TypeError, match=r"fit takes a datamodule\. Received the class Data\."):
        make_trainer().fit(Line(), datamodule=Data)


def test_a_datamodule_is_set_up_first_and_torn_down_last() -> None:
    calls: list[str] = []

    class Data:
        def prepare_data(self) -> None:
            calls.append("prepare data")

        def setup(self, stage: str) -> None:
            calls.append(f"set up data for {stage}")

        def train_dataloader(self) -> Any:
            calls.append("open data")
            return DATA

        def teardown(self, stage: str) -> None:
            calls.append(f"tear down data after {stage}")

    class Program(Line):
        def prepare_data(self) -> None:
            calls.append("prepare program")

        def setup(self, stage: str) -> None:
            calls.append(f"set up program for {stage}")

        def teardown(self, stage: str) -> None:
            calls.append(f"tear down program after {stage}")

    make_trainer(max_epochs=1).fit(Program(), datamodule=Data())

    assert calls == [
        "prepare data",
        "prepare program",
        "set up data for fit",
        "set up program for fit",
        "open data",
        "tear down program after fit",
        "tear down data after fit",
    ]


# What is left when something goes wrong


class Witness(Callback):
    """Writes down what was set up, what went wrong, and what was torn down."""

    def __init__(self, name: str, seen: list[str]) -> None:
        self.name, self.seen = name, seen

    def setup(self, trainer: Any, module: Any, stage: str) -> None:
        self.seen.append(f"{self.name} set up")

    def on_exception(self, trainer: Any, module: Any, exception: BaseException) -> None:
        self.seen.append(f"{self.name} saw {exception!r}")

    def teardown(self, trainer: Any, module: Any, stage: str) -> None:
        self.seen.append(f"{self.name} torn down")


class Failing(Everything):
    """Fails in one method."""

    def __init__(self, method: str, error: BaseException) -> None:
        super().__init__()
        self._error = error
        setattr(self, method, self._fail)

    def _fail(self, *arguments: Any) -> Any:
        raise self._error


EVERY_HOOK = sorted(
    {
        (call, line.removeprefix("program "))
        for call, order in ORDERS.items()
        for line in lines(order)
        if line.startswith("program") and line != "program configure_callbacks"
    }
)


@pytest.mark.parametrize(("call", "hook"), EVERY_HOOK)
@pytest.mark.parametrize("error", [ArithmeticError("mine"), StopIteration("mine")], ids=repr)
def test_an_exception_in_any_hook_comes_out_as_it_is(
    call: str, hook: str, error: BaseException
) -> None:
    seen: list[str] = []
    callbacks = [Witness("a", seen), Witness("b", seen)]
    trainer = make_trainer(max_epochs=1, callbacks=callbacks)
    model = Failing(hook, error)

    with pytest.raises(type(error)) as caught:
        getattr(trainer, call)(model)

    assert caught.value is error
    assert "_fail" in [frame.name for frame in traceback.extract_tb(error.__traceback__)]
    if hook == "prepare_data":
        assert seen == [f"a saw {error!r}", f"b saw {error!r}"]
    elif hook == "teardown":
        assert seen == ["a set up", "b set up", "b torn down", "a torn down"]
    else:
        assert seen == [
            *("a set up", "b set up"),
            *(f"a saw {error!r}", f"b saw {error!r}"),
            *("b torn down", "a torn down"),
        ]
        assert trainer.result is not None
        assert trainer.result.reason.startswith(type(error).__name__)


def test_what_was_set_up_before_a_failing_setup_is_torn_down() -> None:
    seen: list[str] = []
    error = ArithmeticError("mine")

    class Refusing(Witness):
        def setup(self, trainer: Any, module: Any, stage: str) -> None:
            raise error

    class Program(Line):
        def setup(self, stage: str) -> None:
            seen.append("program set up")

        def teardown(self, stage: str) -> None:
            seen.append("program torn down")

    callbacks = [Witness("a", seen), Refusing("b", seen), Witness("c", seen)]
    with pytest.raises(ArithmeticError) as caught:
        make_trainer(callbacks=callbacks).fit(Program(), DATA)

    assert caught.value is error
    assert seen == [
        "a set up",
        *(f"{name} saw {error!r}" for name in "abc"),
        "a torn down",
    ]


def test_an_exception_of_a_callback_is_seen_by_all_of_them() -> None:
    seen: list[str] = []
    error = ArithmeticError("mine")

    def fail(trainer: Any) -> None:
        raise error

    callbacks = [Witness("a", seen), Calling("on_train_batch_end", fail), Witness("b", seen)]
    with pytest.raises(ArithmeticError):
        make_trainer(callbacks=callbacks).fit(Line(), DATA)

    assert seen[2:] == [
        *(f"a saw {error!r}", f"b saw {error!r}"),
        *("b torn down", "a torn down"),
    ]


@pytest.mark.parametrize("error", [ArithmeticError("mine"), StopIteration("mine")], ids=repr)
@pytest.mark.parametrize("call", ["fit", "validate", "test", "predict"])
@pytest.mark.parametrize("when", ["opened", "read"])
def test_an_exception_of_a_loader_comes_out_as_it_is(
    call: str, error: Exception, when: str
) -> None:
    class Torn:
        def __iter__(self) -> Iterator[Any]:
            if when == "opened":
                raise error
            return self

        def __next__(self) -> Any:
            raise error

    seen: list[str] = []
    trainer = make_trainer(max_epochs=1, callbacks=Witness("a", seen))
    if when == "read" and isinstance(error, StopIteration):
        pytest.skip("this is how an iterator says that it is at its end")

    with pytest.raises(type(error)) as caught:
        getattr(trainer, call)(Line(), Torn())

    assert caught.value is error
    assert seen == ["a set up", f"a saw {error!r}", "a torn down"]


def test_a_runtime_error_that_a_generator_of_the_users_made_is_left_alone() -> None:
    """Python itself turns a StopIteration that leaves a generator into a RuntimeError."""

    class Careless:
        def __iter__(self) -> Iterator[Any]:
            yield DATA[0]
            yield next(iter([]))

    with pytest.raises(RuntimeError, match="generator raised StopIteration") as caught:
        make_trainer(max_epochs=1).fit(Line(), Careless())

    assert isinstance(caught.value.__cause__, StopIteration)


def test_failing_teardowns_do_not_keep_others_from_theirs() -> None:
    seen: list[str] = []

    class Stuck(Witness):
        def teardown(self, trainer: Any, module: Any, stage: str) -> None:
            super().teardown(trainer, module, stage)
            raise ArithmeticError(self.name)

    callbacks = [Stuck("a", seen), Witness("b", seen), Stuck("c", seen)]
    trainer = make_trainer(max_epochs=1, callbacks=callbacks)

    with pytest.raises(ArithmeticError, match="c") as caught:
        trainer.fit(Line(), DATA)

    assert seen[3:] == ["c torn down", "b torn down", "a torn down"]
    assert caught.value.__notes__ == ["Another teardown failed too: ArithmeticError('a')"]


@pytest.mark.parametrize("trouble", [ArithmeticError("a"), SystemExit("a"), KeyboardInterrupt("a")])
def test_trouble_in_a_teardown_does_not_hide_the_first_exception(trouble: BaseException) -> None:
    seen: list[str] = []

    class Stuck(Witness):
        def teardown(self, trainer: Any, module: Any, stage: str) -> None:
            raise trouble

    error = ValueError("the first")
    callbacks = [Witness("a", seen), Stuck("b", seen)]

    with pytest.raises(ValueError, match="the first") as caught:
        make_trainer(callbacks=callbacks).fit(Failing("training_step", error))

    assert caught.value is error
    assert error.__notes__ == [f"Then a teardown failed too: {trouble!r}"]
    assert seen[-1] == "a torn down"


def test_trouble_in_on_exception_does_not_hide_the_first_exception() -> None:
    seen: list[str] = []

    class Clumsy(Witness):
        def on_exception(self, trainer: Any, module: Any, exception: BaseException) -> None:
            raise ArithmeticError(self.name)

    error = ValueError("the first")
    callbacks = [Clumsy("a", seen), Witness("b", seen)]

    with pytest.raises(ValueError, match="the first") as caught:
        make_trainer(callbacks=callbacks).fit(Failing("training_step", error))

    assert caught.value is error
    assert seen[2:] == [f"b saw {error!r}", "b torn down", "a torn down"]


def test_loaders_are_closed_once_whatever_happens() -> None:
    closed: list[str] = []

    class Closing(CountedIterable):
        def close(self) -> None:
            closed.append(self.phase)
            raise OSError(f"{self.phase} is stuck")

    class ClosingFeed(IterableFeed):
        def open(self, loader: Any, *, phase: Any, world: Any) -> Any:
            stream = Closing(loader)
            stream.phase = phase
            return stream

    trainer = make_trainer(max_epochs=1, feed=ClosingFeed())

    with pytest.raises(OSError, match="is stuck"):
        trainer.fit(Line(), DATA, [Stream(DATA)])

    assert sorted(closed) == ["train", "validate"]


def test_a_run_that_ended_well_calls_no_on_exception() -> None:
    seen: list[str] = []

    make_trainer(max_epochs=1, callbacks=Witness("a", seen)).fit(Line(), DATA)

    assert seen == ["a set up", "a torn down"]


# Ctrl-C


def press_ctrl_c(trainer: Any) -> None:
    signal.raise_signal(signal.SIGINT)


@pytest.mark.parametrize(
    ("hook", "steps"),
    [
        ("on_fit_start", 0),
        ("on_train_start", 0),
        ("on_before_backward", 1),
        ("on_train_batch_end", 1),
        ("on_train_epoch_end", 2),
    ],
)
def test_ctrl_c_stops_a_fit_at_the_next_safe_point(hook: str, steps: int) -> None:
    seen: list[str] = []
    callbacks = [Calling(hook, press_ctrl_c, at=1), Witness("a", seen)]
    trainer = make_trainer(callbacks=callbacks, log_every_n_steps=1)

    with pytest.raises(KeyboardInterrupt):
        trainer.fit(Line(), DATA)

    assert trainer.progress.steps == steps
    assert trainer.capture()["loops"]["progress"]["steps"] == steps
    assert seen == ["a set up", "a saw KeyboardInterrupt()", "a torn down"]
    assert trainer.result is not None
    assert trainer.result.reason.startswith("KeyboardInterrupt")
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


@pytest.mark.parametrize("call", ["fit", "validate", "test", "predict"])
@pytest.mark.parametrize("moment", ["start", "batch_start", "batch_end", "end"])
def test_ctrl_c_stops_an_evaluation(call: str, moment: str) -> None:
    word = {"fit": "validation", "validate": "validation"}.get(call, call)
    seen: list[str] = []
    ends = Calling(f"on_{word}_batch_end", lambda trainer: None)
    callbacks = [Calling(f"on_{word}_{moment}", press_ctrl_c, at=1), ends, Witness("a", seen)]
    trainer = make_trainer(callbacks=callbacks, num_sanity_val_steps=0)

    with pytest.raises(KeyboardInterrupt):
        getattr(trainer, call)(Line(), DATA, *([DATA] if call == "fit" else []))

    assert ends.calls <= 1 or moment == "end"
    assert seen == ["a set up", "a saw KeyboardInterrupt()", "a torn down"]
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


@pytest.mark.parametrize("call", ["fit", "validate", "test", "predict"])
def test_ctrl_c_in_the_last_moment_is_not_lost(call: str) -> None:
    late = Calling("teardown", press_ctrl_c)

    with pytest.raises(KeyboardInterrupt):
        getattr(make_trainer(callbacks=late, max_epochs=1), call)(Line(), DATA)


def test_a_second_ctrl_c_stops_at_once() -> None:
    seen: list[str] = []

    class Impatient(Line):
        def training_step(self, batch: Any, batch_idx: int) -> Any:
            press_ctrl_c(self.trainer)
            seen.append("still here")
            press_ctrl_c(self.trainer)
            raise AssertionError("the second one did not stop")

    with pytest.raises(KeyboardInterrupt):
        make_trainer(callbacks=Witness("a", seen)).fit(Impatient(), DATA)

    assert seen == ["a set up", "still here", "a saw KeyboardInterrupt()", "a torn down"]
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_a_signal_that_somebody_else_took_stays_theirs() -> None:
    taken: list[int] = []

    def theirs(number: int, frame: Any) -> None:
        taken.append(number)

    before = signal.signal(signal.SIGINT, theirs)
    try:
        press = Calling("on_train_batch_end", press_ctrl_c, at=1)
        result = make_trainer(callbacks=press, max_epochs=1).fit(Line(), DATA)
        assert signal.getsignal(signal.SIGINT) is theirs
    finally:
        signal.signal(signal.SIGINT, before)

    assert taken == [signal.SIGINT]
    assert result.progress.steps == 2


# Hyper-parameters


class Described:
    """Has hyper-parameters for the loggers, as an LTModule has."""

    logged_hparams: Any = {}  # noqa: RUF012 - of each instance in its place


class Table(Callback):
    """A logger that takes hyper-parameters."""

    def __init__(self) -> None:
        self.seen: list[dict[str, Any]] = []

    def on_log(self, metrics: dict[str, float], step: int) -> None:
        raise AssertionError(metrics)

    def log_hyperparams(self, params: dict[str, Any]) -> None:
        self.seen.append(params)


def described(program: dict[str, Any], data: dict[str, Any], **words: Any) -> Table:
    class Program(Described, Line):
        logged_hparams = program

    class Data(Described):
        logged_hparams = data

        def train_dataloader(self) -> Any:
            return DATA

    table = Table()
    make_trainer(max_epochs=1, logger=table, **words).fit(Program(), datamodule=Data())
    return table


def test_loggers_receive_the_hyperparameters_of_program_and_datamodule() -> None:
    assert described({"lr": 0.1, "n": 2}, {"n": 2, "shuffle": True}).seen == [
        {"lr": 0.1, "n": 2, "shuffle": True}
    ]
    assert described({"lr": 0.1}, {}, enable_autolog_hparams=False).seen == []
    assert described({}, {}).seen == []


def test_hyperparameters_of_one_name_and_two_values_are_refused() -> None:
    message = r"share the names.*Received n=2 and n=3\. Rename one, or pass save_hyperparameters"
    with pytest.raises(ValueError, match=message):
        described({"n": 2}, {"n": 3})


def test_a_hook_of_a_datamodule_with_other_arguments_is_refused_before_anything_happens() -> None:
    class Data:
        def train_dataloader(self) -> Any:
            raise AssertionError

        def on_exception(self) -> None: ...

    with pytest.raises(
        TypeError, match=r"^on_exception is called with \(exception\)\. Received Data"
    ):
        make_trainer().fit(Line(), datamodule=Data())


def test_a_number_that_can_not_be_read_keeps_nobody_from_the_teardown() -> None:
    class Unreadable:
        def __float__(self) -> float:
            raise ArithmeticError("the device is lost")

    class Logging(Line):
        def training_step(self, batch: Any, batch_idx: int) -> Any:
            self.trainer.log("x", Unreadable())
            return self.loss(batch)

    ended = Calling("teardown", lambda trainer: None)
    trainer = make_trainer(max_epochs=1, callbacks=ended)
    steps = trainer.steps(Logging(), batches(3))
    next(steps)
    with pytest.raises(ArithmeticError, match="the device is lost"):
        steps.close()

    assert (ended.calls, trainer.under_way) == (1, False)


def test_a_step_that_can_not_be_called_is_refused_before_anything_happens() -> None:
    class Odd(Line):
        def setup(self, stage: str) -> None:
            raise AssertionError

        def validation_step(self) -> None: ...

    with pytest.raises(TypeError, match=r"^validation_step is called with \(batch, batch_idx"):
        make_trainer(num_sanity_val_steps=0).fit(Odd(), DATA, DATA)
