"""A profiler sees where the time goes; without one there is nothing to see and nothing to pay."""

import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import pytest
from toys import Calling, Line, LogKeeper, Stream, batches, by_hand, make_trainer

from lt_loop import Callback, PassThroughProfiler, Profiler, Trainer
from lt_loop.fit import Training
from lt_loop.hooks import HOOKS
from lt_loop.profiling import BACKEND, Profiling, choose_profiler
from lt_loop.run import Run
from lt_loop.solo import DuckBackend, IterableFeed
from lt_loop.steps import bind_place, bind_step

Install = Callable[..., None]

DATA = batches(3)
PORT = [name for name in vars(Profiler) if not name.startswith("_")]


class Recorder:
    """A profiler that writes down what it is told. It satisfies the port by its methods alone."""

    def __init__(self) -> None:
        self.told: list[tuple[str, Any]] = []
        self.log_dir: Any = None

    def setup(self, stage: str, local_rank: int | None = None, log_dir: Any = None) -> None:
        self.told.append(("setup", stage))
        self.log_dir = log_dir
        assert local_rank == 0

    def start(self, action_name: str) -> None:
        self.told.append(("start", action_name))

    def stop(self, action_name: str) -> None:
        self.told.append(("stop", action_name))

    @contextmanager
    def profile(self, action_name: str) -> Iterator[str]:
        self.start(action_name)
        yield action_name
        self.stop(action_name)

    def summary(self) -> str:
        return ""

    def describe(self) -> None:
        self.told.append(("describe", None))

    def teardown(self, stage: str | None) -> None:
        self.told.append(("teardown", stage))

    @property
    def tree(self) -> list[str]:
        """The actions in the order in which they began, indented by how deep they are nested.

        Without ``read``: how often the logbook looks for numbers is its own business.
        """
        lines, depth = [], 0
        for what, name in self.told:
            if what == "start":
                lines.append("  " * depth + name)
                depth += 1
            elif what == "stop":
                depth -= 1
                assert [line for line in lines if line == "  " * depth + name]
        assert depth == 0
        return [line for line in lines if not line.endswith(".read")]

    @property
    def actions(self) -> set[str]:
        return {line.strip() for line in self.tree}


class Everything(Line):
    """Overrides every hook of a program."""


class EveryCallback(Callback):
    """Overrides every hook of a callback."""


def _silent(self: Any, *arguments: Any) -> None:
    return None


for hook_name, hook in HOOKS.items():
    if hook_name.startswith("on_") or hook_name in ("setup", "teardown"):
        if "program" in hook.owners and "transfer" not in hook_name:
            setattr(Everything, hook_name, _silent)
        if "callback" in hook.owners:
            setattr(EveryCallback, hook_name, _silent)


def planned(trainer: Trainer, model: Any, **words: Any) -> Run:
    return trainer._plan("fit", model, {"train": DATA, "validate": DATA}, None, None, **words)


# Without a profiler


@pytest.mark.parametrize("words", [{}, {"profiler": None}, {"profiler": PassThroughProfiler()}])
def test_without_a_profiler_a_run_holds_the_very_same_functions(words: dict[str, Any]) -> None:
    backend, callback, model = DuckBackend(), EveryCallback(), Everything()
    trainer = make_trainer(callbacks=callback, backend=backend, **words)
    run = planned(trainer, model)

    assert run.ports is trainer._ports
    assert run.ports.backend is backend
    for name, bound in run.hooks.items():
        methods = [getattr(hook, "func", hook) for hook in bound]  # of callbacks, partial objects
        owners = [method.__self__ for method in methods]
        assert owners in ([], [callback], [model], [callback, model])
        assert methods == [getattr(owner, name) for owner in owners]
    assert sum(map(len, run.hooks.values())) > 70
    assert bind_step(run, "train") == model.training_step
    assert bind_step(run, "validate").__closure__[-1].cell_contents == model.validation_step
    assert bind_place(run) == backend.place


def test_without_a_profiler_the_batch_is_not_wrapped(monkeypatch: pytest.MonkeyPatch) -> None:
    run = planned(make_trainer(), Line())
    run.use_optimizers([run.program.configure_optimizers()], [])
    step = object()
    monkeypatch.setattr("lt_loop.fit.automatic_step", lambda run: step)

    assert Training(run, run.open("train")[0]).step is step


def test_profiling_that_is_off_hands_back_what_it_gets() -> None:
    off = Profiling(PassThroughProfiler(), program=Line(), datamodule=None)
    backend, feed = DuckBackend(), IterableFeed()

    assert off.timed(len, "an action") is len
    assert off.hook(len, "an action", object()) is len
    assert off.backend(backend) is backend
    assert off.feed(feed) is feed


def test_without_a_profiler_nobody_calls_one(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(self: Any, *arguments: Any, **words: Any) -> Any:
        raise AssertionError("called")

    for name in PORT:
        monkeypatch.setattr(PassThroughProfiler, name, refuse)
    trainer, model = make_trainer(max_epochs=2, callbacks=EveryCallback()), Everything()

    trainer.fit(model, DATA, DATA)
    trainer.validate(model, DATA)
    trainer.test(model, DATA)
    trainer.predict(model, DATA)


def test_user_code_may_call_the_profiler_that_is_none() -> None:
    class Asking(Line):
        def training_step(self, batch: Any, batch_idx: int) -> Any:
            with self.trainer.profiler.profile("the loss") as name:
                assert name == "the loss"
                return self.loss(batch)

    trainer = make_trainer(max_epochs=1)
    trainer.fit(Asking(), DATA)

    assert isinstance(trainer.profiler, Profiler)
    assert trainer.profiler.summary() == ""


# With one


class Watched(Line):
    """Has one hook of its own, and logs."""

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        loss = self.loss(batch)
        self.trainer.log("loss", loss, on_epoch=True)
        return loss

    def on_after_backward(self) -> None:
        pass


class Seen(Callback):
    def setup(self, trainer: Any, pl_module: Any, stage: str) -> None:
        pass

    def on_train_batch_end(self, *arguments: Any) -> None:
        pass


def test_a_run_is_seen_from_its_setup_to_its_teardown() -> None:
    profiler = Recorder()
    make_trainer(max_epochs=1, num_sanity_val_steps=0, profiler=profiler, callbacks=Seen()).fit(
        Watched(), DATA[:1], DATA[:1]
    )

    assert profiler.tree == [
        "[Callback]Seen.setup",
        "[Module]Watched.configure_optimizers",
        "[Feed]IterableFeed.train_dataloader",
        "[Feed]IterableFeed.val_dataloader",
        "[Feed]IterableFeed.train_dataloader_next",
        "[Backend]DuckBackend.place",
        "run_training_batch",
        "  [Module]Watched.training_step",
        "  [Backend]DuckBackend.zero_grad",
        "  [Backend]DuckBackend.backward",
        "  [Module]Watched.on_after_backward",
        "  [Backend]DuckBackend.step",
        "[Callback]Seen.on_train_batch_end",
        "[Feed]IterableFeed.val_dataloader_next",
        "[Backend]DuckBackend.place",
        "[Module]Watched.validation_step",
    ]
    assert ("start", "[Backend]DuckBackend.read") in profiler.told
    assert profiler.told[0] == ("setup", "fit")
    assert profiler.told[-2:] == [("describe", None), ("teardown", "fit")]


@pytest.mark.parametrize("fn", ["validate", "test", "predict"])
def test_other_runs_are_seen_too(fn: str) -> None:
    profiler = Recorder()
    trainer = make_trainer(profiler=profiler)
    getattr(trainer, fn)(Line(), DATA)
    step = {"validate": "validation_step"}.get(fn, f"{fn}_step")
    word = {"validate": "val"}.get(fn, fn)

    assert profiler.tree.count(f"[Module]Line.{step}") == 3
    assert profiler.tree.count(f"[Feed]IterableFeed.{word}_dataloader_next") == 3
    assert profiler.told[0] == ("setup", fn)
    assert profiler.told[-1] == ("teardown", fn)


@pytest.mark.parametrize("accumulate", [1, 2])
@pytest.mark.parametrize("stream", [list, Stream])
def test_a_profiler_changes_no_bit(accumulate: int, stream: Any) -> None:
    profiler, model = Recorder(), Line()
    make_trainer(max_epochs=3, accumulate_grad_batches=accumulate, profiler=profiler).fit(
        model, stream(DATA)
    )

    assert model.weight.value == by_hand(DATA, epochs=3, accumulate=accumulate)
    waits = profiler.tree.count("[Feed]IterableFeed.train_dataloader_next")
    ends = accumulate if stream is Stream else 0  # where the length is not known, one looks for it
    assert waits == 3 * (len(DATA) + ends)


def test_every_hook_that_somebody_wrote_is_seen() -> None:
    profiler = Recorder()
    trainer = make_trainer(max_epochs=1, profiler=profiler, callbacks=EveryCallback())
    trainer.fit(Everything(), DATA, DATA)
    everywhere = [n for n in HOOKS if n.startswith(("on_fit", "on_train", "on_validation"))]

    for name in [*everywhere, "on_before_zero_grad", "on_before_backward", "setup", "teardown"]:
        owners = HOOKS[name].owners
        if "callback" in owners:
            assert f"[Callback]EveryCallback.{name}" in profiler.actions
        if "program" in owners and "_model_" not in name:
            assert f"[Module]Everything.{name}" in profiler.actions
    assert "[Callback]EveryCallback.on_sanity_check_start" in profiler.actions


def test_hooks_that_nobody_wrote_are_not() -> None:
    profiler = Recorder()
    make_trainer(max_epochs=1, profiler=profiler, callbacks=Callback()).fit(Line(), DATA)

    assert not [action for action in profiler.actions if action.startswith("[Callback]")]


def test_steps_of_the_engine_that_somebody_overrides_are_seen() -> None:
    class Own(Line):
        def optimizer_step(self, epoch: int, batch_idx: int, optimizer: Any, closure: Any) -> None:
            optimizer.step(closure=closure)

        def optimizer_zero_grad(self, epoch: int, batch_idx: int, optimizer: Any) -> None:
            optimizer.zero_grad()

        def backward(self, loss: Any) -> None:
            self.trainer.backward(loss)

        def on_after_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:
            return batch

    profiler = Recorder()
    make_trainer(max_epochs=1, profiler=profiler).fit(Own(), DATA[:1])
    tree = profiler.tree

    assert tree[tree.index("run_training_batch") :] == [
        "run_training_batch",
        "  [Module]Own.optimizer_step",
        "    [Module]Own.training_step",
        "    [Module]Own.optimizer_zero_grad",
        "    [Module]Own.backward",
        "      [Backend]DuckBackend.backward",
        "    [Backend]DuckBackend.step",
    ]
    assert "[Module]Own.on_after_batch_transfer" in tree


def test_manual_optimization_is_seen_as_well() -> None:
    class Manual(Line):
        automatic_optimization = False

        def training_step(self, batch: Any, batch_idx: int) -> Any:
            (optimizer,) = self.trainer.stepped_optimizers
            optimizer.zero_grad()
            self.trainer.manual_backward(self.loss(batch))
            optimizer.step()

    profiler = Recorder()
    make_trainer(max_epochs=1, profiler=profiler).fit(Manual(), DATA[:1])
    tree = profiler.tree

    assert tree[tree.index("run_training_batch") :] == [
        "run_training_batch",
        "  [Module]Manual.training_step",
        "    [Backend]DuckBackend.backward",
        "    [Backend]DuckBackend.step",
    ]


def test_a_datamodule_is_seen_under_its_name() -> None:
    class Data:
        def prepare_data(self) -> None:
            pass

        def setup(self, stage: str) -> None:
            pass

        def train_dataloader(self) -> Any:
            return DATA

        def on_before_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:
            return batch

    profiler = Recorder()
    make_trainer(max_epochs=1, profiler=profiler).fit(Line(), datamodule=Data())

    assert profiler.tree[:2] == ["[DataModule]Data.prepare_data", "[DataModule]Data.setup"]
    assert "[DataModule]Data.on_before_batch_transfer" in profiler.tree


def test_callbacks_of_one_class_are_told_apart_by_their_keys() -> None:
    class Keyed(Callback):
        def __init__(self, key: str) -> None:
            self.key = key

        @property
        def state_key(self) -> str:
            return self.key

        def on_train_start(self, trainer: Any, pl_module: Any) -> None:
            pass

    profiler = Recorder()
    make_trainer(max_epochs=1, profiler=profiler, callbacks=[Keyed("a"), Keyed("b")]).fit(
        Line(), DATA
    )

    assert {"[Callback]a.on_train_start", "[Callback]b.on_train_start"} <= profiler.actions


def test_loggers_are_seen() -> None:
    profiler = Recorder()
    words = {"max_epochs": 1, "log_every_n_steps": 1, "profiler": profiler}
    make_trainer(callbacks=LogKeeper(), **words).fit(Watched(), DATA)

    assert profiler.tree.count("[Callback]LogKeeper.on_log") == 4  # three steps and the epoch


def test_user_code_may_add_actions() -> None:
    class Asking(Line):
        def training_step(self, batch: Any, batch_idx: int) -> Any:
            with self.trainer.profiler.profile("the loss"):
                return self.loss(batch)

    profiler = Recorder()
    trainer = make_trainer(max_epochs=1, profiler=profiler)
    trainer.fit(Asking(), DATA)

    assert trainer.profiler is profiler
    assert profiler.tree.count("    the loss") == 3


def test_what_comes_after_a_run_is_not_part_of_it() -> None:
    profiler, model = Recorder(), Watched()
    trainer = make_trainer(max_epochs=1, profiler=profiler)
    trainer.fit(model, DATA)
    told = list(profiler.told)

    assert trainer.callback_metrics["loss"] > 0
    assert trainer.capture()["loops"]["progress"]["steps"] == 3
    assert trainer.place(DATA) is DATA
    assert profiler.told == told


def test_a_state_captured_on_the_way_is() -> None:
    profiler = Recorder()
    trainer = make_trainer(max_epochs=2, profiler=profiler)
    for _ in trainer.steps(Line(), DATA):
        state = trainer.capture()
        break
    make_trainer(max_epochs=2, profiler=profiler).fit(Line(), DATA, ckpt_path=state)

    assert {"[Backend]DuckBackend.capture", "[Backend]DuckBackend.restore"} <= profiler.actions


def test_a_program_is_shown_to_a_profiler_that_wants_to_see_it() -> None:
    class Curious(Recorder):
        def watch(self, program: Any) -> None:
            self.told.append(("watch", program))

    profiler, model = Curious(), Line()
    make_trainer(max_epochs=1, profiler=profiler).fit(model, DATA)

    assert profiler.told[:2] == [("setup", "fit"), ("watch", model)]


def test_loggers_choose_their_folder_when_it_is_asked_for() -> None:
    class Foldered(LogKeeper):
        asked = 0

        @property
        def log_dir(self) -> str:
            self.asked += 1
            return "the/folder"

    profiler, logger = Recorder(), Foldered()
    make_trainer(max_epochs=1, profiler=profiler, callbacks=logger).fit(Line(), DATA)

    assert logger.asked == 0
    assert os.fspath(profiler.log_dir) == str(Path("the/folder"))


# When something fails


def test_a_run_that_fails_still_shows_what_there_is() -> None:
    def fail(trainer: Any) -> None:
        raise ZeroDivisionError("in a hook")

    profiler = Recorder()
    trainer = make_trainer(
        max_epochs=1,
        profiler=profiler,
        callbacks=Calling("on_after_backward", fail, at=2),
    )
    with pytest.raises(ZeroDivisionError, match="in a hook") as caught:
        trainer.fit(Line(), DATA)

    assert not hasattr(caught.value, "__notes__")
    assert profiler.tree.count("  [Module]Line.training_step") == 2  # and every start has its stop
    assert profiler.told[-2:] == [("describe", None), ("teardown", "fit")]


def test_a_run_that_fails_in_its_setup_does_too() -> None:
    class Broken(Line):
        def setup(self, stage: str) -> None:
            raise OSError("no data")

    profiler = Recorder()
    with pytest.raises(OSError, match="no data"):
        make_trainer(max_epochs=1, profiler=profiler).fit(Broken(), DATA)

    assert profiler.tree == ["[Module]Broken.setup"]
    assert profiler.told[-2:] == [("describe", None), ("teardown", "fit")]


def test_a_profiler_that_does_not_like_what_it_sees_is_torn_down() -> None:
    class Curious(Recorder):
        def watch(self, program: Any) -> None:
            raise OSError("no such layer")

    profiler = Curious()
    with pytest.raises(OSError, match="no such layer"):
        make_trainer(max_epochs=1, profiler=profiler).fit(Line(), DATA)

    assert profiler.told == [("setup", "fit"), ("describe", None), ("teardown", "fit")]


def test_a_profiler_that_was_not_set_up_is_not_torn_down() -> None:
    class Refusing(Recorder):
        def setup(self, stage: str, local_rank: int | None = None, log_dir: Any = None) -> None:
            raise OSError("no room")

    profiler = Refusing()
    with pytest.raises(OSError, match="no room"):
        make_trainer(max_epochs=1, profiler=profiler).fit(Line(), DATA)

    assert profiler.told == []


def test_a_loop_that_is_left_does_too() -> None:
    profiler = Recorder()
    for _ in make_trainer(max_epochs=1, profiler=profiler).steps(Line(), DATA):
        break

    assert profiler.tree.count("run_training_batch") == 1
    assert profiler.told[-2:] == [("describe", None), ("teardown", "fit")]


def test_a_loop_that_is_never_entered_tells_a_profiler_nothing() -> None:
    profiler = Recorder()
    make_trainer(max_epochs=1, profiler=profiler).steps(Line(), DATA)

    assert profiler.told == []


def test_a_report_that_fails_is_told_after_the_teardown() -> None:
    class Unlucky(Recorder):
        def describe(self) -> None:
            raise OSError("the disk is full")

    profiler = Unlucky()
    with pytest.raises(OSError, match="the disk is full"):
        make_trainer(max_epochs=1, profiler=profiler).fit(Line(), DATA)

    assert profiler.told[-1] == ("teardown", "fit")


def test_a_report_that_fails_does_not_hide_what_failed_before() -> None:
    class Unlucky(Recorder):
        def describe(self) -> None:
            raise OSError("the disk is full")

    class Broken(Line):
        def training_step(self, batch: Any, batch_idx: int) -> Any:
            raise ZeroDivisionError("mine")

    with pytest.raises(ZeroDivisionError, match="mine") as caught:
        make_trainer(max_epochs=1, profiler=Unlucky()).fit(Broken(), DATA)

    assert "the disk is full" in caught.value.__notes__[0]


def test_an_error_of_the_loader_comes_through() -> None:
    def numbers() -> Iterator[Any]:
        yield DATA[0]
        raise OSError("a broken file")

    profiler = Recorder()
    with pytest.raises(OSError, match="a broken file"):
        make_trainer(max_epochs=1, profiler=profiler).fit(Line(), numbers())

    assert profiler.tree.count("run_training_batch") == 1


# What may be given


def test_the_port_is_what_lightnings_profilers_have() -> None:
    assert PORT == ["setup", "start", "stop", "profile", "summary", "describe", "teardown"]
    assert isinstance(Recorder(), Profiler)
    assert isinstance(PassThroughProfiler().profile("x"), AbstractContextManager)


def test_the_methods_that_are_timed_are_those_of_the_port() -> None:
    assert all(hasattr(DuckBackend, name) for name in BACKEND)


PROFILER = """
class made:
    name = "{name}"

    def nothing(self, *arguments, **words):
        pass

    setup = start = stop = profile = summary = describe = teardown = nothing
"""


def test_a_name_is_found_among_what_is_installed(install: Install) -> None:
    install("lt.profilers", "simple", PROFILER.format(name="simple"))
    install("lt.profilers", "own", PROFILER.format(name="own"))
    made: Any = make_trainer(profiler="own").profiler

    assert made.name == "own"
    with pytest.raises(
        LookupError,
        match=r"^Trainer\(profiler='simpel'\) needs 'simpel' among the entry points of "
        r"'lt\.profilers'\. Received own, simple from the installed packages\. "
        r"Did you mean 'simple'\?",
    ):
        make_trainer(profiler="simpel")


@pytest.mark.parametrize("name", ["simple", "advanced", "pytorch"])
def test_a_name_that_is_not_installed_says_what_is(install: Install, name: str) -> None:
    with pytest.raises(
        LookupError, match=rf"^Trainer\(profiler='{name}'\) needs .* Install lt-callbacks\.$"
    ):
        choose_profiler(name)


def test_what_a_package_announces_is_checked(install: Install) -> None:
    install("lt.profilers", "empty", "made = dict")

    with pytest.raises(TypeError, match=r"Received \{\} of type dict, which lacks setup, start,"):
        choose_profiler("empty")


@pytest.mark.parametrize("given", [True, 3, object()])
def test_what_is_no_profiler_is_refused(given: Any) -> None:
    message = (
        r"^profiler is None, 'simple', 'advanced', 'pytorch', or an object with the methods of the "
        r"port Profiler\. Received .*, which lacks setup, start, stop, profile, summary, describe, "
        r"teardown\. See lt_loop\.profiling\.$"
    )
    with pytest.raises(TypeError, match=message):
        make_trainer(profiler=given)


def test_a_class_is_refused() -> None:
    message = r"^profiler is an object\. Received the class Recorder\. Make an instance: Recorder"
    with pytest.raises(TypeError, match=message):
        make_trainer(profiler=Recorder)
