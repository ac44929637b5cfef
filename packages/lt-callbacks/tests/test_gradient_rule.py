"""The rule of the gradient check, without torch."""

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lt_callbacks.gradient_rule import GradientRule, total_norm

NAN, INF = math.nan, math.inf


def sentences(norms: dict[str, float], **thresholds: Any) -> list[str]:
    return [finding.sentence for finding in GradientRule(**thresholds).judge(norms)]


def test_what_is_as_it_should_be_is_not_mentioned() -> None:
    assert sentences({"a": 1.0, "b": 0.0}) == []
    assert sentences({"a": 1.0, "b": 10.0}, vanishing_below=1.0, exploding_above=10.0) == []


def test_of_several_that_are_not_finite_the_backward_pass_met_the_last_one_first() -> None:
    norms = {"layer1": NAN, "layer2": INF, "layer3": 1.0}

    (finding,) = GradientRule().judge(norms)

    assert (finding.kind, finding.layer) == ("non_finite", "layer2")
    assert finding.layers == ("layer1", "layer2")
    assert finding.sentence == ("the gradient of layer2 is not finite (norm inf), in 2 of 3 layers")


def test_where_no_gradient_is_finite_it_is_the_loss() -> None:
    assert sentences({"a": NAN, "b": NAN}) == [
        "the gradient of b is not finite (norm nan), in all of the 2 layers, so look at the loss "
        "and its inputs"
    ]


def test_a_single_layer_may_be_at_fault_itself() -> None:
    assert sentences({"a": NAN}) == ["the gradient of a is not finite (norm nan), in 1 of 1 layer"]


def test_the_worst_layer_is_named() -> None:
    norms = {"a": 1e-9, "b": 1e-12, "c": 5e3, "d": 2e4}

    assert sentences(norms, vanishing_below=1e-7, exploding_above=1e3) == [
        "the gradient of b vanishes: its norm 1e-12 is below vanishing_below=1e-07, "
        "in 2 of 4 layers",
        "the gradient of d explodes: its norm 2e+04 is above exploding_above=1000, "
        "in 2 of 4 layers",
    ]


@given(
    st.dictionaries(st.sampled_from("abcdef"), st.floats().map(abs)),
    st.floats(1e-3, 1),
    st.floats(2, 100),
)
def test_each_layer_is_in_at_most_one_finding(
    norms: dict[str, float], low: float, high: float
) -> None:
    found = {
        finding.kind: finding
        for finding in GradientRule(vanishing_below=low, exploding_above=high).judge(norms)
    }

    def layers(kind: Any) -> set[str]:
        return set(found[kind].layers) if kind in found else set()

    assert layers("vanishing") == {n for n in norms if norms[n] < low}
    assert layers("exploding") == {n for n in norms if high < norms[n] < INF}
    assert layers("non_finite") == {n for n in norms if not norms[n] < INF}
    assert all(finding.layer in finding.layers for finding in found.values())


def test_the_total_does_not_overflow() -> None:
    assert total_norm({"a": 3e200, "b": 4e200}) == pytest.approx(5e200)
    assert total_norm({}) == 0.0


@pytest.mark.parametrize(
    ("thresholds", "message"),
    [
        ({"vanishing_below": -1.0}, r"vanishing_below is a norm of at least 0.*=-1\.0"),
        ({"exploding_above": NAN}, r"exploding_above is a norm of at least 0.*=nan"),
        ({"vanishing_below": 2.0, "exploding_above": 1.0}, r"must be less than exploding_above"),
    ],
)
def test_bad_thresholds_are_refused(thresholds: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        GradientRule(**thresholds)


def test_dead_units_are_found_and_the_worst_is_named() -> None:
    (finding,) = GradientRule(dead_above=0.5).judge_silence({"a": 0.25, "b": 0.75, "c": 0.625})

    assert (finding.kind, finding.layer, finding.layers) == ("dead", "b", ("b", "c"))
    assert finding.sentence == (
        "75% of the units of b are dead: they put out zero for every sample, and dead_above=0.5, "
        "in 2 of 3 ReLUs"
    )


def test_dead_units_are_not_looked_for_unasked() -> None:
    assert GradientRule().judge_silence({"a": 1.0}) == []


@pytest.mark.parametrize("share", [-0.1, 1.0, math.nan])
def test_a_share_out_of_range_is_refused(share: float) -> None:
    with pytest.raises(ValueError, match="dead_above is a share of units"):
        GradientRule(dead_above=share)
