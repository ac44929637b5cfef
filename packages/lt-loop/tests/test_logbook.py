"""The logbook waits for a device only when somebody wants numbers; test_logging.py has the rest."""

import gc
import json
import weakref
from collections.abc import Sequence
from typing import Any

import pytest

from lt_loop.entries import Scalar
from lt_loop.logbook import Logbook, Page
from lt_loop.solo import DuckBackend, OneProcess


class OnDevice:
    """A number on a device, with the graph it was computed by."""

    def __init__(self, value: float, graph: Any = None) -> None:
        self.value, self.graph = value, graph

    def __float__(self) -> float:
        return self.value

    def detach(self) -> "OnDevice":
        return OnDevice(self.value)


class Reading(DuckBackend):
    """Writes down how many values each transfer brought."""

    def __init__(self) -> None:
        super().__init__()
        self.transfers: list[int] = []

    def read(self, values: Sequence[Any]) -> list[float]:
        if values:
            self.transfers.append(len(values))
        return super().read(values)


class Book:
    """A logbook, the transfers it asked for, and what its loggers were given."""

    def __init__(self, *, logger: bool = True) -> None:
        self.backend = Reading()
        self.lines: list[tuple[int, dict[str, float]]] = []
        on_log = (lambda metrics, step: self.lines.append((step, metrics)),) if logger else ()
        self.logbook = Logbook(self.backend, OneProcess(), on_log)
        self.page = self.logbook.training
        self.logbook.page = self.page
        self.page.enter("training_step")

    def log(self, name: Any, value: Any, *, batch_size: int | None = 1, **flags: Any) -> None:
        known = {"prog_bar": False, "logger": None, "on_step": None, "on_epoch": None}
        known |= {"reduce_fx": "mean", "sync_dist": False, "add_dataloader_idx": True}
        self.logbook.log(name, value, batch_size, tuple((known | flags).values()))

    def end_step(self, step: int = 0) -> None:
        self.logbook.end_step(self.page, epoch=0, step=step)

    def end_epoch(self, step: int = 0, loaders: int = 1) -> list[dict[str, float]]:
        return self.logbook.end_epoch(self.page, epoch=0, step=step, loaders=loaders)


BOTH = {"on_step": True, "on_epoch": True}


# When it waits for the device


def test_logging_never_waits_for_the_device() -> None:
    book = Book()
    for _ in range(100):
        book.log("loss", OnDevice(1.0), **BOTH)

    assert book.backend.transfers == []


def test_all_names_of_a_step_are_read_in_one_transfer() -> None:
    book = Book()
    for name in "abc":
        book.log(name, OnDevice(1.0))
    book.end_step()

    assert book.backend.transfers == [3]
    assert book.lines == [(0, {"a": 1.0, "b": 1.0, "c": 1.0, "epoch": 0})]


def test_without_a_logger_the_end_of_a_step_reads_nothing() -> None:
    book = Book(logger=False)
    book.log("loss", OnDevice(1.0))
    book.end_step()

    assert book.backend.transfers == []


def test_what_is_published_is_read_without_waiting() -> None:
    """So that a run that failed leaves its device in peace."""
    book = Book()
    book.log("loss", OnDevice(1.0))
    book.end_step()
    book.log("loss", OnDevice(2.0))

    assert book.logbook.published == {"loss": 1.0}
    assert book.backend.transfers == [1]
    assert book.logbook.callback_metrics == {"loss": 2.0}


def test_a_value_that_was_sent_is_not_sent_again() -> None:
    book = Book()
    book.log("once", 1.0)
    book.end_step(step=0)
    book.log("twice", 2.0)
    book.end_step(step=1)
    book.end_step(step=2)

    assert book.lines == [(0, {"once": 1.0, "epoch": 0}), (1, {"twice": 2.0, "epoch": 0})]


@pytest.mark.parametrize("flags", [{}, BOTH, {"on_step": False, "on_epoch": True}], ids=str)
def test_the_graph_behind_a_value_is_let_go_of(flags: dict[str, bool]) -> None:
    class Graph:
        pass

    book, graph = Book(), Graph()
    alive = weakref.ref(graph)
    for _ in range(2):  # the first call of a name and the others go different ways
        book.log("loss", OnDevice(1.0, graph), **flags)
    del graph
    gc.collect()

    assert alive() is None


# What may be logged


@pytest.mark.parametrize("value", [3, True, 0.5, OnDevice(2.5), Scalar(1.5)], ids=type)
def test_whatever_float_can_read_may_be_logged(value: Any) -> None:
    book = Book()
    book.log("x", value, **BOTH)

    assert book.end_epoch() == [{"x_epoch": float(value)}]
    assert {type(v) for v in book.logbook.callback_metrics.values()} == {Scalar}


@pytest.mark.parametrize("value", ["0.5", None, [1.0], {"a": 1.0}], ids=repr)
def test_what_is_no_number_is_refused(value: Any) -> None:
    message = r"^A logged value is a number, a tensor with one element, or a metric object\. Rec"
    with pytest.raises(TypeError, match=message) as caught:
        Book().log("x", value)

    assert str(caught.value).endswith(f"{value!r}) of type {type(value).__name__}.")


def test_what_is_no_number_is_refused_under_a_name_known_too() -> None:
    book = Book()
    book.log("x", 1.0)
    with pytest.raises(
        TypeError, match=r"^A logged value is a number.*log\('x', 'abc'\) of type str"
    ):
        book.log("x", "abc")


def test_two_calls_of_one_name_with_different_flags_are_refused() -> None:
    book = Book()
    book.log("x", 1.0, prog_bar=True)
    message = (
        r"^Around a step, and around an epoch, a name is logged with the same flags\. "
        r"Received log\('x'\) with "
        r"prog_bar=True, reduce_fx='mean', then with prog_bar=False, reduce_fx='sum'\. "
        r"Use two names\.$"
    )
    with pytest.raises(ValueError, match=message):
        book.log("x", 1.0, reduce_fx="sum")


def test_flags_left_open_are_no_other_flags_than_the_same_ones_given() -> None:
    book = Book()
    book.log("x", 1.0)
    book.log("x", 2.0, on_step=True, on_epoch=False, logger=True)

    assert book.logbook.callback_metrics == {"x": 2.0}


def test_two_loops_may_log_one_name_with_different_flags() -> None:
    book = Book()
    book.log("x", 1.0, prog_bar=True)
    book.logbook.page = Page()
    book.log("x", 2.0)

    assert book.logbook.page is not book.page
    assert book.end_epoch() == [{}]


def test_where_there_is_no_page_nothing_can_be_logged() -> None:
    book = Book()
    book.logbook.page = None
    message = r"^A value is logged in a step, or in a hook .*Received log\('x'\) in a hook where"
    with pytest.raises(RuntimeError, match=message):
        book.log("x", 1.0)


# Weights


class Array:
    """Has a shape, which it counts being asked for."""

    def __init__(self, length: int) -> None:
        self.length, self.asked = length, 0

    @property
    def shape(self) -> tuple[int]:
        self.asked += 1
        return (self.length,)


def test_the_size_of_a_batch_is_looked_at_once_and_only_for_a_mean() -> None:
    book, batch = Book(), Array(4)
    book.page.batch = batch
    book.log("last", 1.0, batch_size=None)
    book.log("most", 1.0, batch_size=None, on_epoch=True, reduce_fx="max")
    assert batch.asked == 0

    book.log("first", 1.0, batch_size=None, on_epoch=True)
    asked = batch.asked
    book.log("second", 1.0, batch_size=None, on_epoch=True)

    assert asked == batch.asked > 0


def test_a_mean_outside_of_batches_weighs_each_value_alike() -> None:
    book = Book()
    book.page.enter("epoch")
    book.log("x", 1.0, batch_size=None)
    book.log("x", 4.0, batch_size=None)

    assert book.end_epoch() == [{"x": 2.5}]


# Tables


def test_each_loader_has_a_table_and_what_belongs_to_none_is_in_all() -> None:
    book = Book()
    for index in (1, 0):
        book.page.enter("evaluation_step", index)
        book.log("loss", float(index))
    book.page.enter("epoch")
    book.log("whole", 7.0)

    assert book.end_epoch(loaders=3) == [
        {"loss/dataloader_idx_0": 0.0, "whole": 7.0},
        {"loss/dataloader_idx_1": 1.0, "whole": 7.0},
        {"whole": 7.0},
    ]


def test_the_newest_value_is_in_each_table_before_it_goes_to_the_loggers() -> None:
    book = Book()
    for value in (1.0, 2.0):
        book.log("x", OnDevice(value), prog_bar=True)

    assert book.logbook.logged_metrics == {"x": 2.0}
    book.log("x", OnDevice(3.0), prog_bar=True)
    assert book.logbook.progress_bar_metrics == {"x": 3.0}
    assert book.lines == []


def test_a_new_epoch_begins_with_nothing() -> None:
    book = Book()
    book.log("x", 1.0, **BOTH)
    book.log("once", 1.0, **BOTH)
    book.end_epoch()
    book.page.reset()
    book.log("x", 5.0, **BOTH)

    assert book.end_epoch() == [{"x_epoch": 5.0}]
    assert book.logbook.callback_metrics["once"] == 1.0


def test_a_trial_leaves_the_tables_as_they_were_also_after_an_exception() -> None:
    book = Book()
    book.log("x", 1.0, prog_bar=True)
    book.end_step()

    def try_out() -> None:
        with book.logbook.on_trial():
            book.logbook.page = Page()
            book.log("tried", 2.0, prog_bar=True, on_step=False, on_epoch=True)
            book.logbook.end_epoch(book.logbook.page, epoch=0, step=0)
            assert book.logbook.published == {"tried": 2.0}
            raise ArithmeticError

    with pytest.raises(ArithmeticError):
        try_out()

    book.logbook.page = book.page
    assert book.logbook.published == book.logbook.progress_bar_metrics == {"x": 1.0}
    book.log("x", 3.0, prog_bar=True)
    book.end_step(step=1)
    assert [step for step, _ in book.lines] == [0, 1]


# Saved within an epoch


def resumed(state: dict[str, Any]) -> Book:
    book = Book()
    book.logbook.load_state_dict(json.loads(json.dumps(state)))
    return book


def test_sums_and_newest_values_survive() -> None:
    book = Book()
    book.log("x", OnDevice(1.0), batch_size=3, **BOTH)

    book = resumed(book.logbook.state_dict())

    assert book.logbook.callback_metrics == {"x": 1.0, "x_step": 1.0}
    book.log("x", OnDevice(5.0), batch_size=1, **BOTH)
    assert book.end_epoch() == [{"x_epoch": 2.0}]


def test_a_sum_is_not_lost_where_its_name_is_not_logged_again() -> None:
    book = Book()
    book.log("x", 1.0, batch_size=3, **BOTH)
    twice = resumed(resumed(book.logbook.state_dict()).logbook.state_dict())

    assert twice.end_epoch() == [{"x_epoch": 1.0}]


def test_a_new_epoch_does_not_take_up_the_sums_of_an_old_one() -> None:
    book = Book()
    book.log("x", 1.0, **BOTH)

    book = resumed(book.logbook.state_dict())
    book.page.reset()
    book.log("x", 5.0, **BOTH)

    assert book.end_epoch() == [{"x_epoch": 5.0}]
