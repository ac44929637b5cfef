"""The range test without a trainer: rates, smoothing, slopes, suggestion, picture."""

import math
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lt_callbacks.range_test import LossCurve, LRFinder, gradient


def test_rates_rise_from_the_least_to_the_greatest() -> None:
    up, straight = LRFinder("exponential", 1e-4, 1.0, 4), LRFinder("linear", 1.0, 5.0, 4)

    assert [up.lr(i) for i in range(4)] == pytest.approx([1e-4, 1e-2, 1e-1, 1.0])
    assert [straight.lr(i) for i in range(4)] == [1.0, 3.0, 4.0, 5.0]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("exponent", 1e-8, 1.0, 10), r"Did you mean 'exponential'\?"),
        (("linear", 0.0, 1.0, 10), "from one above 0 to a greater one"),
        (("linear", 1.0, 1.0, 10), "min_lr=1.0 and max_lr=1.0"),
        (("linear", 0.1, 1.0, 0), "a number of learning rates of at least 1"),
    ],
)
def test_bad_plans_are_refused(arguments: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        LRFinder(*arguments)


@given(st.lists(st.floats(-100, 100), min_size=1, max_size=40))
def test_the_smoothed_loss_is_a_weighted_mean(losses: list[float]) -> None:
    """Each loss weighs 0.98 to the power of its age."""
    curve = LossCurve(None)

    smoothed = [curve.add(loss) for loss in losses]

    for n in range(1, len(losses) + 1):
        weights = [0.98 ** (n - 1 - i) for i in range(n)]
        mean = sum(w * x for w, x in zip(weights, losses[:n], strict=True)) / sum(weights)
        assert smoothed[n - 1] == pytest.approx(mean, abs=1e-9)
    assert not curve.diverged


@pytest.mark.parametrize(
    ("losses", "threshold", "diverged"),
    [
        ([1.0, 1.0, 1.0], 4.0, False),
        ([1.0, 9.0], 4.0, True),  # (0.98 * 1 + 9) / 1.98 > 4
        ([1.0, 6.0], 4.0, False),
        ([1.0, 900.0], None, False),
        ([1.0, math.nan], 4.0, True),
        ([1.0, math.nan], None, False),
        ([-1.0, -1.0], 4.0, False),  # a loss may be negative
        ([-1.0, 8.0], 4.0, True),
    ],
)
def test_a_loss_may_diverge(losses: list[float], threshold: Any, diverged: bool) -> None:
    curve = LossCurve(threshold)

    for loss in losses:
        curve.add(loss)

    assert curve.diverged is diverged


@settings(deadline=None)  # the first one imports torch
@given(st.lists(st.tuples(st.floats(-10, 10), st.floats(0.01, 1)), min_size=2, max_size=12))
def test_slopes_are_those_of_torch(points: list[tuple[float, float]]) -> None:
    torch = pytest.importorskip("torch")
    values = torch.tensor([value for value, _ in points], dtype=torch.float64)
    at = torch.tensor([step for _, step in points], dtype=torch.float64).cumsum(0)

    ours = gradient(values.tolist(), at.tolist())

    (theirs,) = torch.gradient(values, spacing=[at])
    assert ours == pytest.approx(theirs.tolist(), rel=1e-6, abs=1e-6)


def curve_of(loss: Any, n: int = 100) -> LRFinder:
    found = LRFinder("exponential", 1e-4, 10.0, n)
    found.results = {"lr": [found.lr(i) for i in range(n)]}
    found.results["loss"] = [loss(rate) for rate in found.results["lr"]]
    return found


def test_the_steepest_fall_is_suggested() -> None:
    """The derivative of -arctan is least where its argument is 0: at 0.5."""
    found = curve_of(lambda rate: -math.atan(100 * (rate - 0.5)))

    assert found.suggestion() == pytest.approx(0.5, rel=0.1)


def test_ends_and_losses_that_are_not_finite_say_nothing() -> None:
    found = curve_of(lambda rate: 1.0)
    for index, loss in ((3, -1e9), (50, math.nan), (60, 0.5), (-1, -1e9)):
        found.results["loss"][index] = loss

    assert found.suggestion() == found.results["lr"][59]
    assert found.suggestion(skip_begin=0, skip_end=1) == found.results["lr"][2]


def test_too_few_losses_suggest_nothing(caplog: Any) -> None:
    assert curve_of(lambda rate: rate, n=12).suggestion() is None
    assert "1 of 12 are left" in caplog.text


@pytest.mark.parametrize("suggest", [False, True])
def test_the_picture_shows_the_curve(suggest: bool) -> None:
    matplotlib = pytest.importorskip("matplotlib")
    matplotlib.use("agg")
    found = curve_of(lambda rate: -math.atan(100 * (rate - 0.5)))

    figure = found.plot(suggest=suggest)

    (axes,) = figure.axes
    curve, *points = axes.lines
    assert curve.get_xdata().tolist() == found.results["lr"]
    assert curve.get_ydata().tolist() == found.results["loss"]
    assert axes.get_xscale() == "log"
    assert [list(point.get_xdata()) for point in points] == [[found.suggestion()]] * suggest
    assert found.plot(ax=axes) is figure
    matplotlib.pyplot.close(figure)


def test_a_picture_needs_matplotlib(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "matplotlib", None)

    with pytest.raises(ModuleNotFoundError, match=r"pip install 'lt-callbacks\[plot\]'"):
        curve_of(lambda rate: rate).plot()


def test_noise_between_the_smallest_rates_is_not_steep() -> None:
    """It falls by 1 around the rate 0.01, and wavers by a hundredth everywhere else."""

    def loss(rate: float, index: int) -> float:
        return 1 / (1 + (rate / 0.01) ** 2) + 0.01 * (index % 2)

    found = LRFinder("exponential", 1e-8, 1.0, 100)
    found.results["lr"] = [found.lr(index) for index in range(100)]
    found.results["loss"] = [loss(rate, i) for i, rate in enumerate(found.results["lr"])]

    suggested = found.suggestion()
    assert suggested is not None
    assert 0.002 < suggested < 0.05
