"""Where loaders come from, how far they are read, and that all of them are closed."""

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from toys import Stream

from lt_loop import Limits
from lt_loop.hooks import library_default
from lt_loop.solo import CountedIterable, IterableFeed, OneProcess
from lt_loop.sources import Source, Sources


class Loading:
    """Has a loader for each stage, and counts how often it was asked for them."""

    def __init__(self, name: str = "own") -> None:
        self.name, self.asked = name, 0

    def loader(self) -> Any:
        self.asked += 1
        return Stream([self.name])

    train_dataloader = val_dataloader = test_dataloader = predict_dataloader = loader


class WithDefaults:
    """Has documented defaults, as LTModule has."""

    @library_default
    def train_dataloader(self) -> Any:
        raise AssertionError("a default is not called")

    val_dataloader = test_dataloader = predict_dataloader = train_dataloader


def sources(program: Any = None, datamodule: Any = None, **given: Any) -> Sources:
    return Sources(program, datamodule, given)  # type: ignore[arg-type]


def opened(of: Sources, stage: Any = "train", **limits: Any) -> list[Source]:
    return of.open(stage, feed=IterableFeed(), world=OneProcess(), limits=Limits(**limits))


def batches(of: Sources, stage: Any = "train", **limits: Any) -> list[list[Any]]:
    """The batches of an epoch of each loader."""
    return [list(source.epoch(0)) for source in opened(of, stage, **limits)]


STAGES = ["train", "validate", "test", "predict"]


# Where they come from


@pytest.mark.parametrize("stage", STAGES)
@pytest.mark.parametrize(
    ("program", "datamodule", "given", "expected"),
    [
        (Loading("program"), None, False, "program"),
        (Loading("program"), None, True, "call"),
        (Loading("program"), Loading("datamodule"), False, "datamodule"),
        (Loading("program"), WithDefaults(), False, "program"),
        (WithDefaults(), Loading("datamodule"), False, "datamodule"),
        (WithDefaults(), None, True, "call"),
    ],
)
def test_the_call_goes_before_the_datamodule_and_that_before_the_program(
    stage: str, program: Any, datamodule: Any, given: bool, expected: str
) -> None:
    chosen = sources(program, datamodule, **({stage: Stream(["call"])} if given else {}))

    assert chosen.has(stage)  # type: ignore[arg-type]
    assert chosen.given(stage) is given  # type: ignore[arg-type]
    assert batches(chosen, stage) == [[expected]]


@pytest.mark.parametrize("program", [object(), WithDefaults()], ids=type)
def test_it_is_known_where_there_are_none(program: Any) -> None:
    without = sources(program, None, validate=None)

    assert not any(without.has(stage) for stage in STAGES)  # type: ignore[arg-type]
    message = (
        r"^This run needs a validate loader\. Received none\. Pass one, or write val_dataloader"
    )
    with pytest.raises(ValueError, match=message):
        opened(without, "validate")


def test_asking_whether_there_is_one_does_not_ask_for_it() -> None:
    program = Loading()
    of = sources(program)

    assert of.has("train")
    assert of.opened("train") == []
    assert program.asked == 0


def test_a_loader_is_asked_for_once() -> None:
    program = Loading()
    of = sources(program)

    assert opened(of) is opened(of) is of.opened("train")
    assert program.asked == 1


def test_loaders_given_both_ways_are_refused() -> None:
    message = (
        r"^Loaders come from the call or from a datamodule\. Received both val_dataloaders and a "
        r"datamodule\. Drop one of them\.$"
    )
    with pytest.raises(ValueError, match=message):
        sources(object(), Loading(), train=None, validate=[1])


def test_a_method_that_returns_no_loader_is_refused() -> None:
    class Forgetful:
        def test_dataloader(self) -> None:
            """Forget the return."""

    message = (
        r"^test_dataloader must return a loader\. Received None from Forgetful\.test_dataloader\. "
        r"Return one, or remove the method\.$"
    )
    with pytest.raises(ValueError, match=message):
        opened(sources(Forgetful()), "test")


# One or several


class Array:
    """A batch that can be iterated, as a tensor can."""

    shape = (2,)

    def __iter__(self) -> Iterator[int]:
        return iter([1, 2])


@pytest.mark.parametrize(
    ("given", "loaders"),
    [
        ([Stream("ab"), Stream("c")], [["a", "b"], ["c"]]),
        ((Stream("ab"), range(2)), [["a", "b"], [0, 1]]),
        ([Stream("ab")], [["a", "b"]]),
        (Stream("ab"), [["a", "b"]]),
        ([1, 2], [[1, 2]]),
        ([[1], [2]], [[[1], [2]]]),
        ([(1, 2), (3, 4)], [[(1, 2), (3, 4)]]),
        ([{"x": 1}], [[{"x": 1}]]),
        (["a", "b"], [["a", "b"]]),
    ],
)
def test_a_list_of_loaders_is_told_from_a_list_of_batches(
    given: Any, loaders: list[list[Any]]
) -> None:
    assert batches(sources(validate=given), "validate") == loaders


def test_a_list_of_arrays_is_a_list_of_batches() -> None:
    arrays = [Array(), Array()]

    assert batches(sources(validate=arrays), "validate") == [arrays]


@pytest.mark.parametrize(
    "given",
    [
        {"x": Stream("ab"), "y": Stream("c")},
        {"x": [Stream("ab"), {"z": Stream("c")}]},
        SimpleNamespace(mode="sequential", flattened=[Stream("ab"), Stream("c")]),
    ],
    ids=lambda given: type(given).__name__,
)
@pytest.mark.parametrize("stage", ["validate", "test", "predict"])
def test_collections_are_evaluated_one_by_one(stage: str, given: Any) -> None:
    assert batches(sources(**{stage: given}), stage) == [["a", "b"], ["c"]]


class Combining(IterableFeed):
    """A feed that reads several loaders as one, and remembers what it was given."""

    def __init__(self) -> None:
        self.given: list[Any] = []

    def open(self, loader: Any, *, phase: Any, world: Any) -> CountedIterable:
        self.given.append(loader)
        return CountedIterable(list(zip(*loader.values(), strict=True)))


def test_a_collection_for_training_is_the_feeds_to_combine() -> None:
    feed, loaders = Combining(), {"x": Stream("ab"), "y": Stream("cd")}
    of = sources(train=loaders)

    (source,) = of.open("train", feed=feed, world=OneProcess(), limits=Limits())

    assert feed.given == [loaders]
    assert source.kind == "dict of loaders"
    assert list(source.epoch(0)) == [("a", "c"), ("b", "d")]


def test_a_collection_for_training_needs_a_feed_that_can_combine_it() -> None:
    message = (
        r"^Several loaders are read as one by a feed that can\. Received a list of loaders as "
        r"train loader\. Install lt-data .*Trainer\(feed='torch'\)\), or pass one loader\.$"
    )
    with pytest.raises(LookupError, match=message):
        opened(sources(train=[Stream("a"), Stream("b")]))


# How far they are read


@pytest.mark.parametrize(
    ("loader", "limit", "count"),
    [
        ([1, 2, 3, 4], 1.0, 4),
        ([1, 2, 3, 4], 0.5, 2),
        ([1, 2, 3, 4], 3, 3),
        ([1, 2, 3, 4], 9, 4),
        (Stream([1, 2, 3, 4]), 1.0, None),
        (Stream([1, 2, 3, 4]), 3, 3),
    ],
)
def test_an_epoch_ends_where_its_limit_does(loader: Any, limit: float, count: int | None) -> None:
    (source,) = opened(sources(test=loader), "test", limit_test_batches=limit)

    assert (source.batches, source.kind) == (count, type(loader).__name__)
    assert list(source.epoch(0)) == [1, 2, 3, 4][:count]
    assert list(source.epoch(1)) == [1, 2, 3, 4][:count]


def test_nothing_beyond_the_limit_is_read() -> None:
    reads: list[int] = []

    class Counting:
        def __iter__(self) -> Iterator[int]:
            for number in range(9):
                reads.append(number)
                yield number

    assert batches(sources(train=Counting()), limit_train_batches=2) == [[0, 1]]
    assert reads == [0, 1]


def test_the_limit_of_a_resumed_epoch_counts_what_was_done_before() -> None:
    (source,) = opened(sources(train=Stream(range(9))), limit_train_batches=5)
    source.stream.load_state_dict({"epoch": 1, "batch": 3})

    assert list(source.epoch(1, start=3)) == [3, 4]
    assert list(source.epoch(2)) == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("limit", [0, 0.0])
def test_a_loader_of_which_nothing_is_read_is_not_opened(limit: float) -> None:
    assert batches(sources(predict=3), "predict", limit_predict_batches=limit) == []


def test_a_share_of_an_unknown_number_names_the_argument() -> None:
    with pytest.raises(ValueError, match=r"Received limit_val_batches=0\.5 and a loader without"):
        opened(sources(validate=Stream([1])), "validate", limit_val_batches=0.5)


@pytest.mark.parametrize("limit", [1.0, 0.5, 3])
def test_a_loader_without_batches_is_refused(limit: float) -> None:
    message = (
        r"^A validate loader must yield batches\. Received an empty range: its length is 0\. "
        r"Look at the size of its dataset, and at drop_last\.$"
    )
    with pytest.raises(ValueError, match=message):
        opened(sources(validate=range(0)), "validate", limit_val_batches=limit)


@pytest.mark.parametrize(
    ("loader", "limit", "length"),
    [
        ([1, 2, 3], 1.0, 3),
        ([1, 2, 3], 2, 2),
        (Stream([1, 2, 3]), 1.0, None),
        (Stream([1]), 9, None),
    ],
)
def test_a_length_is_sure_only_where_the_loader_has_one(
    loader: Any, limit: float, length: int | None
) -> None:
    (source,) = opened(sources(train=loader), limit_train_batches=limit)

    assert source.length == length


# Overfitting


class Ordering(IterableFeed):
    """A feed that knows how to put a loader in order."""

    def in_order(self, loader: Any) -> Any:
        return sorted(loader) if isinstance(loader, Stream) else loader


@pytest.mark.parametrize("stage", ["train", "validate"])
def test_what_is_overfitted_is_put_in_order_with_a_warning(stage: Any) -> None:
    of = sources(**{stage: Stream("cab")})
    word = "train" if stage == "train" else "val"
    message = (
        rf"^overfit_batches reads the same batches in every epoch\. Received a {word} loader that "
        r"shuffles: .* Pass it with shuffle=False\.$"
    )
    with pytest.warns(UserWarning, match=message):
        (source,) = of.open(
            stage, feed=Ordering(), world=OneProcess(), limits=Limits(overfit_batches=2)
        )

    assert list(source.epoch(0)) == list(source.epoch(1)) == ["a", "b"]


def test_what_is_in_order_already_is_only_limited() -> None:
    assert batches(sources(train=["c", "a", "b"]), overfit_batches=2) == [["c", "a"]]


def test_what_is_tested_or_predicted_is_not_overfitted() -> None:
    for stage in ("test", "predict"):
        of = sources(**{stage: Stream("cab")})
        limits = Limits(overfit_batches=2)
        (source,) = of.open(stage, feed=Ordering(), world=OneProcess(), limits=limits)
        assert list(source.epoch(0)) == ["c", "a", "b"]


def test_a_shuffling_loader_needs_a_feed_that_knows_it() -> None:
    class RandomSampler:
        """As torch has it."""

    class DataLoader(Stream):
        sampler = RandomSampler()

    message = r"^Reading a shuffled loader in order .* a DataLoader with a RandomSampler\. Install"
    with pytest.raises(LookupError, match=message):
        opened(sources(train=DataLoader("ab")), overfit_batches=2)


def test_a_share_that_is_overfitted_is_named_so() -> None:
    with pytest.raises(ValueError, match=r"Received overfit_batches=0\.5 and a loader without"):
        opened(sources(train=Stream("ab")), overfit_batches=0.5)


# Asking anew


def asked(program: Loading, stage: Any, at: list[int], *, every: int, **limits: Any) -> list[int]:
    """The epochs, of those in which it might be, in which a stage is asked for its loaders."""
    of, found = sources(program), []
    for epoch in at:
        before = program.asked
        of.expire(stage, epoch=epoch, every=every)
        of.open(
            stage,
            feed=IterableFeed(),
            world=OneProcess(),
            limits=Limits(**limits),
            epoch=epoch,
        )
        found += [epoch] * (program.asked - before)
    return found


@pytest.mark.parametrize(
    ("every", "epochs"),
    [(0, [0]), (1, [0, 1, 2, 3, 4, 5, 6]), (2, [0, 2, 4, 6]), (3, [0, 3, 6]), (9, [0])],
)
def test_training_loaders_are_asked_for_every_so_many_epochs(every: int, epochs: list[int]) -> None:
    assert asked(Loading(), "train", list(range(7)), every=every) == epochs


@pytest.mark.parametrize(
    ("every", "check", "epochs"),
    [
        (0, 1, [0]),
        (1, 1, [0, 1, 2, 3, 4, 5]),
        (2, 1, [0, 2, 4]),
        (1, 2, [0, 1, 3, 5]),
        (2, 2, [0, 1, 3, 5]),
        (3, 2, [0, 1, 5]),
        (2, 3, [0, 2, 5]),
        (4, 3, [0, 2]),
        (2, None, [0, 2, 4]),
    ],
)
def test_validation_loaders_are_asked_for_as_lightning_does(
    every: int, check: int | None, epochs: list[int]
) -> None:
    """Those of the sanity check count only where the first epoch has a validation."""
    validations = [epoch for epoch in range(6) if (epoch + 1) % (check or 1) == 0]
    limits = {"check_val_every_n_epoch": check, "val_check_interval": 1}

    found = asked(Loading(), "validate", sorted({0, *validations}), every=every, **limits)

    assert found == epochs


def test_loaders_of_the_call_are_kept() -> None:
    of = sources(Loading(), train=Stream("a"))
    before = opened(of)

    of.expire("train", epoch=5, every=1)

    assert opened(of) is before


def test_loaders_that_expire_are_closed() -> None:
    class Named:
        def __init__(self) -> None:
            self.names = iter("abc")

        def train_dataloader(self) -> Any:
            return Stream(next(self.names))

    feed = ClosingFeed()
    of = sources(Named())
    for epoch in range(3):
        of.expire("train", epoch=epoch, every=1)
        of.open("train", feed=feed, world=OneProcess(), limits=Limits(), epoch=epoch)

    assert feed.closed == ["a", "b"]
    of.close()
    assert feed.closed == ["a", "b", "c"]


def test_the_position_outlives_a_loader_that_can_not_be_made_anew() -> None:
    class Once(Loading):
        def train_dataloader(self) -> Any:
            if self.asked:
                raise OSError("the disk is gone")
            return self.loader()

    of = sources(Once())
    (source,) = opened(of)
    list(source.epoch(0))
    of.expire("train", epoch=1, every=1)
    with pytest.raises(OSError, match="the disk is gone"):
        opened(of)

    of.close()
    assert of.state_dict() == {"train": [{"epoch": 0, "batch": 1}]}


# State


def test_the_position_is_that_of_the_training_and_outlives_it() -> None:
    of = sources(train=Stream("abc"), validate=Stream("xyz"))
    assert of.state_dict() == {"train": []}
    (train,), (validate,) = opened(of), opened(of, "validate")

    epoch = train.epoch(2)
    next(epoch)
    list(validate.epoch(5))

    assert of.state_dict() == {"train": [{"epoch": 2, "batch": 1}]}
    of.close()
    assert of.state_dict() == {"train": [{"epoch": 2, "batch": 1}]}


def test_a_position_is_gone_on_from() -> None:
    of = sources(train=Stream("abc"))
    opened(of)

    of.load_state_dict({"train": [{"epoch": 2, "batch": 1}]})

    assert of.state_dict() == {"train": [{"epoch": 2, "batch": 1}]}
    (source,) = opened(of)
    assert list(source.epoch(2)) == ["b", "c"]


class Remembering(Loading):
    """A datamodule with a state."""

    seen = 3

    def state_dict(self) -> dict[str, int]:
        return {"seen": self.seen}

    def load_state_dict(self, state: dict[str, int]) -> None:
        self.seen = state["seen"]


def test_a_datamodule_may_have_a_state() -> None:
    data = Remembering()
    of = sources(None, data)

    assert of.datamodule_state() == {"seen": 3}
    of.load_datamodule_state({})  # that of a run whose datamodule had none
    assert data.seen == 3
    of.load_datamodule_state({"seen": 7})
    assert data.seen == 7


@pytest.mark.parametrize("datamodule", [None, Loading()], ids=type)
def test_a_datamodule_need_not_have_a_state(datamodule: Any) -> None:
    of = sources(None, datamodule)

    assert of.datamodule_state() == {}
    of.load_datamodule_state({"seen": 7})


# Closing


class Closing(CountedIterable):
    """A stream whose name is what it yields; one with an exclamation mark gets stuck."""

    closed: list[str]

    def close(self) -> None:
        name = "".join(self._loader)
        self.closed.append(name)
        if "!" in name:
            raise OSError(f"{name} is stuck")


class ClosingFeed(IterableFeed):
    def __init__(self) -> None:
        self.closed: list[str] = []

    def open(self, loader: Any, *, phase: Any, world: Any) -> Closing:
        super().open(loader, phase=phase, world=world)
        stream = Closing(loader)
        stream.closed = self.closed
        return stream


def test_everything_that_was_opened_is_closed_once() -> None:
    feed = ClosingFeed()
    of = sources(train=Stream("a"), validate=[Stream("b"), Stream("c")], test=Stream("d"))
    for stage in ("train", "validate"):
        of.open(stage, feed=feed, world=OneProcess(), limits=Limits())  # type: ignore[arg-type]

    of.close()
    of.close()

    assert sorted(feed.closed) == ["a", "b", "c"]
    assert of.opened("train") == of.opened("validate") == []


def test_a_loader_that_gets_stuck_keeps_no_other_from_its_close() -> None:
    feed = ClosingFeed()
    of = sources(validate=[Stream("a"), Stream("b!"), Stream("c"), Stream("d!")])
    of.open("validate", feed=feed, world=OneProcess(), limits=Limits())

    with pytest.raises(OSError, match="is stuck"):
        of.close()

    assert sorted(feed.closed) == ["a", "b!", "c", "d!"]
