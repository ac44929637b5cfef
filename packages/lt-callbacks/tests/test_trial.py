"""Trials: a second trainer on the same ground, a borrowed datamodule, generators put back."""

from types import SimpleNamespace
from typing import Any

import pytest

from lt_callbacks import LambdaCallback
from lt_callbacks.named_value import has_value, set_value, value_kept_on_failure
from lt_callbacks.trial import Borrowed, beside, check_readable_again, untraced


def test_the_second_trainer_has_the_limits_but_not_the_callbacks(make_trainer: Any) -> None:
    trainer = make_trainer(
        LambdaCallback(), max_epochs=7, accumulate_grad_batches={2: 3}, limit_train_batches=0.5
    )
    mine = LambdaCallback()

    other = beside(trainer, mine, max_steps=2)

    assert other.callbacks == (mine,)
    assert (other.max_epochs, other.max_steps) == (7, 2)
    assert other.limits.accumulate_grad_batches == {2: 3}
    assert other.limits.limit_train_batches == 0.5
    assert other.limits.limit_val_batches == other.limits.num_sanity_val_steps == 0
    assert type(other.ports.backend) is type(trainer.ports.backend)
    assert other.ports.backend is not trainer.ports.backend
    assert other.ports.feed is trainer.ports.feed


def test_a_run_beside_a_run_leaves_its_state_alone(scripted: Any, make_trainer: Any) -> None:
    inner = scripted(train_x=[1])

    def run_beside(trainer: Any, module: Any) -> None:
        assert beside(trainer, max_epochs=1).fit(inner, [0, 1, 2]).progress.steps == 3

    trainer = make_trainer(LambdaCallback(on_train_epoch_start=run_beside), max_epochs=2)
    program = scripted(train_x=[5, 6])

    result = trainer.fit(program, [0, 1])

    assert result.progress.steps == 4
    assert result.metrics["train_x"] == 6
    assert trainer.ports.backend._program is program


def test_a_borrowed_datamodule_is_not_set_up_or_torn_down() -> None:
    owner = SimpleNamespace(
        setup=print, teardown=print, prepare_data=print, state_dict=print, size=3,
        train_dataloader=lambda: "its own", val_dataloader=lambda: "its own",
    )  # fmt: skip

    borrowed = Borrowed(owner, train_dataloader=lambda: "another")

    assert borrowed.train_dataloader() == "another"
    assert borrowed.val_dataloader() == "its own"
    assert borrowed.size == 3
    for name in ("setup", "teardown", "prepare_data", "state_dict", "on_exception"):
        assert not hasattr(borrowed, name)


class Generator:
    def __init__(self) -> None:
        self.state = 0

    def get_state(self) -> int:
        return self.state

    def set_state(self, state: int) -> None:
        self.state = state


def test_the_generators_of_loaders_are_put_back(make_trainer: Any) -> None:
    generators = [Generator() for _ in range(4)]
    plain = SimpleNamespace(generator=generators[0], sampler=SimpleNamespace(generator=None))
    nested = SimpleNamespace(
        generator=None,
        sampler=SimpleNamespace(generator=generators[1]),
        batch_sampler=SimpleNamespace(sampler=SimpleNamespace(generator=generators[2])),
    )
    own = SimpleNamespace(batch_sampler=SimpleNamespace(generator=generators[3]))

    def draw() -> str:
        for generator in generators:
            generator.state += 1
        return "drawn"

    assert untraced(make_trainer(), draw, {"a": plain, "b": [nested]}, own, None) == "drawn"
    assert [generator.state for generator in generators] == [0, 0, 0, 0]


def test_an_iterator_is_not_read_for_a_trial() -> None:
    check_readable_again([1, 2])
    check_readable_again(None)
    with pytest.raises(TypeError, match="Received a list_iterator, which can be read once"):
        check_readable_again(iter([1, 2]))


def test_a_value_is_found_wherever_it_is_kept() -> None:
    attribute = SimpleNamespace(lr=1)
    mapping = SimpleNamespace(hparams={"lr": 2})
    namespace = SimpleNamespace(hparams=SimpleNamespace(lr=3))
    owners = (attribute, None, mapping, namespace)

    assert all(has_value("lr", [owner]) for owner in owners if owner is not None)
    assert not has_value("rate", owners)

    def fail() -> None:
        with value_kept_on_failure("lr", owners):
            set_value("lr", 9, owners)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert (attribute.lr, mapping.hparams, namespace.hparams.lr) == (1, {"lr": 2}, 3)
    set_value("lr", 9, owners)
    assert (attribute.lr, mapping.hparams, namespace.hparams.lr) == (9, {"lr": 9}, 9)
