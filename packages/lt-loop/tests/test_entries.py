"""What becomes of one logged name: its flags, its sums, and the number at the end of an epoch."""

import json
import math
import statistics
from collections.abc import Callable, Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lt_loop.entries import (
    PENDING_AT_MOST,
    Entry,
    Flags,
    MetricEntry,
    Scalar,
    ScalarEntry,
    definite,
)
from lt_loop.solo import DuckBackend


class OnDevice:
    """A number that is on a device, as a tensor is."""

    def __init__(self, value: float) -> None:
        self.value = value

    def __float__(self) -> float:
        return self.value


class Reading(DuckBackend):
    """Writes down how many values each transfer brought."""

    def __init__(self) -> None:
        super().__init__()
        self.transfers: list[int] = []

    def read(self, values: Sequence[Any]) -> list[float]:
        self.transfers.append(len(values))
        return super().read(values)


def flags(reduce_fx: Any = "mean", **others: Any) -> Flags:
    defaults = {"prog_bar": False, "logger": True, "on_step": False, "on_epoch": True}
    return Flags("x", "", **(defaults | {"reduce_fx": reduce_fx, "sync_dist": False} | others))


def filled(values: Sequence[Any], how: Flags | None = None, weights: Any = None) -> ScalarEntry:
    entry = ScalarEntry(how or flags(), None)
    for value, weight in zip(values, weights or [1.0] * len(values), strict=True):
        entry.add(value, weight, DuckBackend())
    return entry


def result(entry: Entry) -> float | None:
    return entry.result(DuckBackend())


def name_of(reduce_fx: Any) -> str:
    return str(getattr(reduce_fx, "__name__", reduce_fx))


# Over an epoch


@pytest.mark.parametrize(
    ("reduce_fx", "expected"),
    [
        ("mean", (3.0 * 1 + -1.0 * 2 + 4.0 * 5) / 8),
        ("sum", 6.0),
        ("min", -1.0),
        ("max", 4.0),
        (statistics.median, 3.0),
    ],
)
@pytest.mark.parametrize("kind", [float, OnDevice])
def test_the_values_of_an_epoch_become_one_number(
    reduce_fx: Any, expected: float, kind: Callable[[float], Any]
) -> None:
    values = [kind(value) for value in (3.0, -1.0, 4.0)]

    assert result(filled(values, flags(reduce_fx), weights=[1, 2, 5])) == expected


@pytest.mark.parametrize("reduce_fx", ["min", "max"])
def test_the_extremes_are_those_of_the_values_and_not_of_a_zero_before_them(
    reduce_fx: str,
) -> None:
    sign = 1.0 if reduce_fx == "min" else -1.0

    assert result(filled([5.0 * sign], flags(reduce_fx))) == 5.0 * sign


def test_a_mean_is_weighted_only_where_it_is_one_of_the_epoch() -> None:
    assert ScalarEntry(flags("mean"), None).weighted
    assert not ScalarEntry(flags("mean", on_epoch=False, on_step=True), None).weighted
    assert not ScalarEntry(flags("sum"), None).weighted


numbers = st.lists(st.floats(-1e9, 1e9), min_size=1, max_size=20)
reductions = st.sampled_from(["mean", "sum", "min", "max", math.fsum])


@given(numbers, st.lists(st.booleans(), min_size=20, max_size=20), reductions)
def test_where_a_value_was_changes_no_bit_of_the_result(
    values: list[float], on_device: list[bool], reduce_fx: Any
) -> None:
    mixed = [OnDevice(v) if far else v for v, far in zip(values, on_device, strict=False)]

    assert result(filled(mixed, flags(reduce_fx))) == result(filled(values, flags(reduce_fx)))


def test_values_on_a_device_are_read_in_one_transfer() -> None:
    entry, backend = ScalarEntry(flags(), None), Reading()
    for value in (1.0, 2.0, 6.0):
        entry.add(OnDevice(value), 1.0, backend)
    assert backend.transfers == []

    assert entry.result(backend) == 3.0
    assert backend.transfers == [3]


def test_a_long_epoch_is_read_in_parts() -> None:
    entry, backend = ScalarEntry(flags("sum"), None), Reading()
    for _ in range(2 * PENDING_AT_MOST + 1):
        entry.add(OnDevice(1.0), 1.0, backend)

    assert backend.transfers == [PENDING_AT_MOST] * 2
    assert entry.result(backend) == 2 * PENDING_AT_MOST + 1


def test_values_of_steps_alone_are_not_kept() -> None:
    entry, backend = ScalarEntry(flags(on_step=True, on_epoch=False), None), Reading()
    for _ in range(2 * PENDING_AT_MOST):
        entry.add(OnDevice(1.0), 1.0, backend)

    assert result(entry) is None
    assert backend.transfers == []


def test_an_entry_knows_the_newest_value_and_whether_it_is_new() -> None:
    entry = filled([1.0, 2.0])
    assert (entry.last, entry.fresh, entry.changed) == (2.0, True, True)

    entry.reset()

    assert (entry.last, entry.fresh, result(entry)) == (None, False, None)


@pytest.mark.parametrize("reduce_fx", ["mean", "sum", "min", "max", max], ids=str)
def test_each_epoch_starts_anew(reduce_fx: Any) -> None:
    entry = filled([100.0, OnDevice(-100.0)], flags(reduce_fx))
    entry.reset()
    entry.add(3.0, 2.0, DuckBackend())

    assert result(entry) == 3.0


def test_reading_the_result_ends_nothing() -> None:
    entry = filled([1.0, 3.0])

    assert (result(entry), result(entry)) == (2.0, 2.0)
    entry.add(8.0, 1.0, DuckBackend())
    assert result(entry) == 4.0


# Over ranks


def results_of(ranks: list[list[float]], how: Flags) -> list[float | None]:
    """What each rank makes of its own values, weighted by themselves, together with the others."""
    entries = [filled(values, how, weights=values) for values in ranks]
    if how.sync_dist:
        partials = [entry.partial(DuckBackend()) for entry in entries]
        for entry in entries:
            entry.combine(partials)
    return [entry.result(DuckBackend()) for entry in entries]


RANKS = [[1.0, 2.0], [5.0]]


@pytest.mark.parametrize(
    ("reduce_fx", "expected"),
    [
        ("mean", (1 * 1 + 2 * 2 + 5 * 5) / (1 + 2 + 5)),
        ("sum", 8.0),
        ("min", 1.0),
        ("max", 5.0),
        (statistics.median, 2.0),
    ],
)
def test_all_ranks_get_the_number_of_all_values_where_it_is_asked_for(
    reduce_fx: Any, expected: float
) -> None:
    assert results_of(RANKS, flags(reduce_fx, sync_dist=True)) == [expected] * 2


def test_ranks_keep_to_themselves_where_it_is_not_asked_for() -> None:
    assert results_of(RANKS, flags("sum")) == [3.0, 5.0]


@pytest.mark.parametrize("value", [4.0, -4.0])
@pytest.mark.parametrize("reduce_fx", ["mean", "sum", "min", "max", statistics.median], ids=name_of)
def test_a_rank_that_logged_nothing_takes_part_without_a_weight(
    reduce_fx: Any, value: float
) -> None:
    assert results_of([[value], []], flags(reduce_fx, sync_dist=True)) == [value, value]


@pytest.mark.parametrize("reduce_fx", ["mean", "sum", "min", "max", statistics.median], ids=name_of)
def test_there_is_no_number_where_no_rank_logged_any(reduce_fx: Any) -> None:
    assert results_of([[], []], flags(reduce_fx, sync_dist=True)) == [None, None]


def test_a_function_is_given_the_values_in_the_order_of_the_ranks() -> None:
    def digits(values: Sequence[float]) -> float:
        return float("".join(str(int(value)) for value in values))

    assert results_of([[1.0, 2.0], [], [3.0]], flags(digits, sync_dist=True)) == [123.0] * 3


# Saved within an epoch


@given(numbers, st.integers(0, 20), reductions)
def test_sums_that_were_saved_go_on_to_the_same_bit(
    values: list[float], at: int, reduce_fx: Any
) -> None:
    weights = [1.0 + index % 3 for index in range(len(values))]
    state = filled(values[:at], flags(reduce_fx), weights[:at]).state_dict(DuckBackend())
    entry = ScalarEntry(flags(reduce_fx), None)

    entry.load_state_dict(json.loads(json.dumps(state)))
    for value, weight in zip(values[at:], weights[at:], strict=True):
        entry.add(value, weight, DuckBackend())

    assert result(entry) == result(filled(values, flags(reduce_fx), weights))


def test_a_state_holds_values_that_were_still_on_their_device() -> None:
    state = filled([OnDevice(2.0)], weights=[3.0]).state_dict(DuckBackend())

    assert (state["total"], state["weight"]) == (6.0, 3.0)
    assert Flags(**state["flags"]) == flags()


def test_the_flags_of_a_function_are_no_data() -> None:
    assert filled([2.0], flags(max)).state_dict(DuckBackend())["flags"] is None


# Flags


def settled(
    reduce_fx: Any = "mean",
    *,
    at: str = "training_step",
    name: Any = "x",
    loader: int | None = None,
    **given: Any,
) -> Flags:
    order = ("prog_bar", "logger", "on_step", "on_epoch")
    key = (name, *(given.get(flag) for flag in order), reduce_fx, False)
    return definite(
        (*key, given.get("add_dataloader_idx", True)),  # type: ignore[arg-type]
        training_step=at == "training_step",
        in_step=at != "epoch",
        dataloader_idx=loader,
    )


@pytest.mark.parametrize(
    ("at", "given", "moments"),
    [
        ("training_step", {}, (True, False)),
        ("evaluation_step", {}, (False, True)),
        ("epoch", {}, (False, True)),
        ("training_step", {"on_epoch": True}, (True, True)),
        ("training_step", {"on_step": False, "on_epoch": True}, (False, True)),
        ("evaluation_step", {"on_step": True}, (True, True)),
        ("evaluation_step", {"on_step": True, "on_epoch": False}, (True, False)),
        ("epoch", {"on_step": False}, (False, True)),
    ],
    ids=str,
)
def test_what_the_user_left_open_depends_on_the_place(
    at: str, given: dict[str, bool], moments: tuple[bool, bool]
) -> None:
    chosen = settled(at=at, **given)

    assert (chosen.on_step, chosen.on_epoch) == moments


def test_loggers_get_a_value_unless_told_otherwise() -> None:
    assert settled().logger
    assert not settled(logger=False).logger


@pytest.mark.parametrize(
    ("moments", "names"),
    [
        ({"on_step": True, "on_epoch": False}, ("x", "x")),
        ({"on_step": False, "on_epoch": True}, ("x", "x")),
        ({"on_step": True, "on_epoch": True}, ("x_step", "x_epoch")),
    ],
)
def test_both_moments_make_two_names(moments: dict[str, bool], names: tuple[str, str]) -> None:
    how = flags(**moments)

    assert (how.spelled(on_step=True), how.spelled(on_step=False)) == names


@pytest.mark.parametrize(
    ("loader", "append", "name"),
    [(None, True, "x"), (0, True, "x/dataloader_idx_0"), (1, False, "x")],
)
def test_several_loaders_are_told_apart_by_the_name(
    loader: int | None, append: bool, name: str
) -> None:
    assert settled(loader=loader, add_dataloader_idx=append).full == name


def mean(values: Sequence[float]) -> float:
    raise AssertionError("known by its name, and never called")


def spread(values: Sequence[float]) -> float:
    return max(values) - min(values)


@pytest.mark.parametrize(
    ("given", "chosen"),
    [("max", "max"), (max, "max"), (sum, "sum"), (mean, "mean"), (spread, spread)],
)
def test_functions_with_a_known_name_mean_what_it_says(given: Any, chosen: Any) -> None:
    """Such as torch.mean, which is not called with a list of floats."""
    assert settled(given).reduce_fx == chosen


@pytest.mark.parametrize(
    ("given", "hint"), [("product", ""), ("mena", r" Did you mean 'mean'\?"), (None, "")]
)
def test_an_unknown_reduction_is_refused(given: Any, hint: str) -> None:
    message = (
        r"^reduce_fx is one of mean, sum, min, max or a function of a list of floats\. "
        rf"Received log\('x', reduce_fx={given!r}\)\.{hint}$"
    )
    with pytest.raises(ValueError, match=message):
        settled(given)


def test_a_value_that_is_logged_at_no_moment_is_refused() -> None:
    message = (
        r"^A value is logged at a step, at the end of the epoch, or both\. Received log\('x'\) "
        r"with on_step and on_epoch both False\. Set one of them to True\.$"
    )
    with pytest.raises(ValueError, match=message):
        settled(on_step=False, on_epoch=False)


@pytest.mark.parametrize("on_epoch", [True, False, None])
def test_there_is_no_step_at_the_end_of_an_epoch(on_epoch: bool | None) -> None:
    message = (
        r"^on_step=True belongs in a step or a hook around a batch\. Received log\('x', "
        r"on_step=True\) in a hook of the epoch\. Use on_epoch=True\.$"
    )
    with pytest.raises(ValueError, match=message):
        settled(at="epoch", on_step=True, on_epoch=on_epoch)


def test_a_name_that_is_no_string_is_refused() -> None:
    with pytest.raises(TypeError, match=r"^A logged name is a string\. Received log\(3, \.\.\.\)"):
        settled(name=3)


# Numbers


def test_a_logged_number_can_be_used_as_a_float_and_as_a_tensor() -> None:
    number = Scalar(0.25)

    assert number == 0.25
    assert json.dumps({"x": number}) == '{"x": 0.25}'
    assert (number.item(), type(number.item())) == (0.25, float)


# Metric objects


class Metric:
    """The largest value so far, with the face of a torchmetrics object."""

    def __init__(self, computed: Any = None) -> None:
        self.computed, self.computes, self.seen = computed, 0, [0.0]
        self._forward_cache: Any = None

    def __call__(self, value: float) -> float:
        self.seen.append(value)
        self._forward_cache = value
        return value

    def compute(self) -> Any:
        self.computes += 1
        return max(self.seen) if self.computed is None else self.computed

    def reset(self) -> None:
        self.seen, self._forward_cache = [0.0], None


def test_a_metric_is_asked_once_for_the_number_of_the_epoch() -> None:
    metric = Metric()
    entry = MetricEntry(flags(), None, metric)
    for value in (1.0, 3.0, 2.0):
        metric(value)
        entry.add(metric, 1.0, DuckBackend())
    metric.reset()  # as a module may in on_train_epoch_end: too late to matter
    metric(3.0)

    assert [result(entry), result(entry)] == [3.0, 3.0]
    assert metric.computes == 1


def test_the_value_of_a_metric_at_a_step_is_that_of_its_last_call() -> None:
    metric = Metric()
    entry = MetricEntry(flags(on_step=True), None, metric)
    entry.add(metric, 1.0, DuckBackend())
    assert (entry.fresh, entry.last) == (False, None)  # only updated

    metric(2.0)
    entry.add(metric, 1.0, DuckBackend())
    assert (entry.fresh, entry.last) == (True, 2.0)


def test_a_metric_is_reset_with_its_entry() -> None:
    metric = Metric()
    entry = MetricEntry(flags(), None, metric)
    metric(2.0)
    entry.add(metric, 1.0, DuckBackend())
    assert result(entry) == 2.0

    entry.reset()
    assert metric.seen == [0.0]
    assert result(entry) is None


def test_two_metrics_under_one_name_are_refused() -> None:
    entry = MetricEntry(flags(), None, Metric())
    message = r"^One name stands for one metric object\. Received another one.*log\('x'\)"
    with pytest.raises(ValueError, match=message):
        entry.add(Metric(), 1.0, DuckBackend())


def test_a_metric_that_computes_no_number_is_refused() -> None:
    metric = Metric(computed={"a": 1.0})
    entry = MetricEntry(flags(), None, metric)
    entry.add(metric, 1.0, DuckBackend())
    message = r"^A logged metric computes one number\. Received Metric for log\('x'\), .* dict\."
    with pytest.raises(TypeError, match=message):
        result(entry)
