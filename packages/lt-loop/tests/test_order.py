"""The order that is written down is the order in which a run calls its hooks."""

import pytest
from toys import Everything, make_trainer, recording

from lt_loop import Callback
from lt_loop.hooks import HOOKS
from lt_loop.order import ORDER


@pytest.mark.parametrize("fn", ORDER)
def test_a_run_calls_its_hooks_in_the_order_written_down(fn: str) -> None:
    calls: list[str] = []
    callback = recording(Callback, "callback", calls)
    program = recording(Everything, "program", calls)
    trainer = make_trainer(max_epochs=1, limit_train_batches=1, callbacks=callback)

    getattr(trainer, fn)(program)

    names = [call.split()[1] for call in calls]
    called = [name for name, after in zip(names, [*names[1:], ""], strict=True) if name != after]
    assert called == [hook for chapter in ORDER[fn] for hook in chapter.hooks]


def test_every_hook_has_its_place() -> None:
    placed = {hook for order in ORDER.values() for chapter in order for hook in chapter.hooks}
    elsewhere = {"on_exception", "on_log", "on_save_checkpoint", "on_load_checkpoint"}

    assert placed == set(HOOKS) - elsewhere
