"""What can be read of a trainer before, during and after a run, under Lightning's names."""

from typing import Any

import pytest
from toys import Calling, Everything, Halving, Line, LogKeeper, Stream, batches, make_trainer

from lt_loop import Callback, Progress, Trainer
from lt_loop.solo import CountedIterable, IterableFeed, OneProcess
from lt_loop.trainer_state import TrainerState

DATA = batches(4)


class Bar(Callback):
    role = "progress_bar"


class Stopping(Callback):
    role = "early_stopping"


# Before


def test_before_a_run_there_is_nothing_to_read() -> None:
    trainer = make_trainer()

    assert trainer.progress == Progress()
    assert (trainer.current_epoch, trainer.global_step) == (0, 0)
    assert (trainer.lightning_module, trainer.model, trainer.datamodule) == (None, None, None)
    assert trainer.optimizers == trainer.stepped_optimizers == trainer.lr_scheduler_configs == []
    assert trainer.callback_metrics == trainer.logged_metrics == trainer.progress_bar_metrics == {}
    assert trainer.num_training_batches == float("inf")
    assert trainer.num_val_batches == trainer.num_sanity_val_batches == []
    assert trainer.num_test_batches == trainer.num_predict_batches == []
    assert not trainer.under_way
    assert not trainer.verbose
    assert stage(trainer) == set()


def test_limits_can_be_read_under_their_names() -> None:
    words = {
        "max_epochs": 5,
        "min_epochs": 1,
        "max_steps": 9,
        "min_steps": 2,
        "log_every_n_steps": 7,
        "accumulate_grad_batches": 3,
    }
    trainer = make_trainer(**words)

    assert {name: getattr(trainer, name) for name in words} == words


@pytest.mark.parametrize(
    ("words", "epochs"), [({}, 1000), ({"max_epochs": -1}, -1), ({"max_steps": 9}, -1)], ids=str
)
def test_the_epochs_are_those_that_end_a_run(words: dict[str, int], epochs: int) -> None:
    assert make_trainer(**words).max_epochs == epochs


# What is under way


def stage(trainer: Trainer) -> set[str]:
    """The stages that a trainer says it is in."""
    names = ("sanity_checking", "training", "validating", "testing", "predicting", "evaluating")
    return {name for name in names if getattr(trainer, name)}


@pytest.mark.parametrize(
    ("call", "seen"),
    [
        (
            "fit",
            {
                "setup": {"training"},
                "on_sanity_check_start": {"sanity_checking", "evaluating"},
                "on_validation_batch_end": {"validating", "evaluating"},
                "on_train_batch_end": {"training"},
                "on_train_epoch_end": {"training"},
                "on_train_end": {"training"},
            },
        ),
        ("validate", {"setup": {"validating", "evaluating"}}),
        ("test", {"on_test_batch_end": {"testing", "evaluating"}}),
        ("predict", {"on_predict_batch_end": {"predicting"}}),
    ],
)
def test_a_run_says_what_it_is_doing(call: str, seen: dict[str, set[str]]) -> None:
    stages: dict[str, set[str]] = {}
    callbacks = [
        Calling(hook, lambda trainer, hook=hook: stages.update({hook: stage(trainer)}))
        for hook in seen
    ]
    trainer = make_trainer(max_epochs=1, callbacks=callbacks)

    getattr(trainer, call)(Line(), DATA, *([DATA] if call == "fit" else []))

    assert stages == seen
    assert stage(trainer) == set()


def test_a_run_is_under_way_from_its_setup_to_its_teardown() -> None:
    seen: list[bool] = []
    callbacks = [
        Calling(hook, lambda trainer: seen.append(trainer.under_way))
        for hook in ("setup", "on_fit_end", "teardown")
    ]
    trainer = make_trainer(max_epochs=1, callbacks=callbacks)
    trainer.fit(Line(), DATA)

    assert seen == [True, True, True]
    assert not trainer.under_way


def test_a_run_that_failed_is_no_longer_under_way() -> None:
    def fail(trainer: Any) -> None:
        raise ArithmeticError

    trainer = make_trainer(callbacks=Calling("on_train_batch_end", fail))
    with pytest.raises(ArithmeticError):
        trainer.fit(Line(), DATA)

    assert not trainer.under_way
    assert stage(trainer) == set()


@pytest.mark.parametrize("call", ["validate", "test"])
@pytest.mark.parametrize("verbose", [True, False])
def test_callbacks_know_whether_a_result_is_to_be_shown(call: str, verbose: bool) -> None:
    seen: list[bool] = []
    look = Calling("teardown", lambda trainer: seen.append(trainer.verbose))

    getattr(make_trainer(callbacks=look), call)(Line(), DATA, verbose=verbose)

    assert seen == [verbose]


# Who takes part


class Scheduled(Line):
    def configure_optimizers(self) -> Any:
        self.optimizer = super().configure_optimizers()
        self.schedule = Halving(self.optimizer)
        return [self.optimizer], [self.schedule]


def test_program_datamodule_and_optimizers_can_be_read_during_and_after_a_run() -> None:
    class Data:
        def train_dataloader(self) -> Any:
            return DATA

    model, data = Scheduled(), Data()

    def look(trainer: Trainer) -> None:
        assert trainer.lightning_module is trainer.model is model
        assert trainer.datamodule is data
        assert trainer.optimizers == [model.optimizer]
        assert [stepped.optimizer for stepped in trainer.stepped_optimizers] == [model.optimizer]
        assert [c.scheduler for c in trainer.lr_scheduler_configs] == [model.schedule]

    looking = Calling("on_train_batch_end", look)
    trainer = make_trainer(max_epochs=1, callbacks=looking)
    trainer.fit(model, datamodule=data)

    assert looking.calls == 4
    look(trainer)


def test_an_evaluation_has_no_optimizers() -> None:
    trainer = make_trainer()
    trainer.test(Scheduled(), DATA)

    assert trainer.optimizers == trainer.lr_scheduler_configs == []


def test_loggers_are_the_callbacks_that_receive_numbers(tmp_path: Any) -> None:
    class Folder(LogKeeper):
        log_dir = tmp_path / "version_0"

    first, second = Folder(), LogKeeper()
    trainer = make_trainer(callbacks=[Callback(), first], logger=second, default_root_dir="root")

    assert trainer.loggers == [first, second]
    assert trainer.logger is first
    assert trainer.log_dir == str(tmp_path / "version_0")


@pytest.mark.parametrize("loggers", [[], [LogKeeper()]], ids=["no logger", "a logger"])
def test_without_a_folder_of_their_own_logs_go_to_the_root(
    loggers: list[Any], tmp_path: Any
) -> None:
    trainer = make_trainer(callbacks=loggers, default_root_dir=tmp_path)

    assert trainer.log_dir == str(tmp_path)
    assert trainer.logger is next(iter(loggers), None)


def test_callbacks_are_found_by_their_role() -> None:
    bar, stopping, later = Bar(), Stopping(), Stopping()
    trainer = make_trainer(callbacks=[stopping, bar, later], enable_progress_bar=None)

    assert trainer.progress_bar_callback is bar
    assert trainer.early_stopping_callback is stopping
    assert make_trainer().progress_bar_callback is None
    assert make_trainer().early_stopping_callback is None


def test_during_and_after_a_run_callbacks_of_the_program_are_found_too() -> None:
    stopping, keeper = Stopping(), LogKeeper()

    class Bringing(Line):
        def configure_callbacks(self) -> Any:
            return [stopping, keeper]

    trainer = make_trainer(max_epochs=1)
    assert trainer.early_stopping_callback is None
    trainer.fit(Bringing(), DATA)

    assert trainer.early_stopping_callback is stopping
    assert trainer.loggers == [keeper]


# How much there is


@pytest.mark.parametrize(
    ("words", "train", "val", "sanity"),
    [
        ({}, 4, [3, 2], [2, 2]),
        ({"num_sanity_val_steps": -1}, 4, [3, 2], [3, 2]),
        ({"num_sanity_val_steps": 0}, 4, [3, 2], [0, 0]),
        ({"limit_train_batches": 0.5, "limit_val_batches": 1}, 2, [1, 1], [1, 1]),
        ({"limit_val_batches": 0}, 4, [], []),
    ],
    ids=str,
)
def test_batches_are_counted_with_the_limits_applied(
    words: dict[str, Any], train: int, val: list[int], sanity: list[int]
) -> None:
    seen: list[Any] = []

    class Two(Line):
        def validation_step(self, batch: Any, batch_idx: int, dataloader_idx: int) -> None:
            """Tell the loaders apart."""

    class Sized(Stream):
        def __len__(self) -> int:
            return len(self.items)

    def look(trainer: Trainer) -> None:
        seen.append(trainer.num_training_batches)
        seen.append(trainer.num_val_batches)
        seen.append(trainer.num_sanity_val_batches)

    look_once = Calling("on_train_end", look)
    trainer = make_trainer(max_epochs=1, callbacks=look_once, **words)
    trainer.fit(Two(), DATA, [Sized(DATA[:3]), Sized(DATA[:2])])

    assert seen == [train, val, sanity]


@pytest.mark.parametrize("call", ["test", "predict"])
def test_batches_of_an_evaluation_are_counted(call: str) -> None:
    seen: list[Any] = []
    look = Calling(
        f"on_{call}_start",
        lambda trainer: seen.append((trainer.num_test_batches, trainer.num_predict_batches)),
    )
    getattr(make_trainer(callbacks=look), call)(Line(), DATA)

    assert seen == [([4], []) if call == "test" else ([], [4])]


def test_a_loader_without_a_length_has_any_number_of_batches() -> None:
    seen: list[float] = []
    look = Calling("on_train_start", lambda trainer: seen.append(trainer.num_training_batches))
    make_trainer(max_epochs=1, callbacks=look).fit(Line(), Stream(DATA))

    assert seen == [float("inf")]


# Where it is


class Fourth(OneProcess):
    rank, world_size, local_rank = 3, 4, 1


class Shared(IterableFeed):
    """Gives each rank all of the data."""

    def open(self, loader: Any, *, phase: Any, world: Any) -> Any:
        return CountedIterable(loader)


def test_a_trainer_knows_its_place_among_the_processes() -> None:
    alone, fourth = make_trainer(), make_trainer(world=Fourth(), feed=Shared())

    def place(trainer: Trainer) -> tuple[int, int, int, bool]:
        where = (trainer.global_rank, trainer.local_rank, trainer.world_size)
        return (*where, trainer.is_global_zero)

    assert place(alone) == (0, 0, 1, True)
    assert place(fourth) == (3, 1, 4, False)


# In Lightning's words


@pytest.mark.parametrize(("call", "stage"), [("fit", "train"), ("test", "test")])
def test_the_state_of_a_trainer_names_what_it_does_or_did_last(call: Any, stage: Any) -> None:
    seen: list[Any] = []
    look = Calling("teardown", lambda trainer: seen.append(trainer.state))
    trainer = make_trainer(max_epochs=1, callbacks=look)
    assert trainer.state == TrainerState(fn=None, stage=None, status="initializing")

    getattr(trainer, call)(Line(), DATA)

    ended = TrainerState(fn=call, stage=None, status="finished")
    assert seen == [TrainerState(fn=call, stage=stage, status="running")]
    assert trainer.state == ended
    assert trainer.state.finished
    assert trainer.state.stopped


def test_the_state_of_a_trainer_tells_a_failure_from_an_end() -> None:
    def fail(trainer: Any) -> None:
        raise ArithmeticError

    trainer = make_trainer(callbacks=Calling("on_train_batch_end", fail))
    with pytest.raises(ArithmeticError):
        trainer.fit(Line(), DATA)

    assert trainer.state == TrainerState(fn="fit", stage=None, status="interrupted")
    assert trainer.state.stopped
    assert not trainer.state.finished


@pytest.mark.parametrize(
    ("loader", "expected"),
    [(DATA, [False, False, False, True] * 2), (Stream(DATA), [False, False, False, True] * 2)],
    ids=["length", "no length"],
)
def test_the_last_batch_of_an_epoch_is_known(loader: Any, expected: list[bool]) -> None:
    seen: list[bool] = []
    look = Calling("on_train_batch_end", lambda trainer: seen.append(trainer.is_last_batch))
    make_trainer(max_epochs=2, callbacks=look).fit(Line(), loader)

    assert seen == expected


@pytest.mark.parametrize(
    ("words", "steps"),
    [
        ({"max_epochs": 3}, 12),
        ({"max_epochs": 3, "accumulate_grad_batches": 3}, 6),
        ({"max_epochs": 3, "limit_train_batches": 2}, 6),
        ({"max_epochs": 3, "max_steps": 5}, 5),
        ({"max_steps": 5}, 5),
        ({"max_epochs": -1}, float("inf")),
    ],
    ids=str,
)
def test_a_schedule_can_be_made_as_long_as_the_fit(words: dict[str, int], steps: float) -> None:
    class Planning(Line):
        estimated = 0.0

        def configure_optimizers(self) -> Any:
            self.estimated = self.trainer.estimated_stepping_batches
            return super().configure_optimizers()

    model = Planning()
    trainer = make_trainer(**words)
    next(trainer.steps(model, DATA))

    assert model.estimated == steps
    if steps < float("inf"):
        assert trainer.fit(Planning(), DATA).progress.steps == steps


def test_steps_are_not_estimated_before_a_fit() -> None:
    message = r"^Steps are estimated in a fit\. Received a request outside of one\. Ask for "
    with pytest.raises(RuntimeError, match=message):
        _ = make_trainer().estimated_stepping_batches


class Saving(Callback):
    role = "checkpoint"


def test_several_callbacks_may_play_one_role() -> None:
    first, second, stopping = Saving(), Saving(), Stopping()
    trainer = make_trainer(callbacks=[first, stopping, second], enable_checkpointing=None)

    assert trainer.checkpoint_callback is first
    assert trainer.checkpoint_callbacks == [first, second]
    assert trainer.early_stopping_callbacks == [stopping]
    assert make_trainer().checkpoint_callback is None


def test_loaders_can_be_looked_at_during_and_after_a_run() -> None:
    seen: list[Any] = []
    look = Calling("on_train_start", lambda trainer: seen.append(trainer.train_dataloader))
    trainer, train, val = make_trainer(max_epochs=1, callbacks=look), batches(3), batches(2)
    assert trainer.train_dataloader is None

    trainer.fit(Everything(), train, [Stream(val), Stream(val)])

    assert seen == [train]
    assert trainer.train_dataloader is train
    assert [loader.items for loader in trainer.val_dataloaders] == [val, val]
    assert (trainer.num_training_batches, trainer.num_val_batches) == (3, [float("inf")] * 2)
    trainer.test(Line(), train)
    assert (trainer.test_dataloaders, trainer.predict_dataloaders) == (train, None)


def test_the_limits_of_a_trainer_are_settled_when_it_is_made() -> None:
    trainer = make_trainer(limit_val_batches=3)

    assert (trainer.limit_val_batches, trainer.val_check_interval) == (3, 1.0)
    with pytest.raises(
        AttributeError, match=r"settled when it is made\. Received limit_val_batche"
    ):
        trainer.limit_val_batches = 0


def test_a_trainer_names_what_it_fits() -> None:
    program, seen = Line(), []
    look = Calling("on_train_start", lambda trainer: seen.append(trainer.fitting))
    trainer = make_trainer(max_epochs=1, callbacks=look)
    trainer.fit(program, DATA)
    trainer.test(program, DATA)

    assert (seen, trainer.fitting) == ([program], None)
