"""What configure_optimizers may return, and what is said of anything else."""

from typing import Any

import pytest
from toys import Halving, Sgd, Weight

from lt_loop.optimizers import Schedule, check_monitors, read_optimizers, wants_closure

WHERE = "Line.configure_optimizers"

SGD, OTHER = Sgd(Weight()), Sgd(Weight())
HALVING, LATER = Halving(SGD), Halving(SGD)


class ReduceLROnPlateau:
    """Known by its name, as torch's is."""

    def step(self, metric: Any) -> None:
        raise NotImplementedError


class Patient(ReduceLROnPlateau):
    """A subclass is one too."""


def read(returned: Any) -> tuple[list[Any], list[Schedule]]:
    return read_optimizers(returned, where=WHERE)


# Forms


@pytest.mark.parametrize(
    ("returned", "optimizers", "schedules"),
    [
        (SGD, [SGD], []),
        ([SGD], [SGD], []),
        ((SGD,), [SGD], []),
        ([SGD, OTHER], [SGD, OTHER], []),
        (([SGD], [HALVING]), [SGD], [HALVING]),
        ([[SGD], [HALVING]], [SGD], [HALVING]),
        (((SGD,), (HALVING, LATER)), [SGD], [HALVING, LATER]),
        (([SGD], []), [SGD], []),
        (([SGD], [{"scheduler": HALVING}]), [SGD], [HALVING]),
        ({"optimizer": SGD}, [SGD], []),
        ({"optimizer": SGD, "lr_scheduler": None}, [SGD], []),
        ({"optimizer": SGD, "lr_scheduler": HALVING}, [SGD], [HALVING]),
        ({"optimizer": SGD, "lr_scheduler": {"scheduler": HALVING}}, [SGD], [HALVING]),
        ([{"optimizer": SGD, "lr_scheduler": HALVING}, OTHER], [SGD, OTHER], [HALVING]),
    ],
)
def test_lightnings_forms_are_read(
    returned: Any, optimizers: list[Any], schedules: list[Any]
) -> None:
    found, found_schedules = read(returned)

    assert found == optimizers
    assert [schedule.scheduler for schedule in found_schedules] == schedules


def test_a_schedule_alone_is_stepped_after_each_epoch() -> None:
    assert read(([SGD], [HALVING]))[1] == [
        Schedule(
            scheduler=HALVING,
            interval="epoch",
            frequency=1,
            monitor=None,
            strict=True,
            name=None,
            reduce_on_plateau=False,
        )
    ]


def test_the_fields_of_a_schedule_may_stand_in_a_dict() -> None:
    fields = {"interval": "step", "frequency": 3, "strict": False, "name": "slow"}

    _, (schedule,) = read(([SGD], [{"scheduler": HALVING, **fields}]))

    assert {name: getattr(schedule, name) for name in fields} == fields


@pytest.mark.parametrize(
    ("config", "monitor"),
    [
        ({"lr_scheduler": Patient(), "monitor": "loss"}, "loss"),
        ({"lr_scheduler": {"scheduler": Patient(), "monitor": "loss"}}, "loss"),
        ({"lr_scheduler": {"scheduler": Patient()}, "monitor": "loss"}, "loss"),
        ({"lr_scheduler": {"scheduler": Patient(), "monitor": "in"}, "monitor": "out"}, "in"),
    ],
)
def test_what_is_monitored_may_stand_in_either_dict(config: Any, monitor: str) -> None:
    _, (schedule,) = read({"optimizer": SGD, **config})

    assert schedule.monitor == monitor


@pytest.mark.parametrize(
    ("scheduler", "given", "plateau"),
    [
        (HALVING, None, False),
        (ReduceLROnPlateau(), None, True),
        (Patient(), None, True),
        (Patient(), False, False),
        (HALVING, True, True),
    ],
)
def test_a_plateau_is_known_by_its_name_unless_told_otherwise(
    scheduler: Any, given: bool | None, plateau: bool
) -> None:
    schedule = Schedule(scheduler=scheduler, monitor="loss", reduce_on_plateau=given)

    assert schedule.reduce_on_plateau is plateau


# What is refused


@pytest.mark.parametrize(
    ("returned", "message"),
    [
        (None, r"\. Received None\. Return one, for example torch\.optim\.Adam\("),
        ([], r"\. Received \[\]\.$"),
        (3, r": an object with a method step\(\)\. Received 3 of type int\.$"),
        (Sgd, r": an object with a method step\(\)\. Received <class '.*Sgd'> of type type\.$"),
        ([SGD, None], r": an object .*\. Received None of type NoneType\.$"),
        ([[SGD]], r": an object .*\. Received \[<.*Sgd .*\] of type list\.$"),
        (
            [HALVING],
            r" first\. Received the scheduler Halving in its place\. "
            r"Return \(\[optimizer\], \[scheduler\]\)\.$",
        ),
        ({"optimizer": HALVING}, r" first\. Received the scheduler Halving in its place"),
    ],
)
def test_what_is_no_optimizer_is_refused(returned: Any, message: str) -> None:
    with pytest.raises(TypeError, match=rf"^{WHERE} must return an optimizer{message}"):
        read(returned)


@pytest.mark.parametrize(
    ("returned", "message"),
    [
        (
            {"optimiser": SGD},
            rf"^The dict of {WHERE} may have the keys optimizer, lr_scheduler, monitor\. "
            r"Received 'optimiser'\. Did you mean 'optimizer'\?$",
        ),
        (
            {"lr_scheduler": HALVING},
            rf"^The dict of {WHERE} must have the key 'optimizer'\. "
            r"Received \['lr_scheduler'\]\.$",
        ),
        (
            ([SGD], [{"scheduler": HALVING, "interva": "step"}]),
            rf"^The lr_scheduler dict of {WHERE} may have the keys scheduler, interval, .*\. "
            r"Received 'interva'\. Did you mean 'interval'\?$",
        ),
        (
            ([SGD], [{"interval": "step"}]),
            rf"^The lr_scheduler dict of {WHERE} must have the key 'scheduler'\. "
            r"Received \['interval'\]\.$",
        ),
    ],
)
def test_a_misspelt_or_missing_key_is_refused(returned: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        read(returned)


@pytest.mark.parametrize(
    ("fields", "error", "message"),
    [
        (
            {"interval": "batch"},
            ValueError,
            r"^The interval of .* is 'step' or 'epoch'\. Received interval='batch'\.$",
        ),
        (
            {"frequency": 0},
            ValueError,
            r"^The frequency of .* is an int of at least 1\. Received frequency=0\.$",
        ),
        ({"frequency": 2.0}, ValueError, r"int of at least 1\. Received frequency=2\.0\.$"),
        (
            {"scheduler": "cosine"},
            TypeError,
            r"^A learning-rate scheduler has a method step\(\)\. Received 'cosine'\.$",
        ),
    ],
)
def test_a_schedule_that_can_not_be_is_refused(
    fields: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        read({"optimizer": SGD, "lr_scheduler": {"scheduler": HALVING} | fields})


def test_a_plateau_that_the_loop_steps_needs_a_monitor() -> None:
    _, schedules = read({"optimizer": SGD, "lr_scheduler": Patient()})
    message = (
        r"^ReduceLROnPlateau needs the name of a logged value\. Received a schedule without "
        r"one\. Return \{'optimizer': \.\.\., 'lr_scheduler': \.\.\., 'monitor': 'val_loss'\}"
    )
    with pytest.raises(ValueError, match=message):
        check_monitors(schedules)
    _, schedules = read({"optimizer": SGD, "lr_scheduler": Patient(), "monitor": "loss"})
    check_monitors(schedules)


def test_one_schedule_needs_no_list() -> None:
    optimizers, schedules = read(([SGD], HALVING))

    assert (optimizers, [one.scheduler for one in schedules]) == ([SGD], [HALVING])


# Closures


class Searching:
    def step(self, closure: Any) -> None:
        raise NotImplementedError


class Willing:
    def step(self, closure: Any = None) -> None:
        raise NotImplementedError


class Rewrapped(Searching):
    """As torch's schedulers do, with a wrapper whose signature is not that of the method."""

    def __init__(self) -> None:
        self.step = lambda *arguments, **words: None  # type: ignore[method-assign]


class Borrowed:
    def __init__(self) -> None:
        self.step = lambda: None


@pytest.mark.parametrize(
    ("optimizer", "wants"),
    [(SGD, False), (Willing(), False), (Searching(), True), (Rewrapped(), True)],
    ids=lambda value: type(value).__name__,
)
def test_an_optimizer_wants_a_closure_where_its_step_can_not_do_without(
    optimizer: Any, wants: bool
) -> None:
    assert wants_closure(optimizer) is wants


def test_an_optimizer_may_borrow_its_step() -> None:
    assert not wants_closure(Borrowed())
    assert read(borrowed := Borrowed()) == ([borrowed], [])
