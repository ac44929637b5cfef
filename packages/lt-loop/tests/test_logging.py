"""What log() makes of a value: which tables it is in, and when loggers get it."""

from typing import Any

import pytest
from toys import Calling, Everything, Line, LogKeeper, Stream, batches, by_hand, make_trainer

from lt_loop import Callback, Trainer
from lt_loop.hooks import HOOKS

DATA = batches(4)
SIZES = [len(xs) for xs, _ in DATA]


class Numbered(Line):
    """Logs the number of the batch in the whole run, with the flags it is given."""

    def __init__(self, **flags: Any) -> None:
        super().__init__()
        self.flags = flags

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        self.trainer.log("n", self.trainer.progress.batches, **self.flags)
        return self.loss(batch)


def logged(model: Any, **words: Any) -> LogKeeper:
    keeper = LogKeeper()
    words = {"max_epochs": 2, "log_every_n_steps": 1, "callbacks": [keeper]} | words
    make_trainer(**words).fit(model, DATA)
    return keeper


def weighted(values: list[float]) -> float:
    return sum(v * size for v, size in zip(values, SIZES, strict=True)) / sum(SIZES)


# --- loggers


def test_a_value_of_a_training_step_goes_to_the_loggers_with_its_step_and_epoch() -> None:
    assert logged(Numbered()).lines == [
        (step, {"n": float(step), "epoch": step // 4}) for step in range(8)
    ]


@pytest.mark.parametrize(("every", "steps"), [(3, [2, 5]), (4, [3, 7]), (50, [])], ids=str)
def test_loggers_get_every_nth_optimizer_step(every: int, steps: list[int]) -> None:
    keeper = logged(Numbered(), log_every_n_steps=every)

    assert keeper.points("n") == [(step, float(step)) for step in steps]


def test_loggers_count_optimizer_steps_and_not_batches() -> None:
    keeper = logged(Numbered(), accumulate_grad_batches=3, max_epochs=1)

    assert keeper.points("n") == [(0, 2.0), (1, 3.0)]


def test_an_epochs_mean_is_weighted_and_comes_with_the_epochs_last_step() -> None:
    keeper = logged(Numbered(on_step=False, on_epoch=True))

    assert keeper.lines == [
        (3, {"n": weighted([0, 1, 2, 3]), "epoch": 0}),
        (7, {"n": weighted([4, 5, 6, 7]), "epoch": 1}),
    ]


def test_a_batch_size_given_goes_before_that_of_the_batch() -> None:
    keeper = logged(Numbered(on_step=False, on_epoch=True, batch_size=1), max_epochs=1)

    assert keeper.points("n") == [(3, 1.5)]


def test_both_moments_make_two_names() -> None:
    keeper = logged(Numbered(on_step=True, on_epoch=True), max_epochs=1, log_every_n_steps=2)

    assert keeper.lines == [
        (1, {"n_step": 1.0, "epoch": 0}),
        (3, {"n_step": 3.0, "epoch": 0}),
        (3, {"n_epoch": weighted([0, 1, 2, 3]), "epoch": 0}),
    ]


def test_values_that_are_not_for_loggers_do_not_go_there() -> None:
    assert logged(Numbered(logger=False)).lines == []


def test_a_value_logged_by_a_callback_goes_with_the_step_it_was_logged_in() -> None:
    keeper = LogKeeper()
    speak = Calling("on_train_batch_end", lambda t: t.log("steps", t.global_step))
    make_trainer(max_epochs=1, log_every_n_steps=2, callbacks=[keeper, speak]).fit(Line(), DATA)

    assert keeper.points("steps") == [(1, 2.0), (3, 4.0)]


def test_a_value_logged_at_the_end_of_an_epoch_goes_with_it() -> None:
    class AtTheEnd(Line):
        def training_epoch_end(self, outputs: list[Any]) -> None:
            self.trainer.log("outputs", len(outputs))

        def on_train_epoch_end(self) -> None:
            self.trainer.log("late", self.trainer.current_epoch)

    assert logged(AtTheEnd()).lines == [
        (3, {"outputs": 4.0, "late": 0.0, "epoch": 0}),
        (7, {"outputs": 4.0, "late": 1.0, "epoch": 1}),
    ]


def test_a_step_that_was_skipped_sends_nothing() -> None:
    class Skipping(Numbered):
        def training_step(self, batch: Any, batch_idx: int) -> Any:
            loss = super().training_step(batch, batch_idx)
            return None if batch_idx == 1 else loss

    keeper = logged(Skipping(), max_epochs=1)

    assert keeper.points("n") == [(0, 0.0), (1, 2.0), (2, 3.0)]


def test_several_loaders_have_names_of_their_own() -> None:
    class Two(Line):
        def validation_step(self, batch: Any, batch_idx: int, dataloader_idx: int) -> None:
            self.trainer.log("n", dataloader_idx)
            self.trainer.log("step", batch_idx, on_step=True, on_epoch=False)

    keeper = LogKeeper()
    trainer = make_trainer(max_epochs=1, callbacks=keeper, num_sanity_val_steps=0)
    trainer.fit(Two(), DATA, [Stream(DATA[:2]), Stream(DATA[:1])])

    assert keeper.lines == [
        (0, {"step/dataloader_idx_0": 0.0, "epoch": 0}),
        (1, {"step/dataloader_idx_0": 1.0, "epoch": 0}),
        (0, {"step/dataloader_idx_1": 0.0, "epoch": 0}),
        (3, {"n/dataloader_idx_0": 0.0, "n/dataloader_idx_1": 1.0, "epoch": 0}),
    ]


def test_a_name_that_is_not_logged_in_an_epoch_is_not_sent_at_its_end() -> None:
    class Once(Line):
        def training_step(self, batch: Any, batch_idx: int) -> Any:
            if self.trainer.current_epoch == 0:
                self.trainer.log("once", batch_idx, on_step=False, on_epoch=True)
            return self.loss(batch)

    assert logged(Once()).lines == [(3, {"once": weighted([0, 1, 2, 3]), "epoch": 0})]


# --- tables


def tables(trainer: Trainer) -> tuple[dict[str, float], ...]:
    return trainer.callback_metrics, trainer.logged_metrics, trainer.progress_bar_metrics


def at(hook: str, flags: dict[str, Any], *, call: int = 1) -> tuple[dict[str, float], ...]:
    """The tables at a hook of a run of one epoch that logs with these flags."""
    read: list[tuple[dict[str, float], ...]] = []
    look = Calling(hook, lambda trainer: read.append(tables(trainer)), at=call)
    make_trainer(max_epochs=1, callbacks=look).fit(Numbered(**flags), DATA)
    return read[0]


def test_a_value_is_in_the_tables_at_once() -> None:
    flags = {"prog_bar": True}

    assert at("on_train_batch_end", flags, call=3) == ({"n": 2.0}, {"n": 2.0}, {"n": 2.0})


def test_a_value_is_only_in_the_tables_it_is_meant_for() -> None:
    assert at("on_train_batch_end", {"logger": False}) == ({"n": 0.0}, {}, {})


@pytest.mark.parametrize("hook", ["on_train_epoch_end", "on_train_end", "on_fit_end", "teardown"])
def test_the_plain_name_is_the_epochs_value_once_there_is_one(hook: str) -> None:
    """Callbacks that monitor ``n`` compare epochs, not the last batch of each."""
    callback, logged, bar = at(hook, {"on_step": True, "on_epoch": True, "prog_bar": True})

    mean = weighted([0, 1, 2, 3])
    assert callback == {"n": mean, "n_step": 3.0, "n_epoch": mean}
    assert logged == bar == {"n_step": 3.0, "n_epoch": mean}


def test_a_value_of_the_epoch_is_in_no_table_before_its_end() -> None:
    assert at("on_train_batch_end", {"on_step": False, "on_epoch": True}, call=4) == ({}, {}, {})


def test_the_tables_outlive_the_run() -> None:
    trainer = make_trainer(max_epochs=1)
    trainer.fit(Numbered(), DATA)

    assert tables(trainer) == ({"n": 3.0}, {"n": 3.0}, {})
    assert trainer.callback_metrics["n"].item() == 3.0


def test_a_validation_does_not_disturb_the_values_of_the_training() -> None:
    class Both(Numbered):
        def validation_step(self, batch: Any, batch_idx: int) -> None:
            self.trainer.log("n", -1.0)
            self.trainer.log("val", 1.0)

    keeper = LogKeeper()
    trainer = make_trainer(
        max_epochs=1, val_check_interval=2, callbacks=keeper, num_sanity_val_steps=0
    )
    trainer.fit(Both(on_step=False, on_epoch=True), DATA, DATA)

    assert keeper.points("n") == [(1, -1.0), (3, -1.0), (3, weighted([0, 1, 2, 3]))]
    assert keeper.points("val") == [(1, 1.0), (3, 1.0)]


@pytest.mark.parametrize(
    ("call", "hook"),
    [
        ("fit", "on_train_epoch_end"),
        ("validate", "on_validation_epoch_end"),
        ("test", "on_test_epoch_end"),
    ],
)
def test_callbacks_see_at_the_end_of_an_epoch_what_was_logged_in_it(call: str, hook: str) -> None:
    class AtTheEnd(Line):
        def epoch_end(self, outputs: list[Any]) -> None:
            self.trainer.log("outputs", len(outputs))

        training_epoch_end = validation_epoch_end = test_epoch_end = epoch_end

    read: list[dict[str, float]] = []
    look = Calling(hook, lambda trainer: read.append(trainer.callback_metrics))
    getattr(make_trainer(max_epochs=1, callbacks=look), call)(AtTheEnd(), DATA)

    assert read == [{"outputs": 4.0}]


# --- where log may be called, as in Lightning 2.6

AROUND_A_TRAINING_STEP = {
    "training_step",
    "training_step_end",
    "on_train_batch_start",
    "on_train_batch_end",
    "on_before_zero_grad",
    "optimizer_zero_grad",
    "on_before_backward",
    "backward",
    "on_after_backward",
    "on_before_optimizer_step",
    "optimizer_step",
    "configure_gradient_clipping",
}
AROUND_AN_EVALUATION_STEP = {
    f"{word}{part}" for word in ("validation", "test") for part in ("_step", "_step_end")
} | {f"on_{word}_batch_{moment}" for word in ("validation", "test") for moment in ("start", "end")}
AROUND_AN_EPOCH = {
    "on_train_start",
    "on_train_epoch_start",
    "on_train_epoch_end",
    "training_epoch_end",
    *(
        f"on_{word}_{moment}"
        for word in ("validation", "test")
        for moment in ("start", "epoch_start")
    ),
    *(f"on_{word}_epoch_end" for word in ("validation", "test")),
    *(f"{word}_epoch_end" for word in ("validation", "test")),
}
NEVER_IN_A_GOOD_RUN = {"on_exception", "on_log", "on_load_checkpoint"}
PROGRAM_HOOKS = [name for name, hook in HOOKS.items() if "program" in hook.owners]


def logging_in(name: str, **flags: Any) -> Any:
    """A program that logs in one hook, and does there what it would do anyway."""
    own = getattr(Everything, name, None)

    def hook(self: Any, *arguments: Any) -> Any:
        self.trainer.log("x", 2.0, batch_size=1, **flags)
        return own(self, *arguments) if own else None

    return type("Logging", (Everything,), {name: hook})()


def whole_life(program: Any) -> LogKeeper:
    keeper = LogKeeper()
    trainer = make_trainer(max_epochs=1, log_every_n_steps=1, callbacks=keeper)
    trainer.fit(program)
    trainer.test()
    trainer.predict()
    return keeper


def capture_within(program: Any) -> None:
    trainer = make_trainer(max_epochs=1)
    for _ in trainer.steps(program):
        trainer.capture()


@pytest.mark.parametrize("name", sorted(set(PROGRAM_HOOKS) - NEVER_IN_A_GOOD_RUN))
def test_log_is_refused_where_neither_a_batch_nor_an_epoch_is_under_way(name: str) -> None:
    allowed = AROUND_A_TRAINING_STEP | AROUND_AN_EVALUATION_STEP | AROUND_AN_EPOCH
    run = capture_within if name == "on_save_checkpoint" else whole_life
    if name in allowed:
        run(logging_in(name))
    else:
        with pytest.raises(RuntimeError, match=r"in a hook where neither is under way"):
            run(logging_in(name))


@pytest.mark.parametrize("name", sorted(AROUND_A_TRAINING_STEP))
def test_around_a_training_step_a_value_is_logged_at_the_step(name: str) -> None:
    keeper = whole_life(logging_in(name))

    assert keeper.lines == [(step, {"x": 2.0, "epoch": 0}) for step in (0, 1)]
    keeper = whole_life(logging_in(name, on_epoch=True))
    assert [sorted(metrics) for _, metrics in keeper.lines] == [
        ["epoch", "x_step"],
        ["epoch", "x_step"],
        ["epoch", "x_epoch"],
    ]


@pytest.mark.parametrize("name", sorted(AROUND_AN_EVALUATION_STEP | AROUND_AN_EPOCH))
def test_elsewhere_a_value_is_logged_for_the_epoch(name: str) -> None:
    step, epoch = (2, 1) if "test" in name else (1, 0)

    assert whole_life(logging_in(name)).lines == [(step, {"x": 2.0, "epoch": epoch})]


@pytest.mark.parametrize("name", sorted(AROUND_AN_EPOCH))
def test_around_an_epoch_there_is_no_step_to_log_at(name: str) -> None:
    with pytest.raises(ValueError, match=r"^on_step=True belongs in a step"):
        whole_life(logging_in(name, on_step=True))


def test_a_callback_logs_like_the_program() -> None:
    class Logging(Callback):
        def on_train_epoch_end(self, trainer: Any, module: Any) -> None:
            self.log("one", 1.0, prog_bar=True)
            self.log_dict({"two": 2.0, "three": 3.0})

    callback, keeper = Logging(), LogKeeper()
    callback.log("before", 1.0)
    make_trainer(max_epochs=1, callbacks=[callback, keeper]).fit(Line(), DATA)
    callback.log("after", 1.0)

    assert keeper.lines == [(3, {"one": 1.0, "two": 2.0, "three": 3.0, "epoch": 0})]
    assert callback.__getstate__() == {}  # no trainer is pickled with it


def test_a_name_may_be_logged_at_steps_and_for_the_epoch_by_different_hooks() -> None:
    class Twice(Numbered):
        def on_train_epoch_end(self) -> None:
            self.trainer.log("n", -1.0, prog_bar=True)

    assert logged(Twice(), max_epochs=1).points("n") == [(0, 0), (1, 1), (2, 2), (3, 3), (3, -1)]


def test_metric_objects_are_computed_and_reset_by_the_loop() -> None:
    class Count:
        def __init__(self) -> None:
            self.total = 0

        def compute(self) -> float:
            return float(self.total)

        def reset(self) -> None:
            self.total = 0

    class Counting(Line):
        def __init__(self) -> None:
            super().__init__()
            self.count, self.seen = Count(), Count()

        def training_step(self, batch: Any, batch_idx: int) -> Any:
            self.count.total += 1
            self.trainer.log("count", self.count, on_step=False, on_epoch=True)
            return self.loss(batch)

        def validation_step(self, batch: Any, batch_idx: int) -> None:
            self.seen.total += 10
            self.trainer.log("seen", self.seen)

    keeper = LogKeeper()
    trainer = make_trainer(max_epochs=2, callbacks=keeper)
    trainer.fit(Counting(), DATA, DATA[:3])

    assert keeper.points("count") == [(3, 4.0), (7, 4.0)]
    assert keeper.points("seen") == [(3, 30.0), (7, 30.0)]


# --- where nothing is logged


def test_log_between_runs_does_nothing() -> None:
    trainer = make_trainer(max_epochs=1)
    trainer.log("before", 1.0)
    trainer.fit(Numbered(), DATA)
    trainer.log("after", 1.0)

    assert trainer.callback_metrics == {"n": 3.0}


def test_other_ranks_send_nothing_and_log_nothing_meant_for_the_first() -> None:
    from lt_loop.solo import CountedIterable, IterableFeed, OneProcess

    class Second(OneProcess):
        rank, world_size = 1, 2

    class Shared(IterableFeed):
        def open(self, loader: Any, *, phase: Any, world: Any) -> Any:
            return CountedIterable(loader)

    class Logging(Numbered):
        def on_train_epoch_end(self) -> None:
            self.trainer.log("first", 1.0, rank_zero_only=True)
            self.trainer.log("all", 1.0)

    keeper = LogKeeper()
    trainer = make_trainer(max_epochs=1, callbacks=keeper, world=Second(), feed=Shared())
    trainer.fit(Logging(), DATA)

    assert keeper.lines == []
    assert trainer.callback_metrics == {"n": 3.0, "all": 1.0}


def test_logging_changes_nothing_of_what_is_computed() -> None:
    model = Numbered(on_step=True, on_epoch=True, prog_bar=True)

    logged(model)

    assert model.weight.value == by_hand(DATA, epochs=2)


def test_a_value_named_step_says_where_the_others_stand() -> None:
    class ByEpoch(Line):
        def training_step(self, batch: Any, batch_idx: int) -> Any:
            for name, value in (("n", batch_idx), ("step", self.trainer.current_epoch)):
                self.trainer.log(name, value, on_step=False, on_epoch=True, batch_size=1)
            return self.loss(batch)

    assert logged(ByEpoch()).lines == [(0, {"n": 1.5, "epoch": 0}), (1, {"n": 1.5, "epoch": 1})]


def test_the_moment_stands_before_the_loader_in_a_name() -> None:
    class Evaluating(Line):
        def validation_step(self, batch: Any, batch_idx: int, dataloader_idx: int) -> None:
            self.trainer.log("n", dataloader_idx, on_step=True, on_epoch=True)

    trainer = make_trainer()
    tables = trainer.validate(Evaluating(), [Stream(DATA), Stream(DATA)])

    assert [sorted(table) for table in tables] == [
        ["n_epoch/dataloader_idx_0"],
        ["n_epoch/dataloader_idx_1"],
    ]
    names = {"n/dataloader_idx_1", "n_step/dataloader_idx_1", "n_epoch/dataloader_idx_1"}
    assert names <= set(trainer.callback_metrics)


def test_what_loggers_do_not_get_is_in_no_table_of_an_evaluation() -> None:
    class Evaluating(Line):
        def test_step(self, batch: Any, batch_idx: int) -> None:
            self.trainer.log("quiet", 1.0, logger=False)
            self.trainer.log("loud", 2.0)

    trainer = make_trainer()
    assert trainer.test(Evaluating(), DATA) == [{"loud": 2.0}]
    assert trainer.callback_metrics == {"quiet": 1.0, "loud": 2.0}


def test_a_function_may_be_written_into_the_call() -> None:
    class Spread(Line):
        def training_step(self, batch: Any, batch_idx: int) -> Any:
            self.trainer.log(
                "n", batch_idx, on_epoch=True, on_step=False, reduce_fx=lambda v: max(v) - min(v)
            )
            return self.loss(batch)

    assert logged(Spread(), max_epochs=1).points("n") == [(3, 3.0)]
