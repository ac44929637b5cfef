"""GradientAccumulationScheduler: the steps of a run against those of Trainer's own argument."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lt_callbacks import GradientAccumulationScheduler

SCHEDULES = st.dictionaries(st.integers(0, 6), st.integers(1, 4), min_size=1)


@given(SCHEDULES, st.integers(0, 10))
def test_the_newest_entry_counts(scheduling: dict[int, int], epoch: int) -> None:
    begun = [start for start in sorted(scheduling) if start <= epoch]

    found = GradientAccumulationScheduler(scheduling).get_accumulate_grad_batches(epoch)

    assert found == (scheduling[begun[-1]] if begun else 1)


@pytest.mark.parametrize("scheduling", [{0: 3}, {1: 2, 3: 5}, {4: 2}])
def test_the_run_is_that_of_the_argument(scheduling: Any, scripted: Any, make_trainer: Any) -> None:
    callback = GradientAccumulationScheduler(scheduling)
    seen: list[int] = []

    class Loss:
        def __truediv__(self, batches: int) -> "Loss":
            return self

        def backward(self) -> None: ...

    class Watch(type(scripted())):  # type: ignore[misc]
        def training_step(self, batch: Any, batch_idx: int) -> Loss:
            return Loss()

        def on_train_epoch_start(self) -> None:
            seen.append(self.trainer.accumulate_grad_batches)

    batches = list(range(7))
    ours = make_trainer(callback, max_epochs=5).fit(Watch(), batches)
    argument = make_trainer(max_epochs=5, accumulate_grad_batches=scheduling)

    assert ours.progress == argument.fit(Watch(), batches).progress
    assert (
        seen[:5] == seen[5:] == [callback.get_accumulate_grad_batches(epoch) for epoch in range(5)]
    )
    assert callback.going_to_accumulate_grad_batches()


def test_the_trainer_is_left_as_it_was(scripted: Any, make_trainer: Any) -> None:
    scheduling = {2: 2}
    trainer = make_trainer(GradientAccumulationScheduler(scheduling), max_epochs=1)

    trainer.fit(scripted(train_x=[1]), [0])

    assert trainer.limits.accumulate_grad_batches == 1
    assert scheduling == {2: 2}


def test_argument_and_callback_are_one_too_many(scripted: Any, make_trainer: Any) -> None:
    trainer = make_trainer(GradientAccumulationScheduler({0: 2}), accumulate_grad_batches=4)

    with pytest.raises(ValueError, match=r"accumulate_grad_batches=4 .*Drop one of them"):
        trainer.fit(scripted(train_x=[1]), [0])


@pytest.mark.parametrize(
    ("scheduling", "error"),
    [({}, TypeError), ([2], TypeError), ({-1: 2}, ValueError), ({0: 0}, ValueError),
     ({"0": 1}, ValueError), ({0: 1.5}, ValueError)],
)  # fmt: skip
def test_bad_schedules_are_refused(scheduling: Any, error: Any) -> None:
    with pytest.raises(error, match=r"scheduling .* Received "):
        GradientAccumulationScheduler(scheduling)
