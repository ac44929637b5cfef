"""A run is told before it happens, and nothing happens by it."""

from typing import Any

import pytest
from toys import Everything, Line, LogKeeper, Stream, batches, make_trainer

from lt_loop import Callback

DATA = batches(4)


class Watching(Callback):
    def setup(self, trainer: Any, module: Any, stage: str) -> None:
        raise AssertionError("nothing happens")

    on_train_epoch_end = on_validation_epoch_end = setup

    def teardown(self, trainer: Any, module: Any, stage: str) -> None:
        self.log("late", 1.0)


class Logging(Line):
    def setup(self, stage: str) -> None:
        raise AssertionError("nothing happens")

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        self.trainer.log("loss", 1.0)
        return self.loss(batch)

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        self.trainer.log("val_loss", 1.0)

    def on_train_epoch_end(self) -> None:
        self.trainer.log("end", 1.0)

    def teardown(self, stage: str) -> None:
        pass


def test_the_rows_say_when_what_who_and_what_is_logged(capsys: pytest.CaptureFixture[str]) -> None:
    trainer = make_trainer(max_epochs=3, callbacks=[Watching(), LogKeeper()])
    told = trainer.plan(Logging(), DATA, DATA[:1])

    assert capsys.readouterr().out == f"{told}\n"
    assert [(row.chapter, row.hook, row.owners, row.logs) for row in told.rows] == [
        ("set up", "setup", ("Watching", "Logging"), ()),
        ("set up", "configure_optimizers", ("Logging",), ()),
        ("sanity check", "validation_step", ("Logging",), ("val_loss",)),
        ("sanity check", "on_validation_epoch_end", ("Watching",), ()),
        ("each batch", "training_step", ("Logging",), ("loss",)),
        ("validation", "validation_step", ("Logging",), ("val_loss",)),
        ("validation", "on_validation_epoch_end", ("Watching",), ()),
        ("end of the epoch", "on_train_epoch_end", ("Watching", "Logging"), ("end",)),
        ("tear down", "teardown", ("Logging", "Watching"), ("late",)),
    ]


def test_the_table_is_for_people() -> None:
    told = make_trainer(max_epochs=3, limit_train_batches=0.5).plan(Line(), DATA)

    assert repr(told) == "<Preview: fit of Line>"
    assert str(told).splitlines() == [
        "fit of Line",
        "",
        "backend              DuckBackend",
        "world                OneProcess",
        "feed                 IterableFeed",
        "store                InstalledStore",
        "max_epochs           3",
        "limit_train_batches  0.5",
        "train batches        2 of list",
        "loggers              none",
        "",
        "when        hook                  who   logs",
        "set up      configure_optimizers  Line",
        "each batch  training_step         Line",
    ]


def test_batches_are_counted_where_they_are_given_and_asked_for_later_where_they_are_made() -> None:
    class Data:
        def train_dataloader(self) -> Any:
            raise AssertionError("nothing happens")

    def batches_of(*arguments: Any, **words: Any) -> str:
        return make_trainer().plan(Line(), *arguments, **words).choices["train batches"]

    class Untold(Stream):
        def __len__(self) -> int:
            raise TypeError("this DataLoader has no length")

    assert batches_of(Stream(DATA)) == "unknown of Stream"
    assert batches_of(Untold(DATA)) == "unknown of Untold"
    assert batches_of({"x": Stream(DATA)}) == "those of a dict of loaders, read as one"
    assert batches_of(None, None, Data()).startswith("those of Data.train_dataloader(), which is")


@pytest.mark.parametrize("fn", ["validate", "test", "predict"])
def test_other_runs_are_told_too(fn: Any) -> None:
    word = {"validate": "val"}.get(fn, fn)
    told = make_trainer(**{f"limit_{word}_batches": 3, "max_epochs": 7}).plan(Line(), DATA, fn=fn)

    assert str(told).startswith(f"{fn} of Line\n")
    assert told.choices[f"{word} batches"] == "3 of list"
    assert "max_epochs" not in told.choices
    several = make_trainer().plan(Line(), {"x": DATA, "y": Stream(DATA)}, fn=fn)
    assert several.choices[f"{word} batches"] == "4 of list, unknown of Stream"
    assert [row.hook for row in told.rows] == [f"{'validation' if word == 'val' else word}_step"]


def test_what_a_run_would_refuse_is_refused() -> None:
    with pytest.raises(ValueError, match=r"fit needs a train loader"):
        make_trainer().plan(Line())
    with pytest.raises(TypeError, match=r"fit takes a module\. Received the class Line"):
        make_trainer().plan(Line, DATA)


def test_nothing_happens() -> None:
    program, trainer = Everything(), make_trainer()
    before = dict(vars(program))
    trainer.plan(program)

    assert vars(program) == before
    assert program.trainer is None
    assert (trainer.result, trainer.lightning_module, trainer.state.status) == (
        None,
        None,
        "initializing",
    )
