"""The ports' defaults do what they say and refuse what they can't do."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from toys import Line, Loss, Sgd, Stream, Weight

from lt_loop import Backend, Feed, Store, World
from lt_loop.solo import CountedIterable, DuckBackend, IterableFeed, NoStore, OneProcess


@pytest.mark.parametrize(
    ("default", "port"),
    [(DuckBackend, Backend), (OneProcess, World), (IterableFeed, Feed), (NoStore, Store)],
    ids=lambda cls: cls.__name__,
)
def test_each_default_satisfies_its_port(default: type, port: Any) -> None:
    assert isinstance(default(), port)


# Backend


def test_numbers_are_left_where_they_are() -> None:
    backend, model, batch = DuckBackend(), Line(), object()
    optimizers = [Sgd(model.weight)]
    step: Callable[..., Any] = model.training_step

    assert backend.setup(model, optimizers) is optimizers
    assert backend.wrap_step(step, "train") is step
    assert backend.place(batch) is batch


def test_gradients_are_the_business_of_loss_and_optimizer() -> None:
    weight, backend = Weight(), DuckBackend()
    optimizer = Sgd(weight, lr=0.5)

    backend.backward(Loss(weight, 1.0, slope=3.0), sync=True)
    assert weight.grad == 3.0
    assert backend.step(optimizer, None) is True
    assert weight.value == -1.5
    backend.zero_grad(optimizer)
    assert weight.grad is None


def test_a_closure_is_handed_on_only_where_there_is_one() -> None:
    class Remembering:
        def step(self, *arguments: Any) -> None:
            self.arguments = arguments

    def closure() -> None:
        raise NotImplementedError

    backend, optimizer = DuckBackend(), Remembering()
    backend.step(optimizer, None)
    assert optimizer.arguments == ()
    backend.step(optimizer, closure)
    assert optimizer.arguments == (closure,)


def test_a_loss_that_can_not_be_differentiated_is_refused() -> None:
    message = (
        r"^The loss must have a method backward\(\)\. Received float\. "
        r"Return a tensor from training_step, or pass a Trainer\(backend=\.\.\.\) for other"
    )
    with pytest.raises(TypeError, match=message):
        DuckBackend().backward(1.0, sync=True)


def test_gradients_are_not_clipped_in_secret() -> None:
    message = (
        r"^Clipping gradients needs a backend that knows them\. Received gradient_clip_val=0\.5, "
        r"gradient_clip_algorithm='norm' for Sgd\. Install lt-accel or pass Trainer\(backend="
    )
    optimizer = Sgd(Weight())
    with pytest.raises(ValueError, match=message):
        DuckBackend().clip(optimizer, 0.5, "norm")

    DuckBackend().clip(optimizer, None, "norm")  # nothing to do: there is no scaler


def test_values_are_read_as_floats() -> None:
    assert DuckBackend().read([1, True, 0.5, Loss(Weight(), 2.0, 0.0)]) == [1.0, 1.0, 0.5, 2.0]


def test_what_was_captured_is_put_back_where_it_was() -> None:
    model = Line(slope=2.0)
    first, second = Sgd(model.weight), Sgd(model.weight, lr=0.5)
    first.speed, second.speed = 3.0, 4.0
    backend = DuckBackend()
    backend.setup(model, [first, second])

    state = backend.capture()
    model.weight.value = first.speed = second.speed = 0.0
    backend.restore(state)

    assert (model.weight.value, first.speed, second.speed) == (2.0, 3.0, 4.0)
    assert state == {
        "program": {"slope": 2.0},
        "optimizers": [{"speed": 3.0, "lr": 0.02}, {"speed": 4.0, "lr": 0.5}],
    }


def test_what_has_no_state_is_captured_and_put_back_as_nothing() -> None:
    backend = DuckBackend()
    backend.setup(object(), [object()])

    assert backend.capture() == {"program": None, "optimizers": [None]}
    backend.restore(backend.capture())


# World


def test_one_process_talks_to_itself() -> None:
    world, obj = OneProcess(), object()

    assert (world.rank, world.world_size, world.local_rank) == (0, 1, 0)
    assert world.launch(lambda: obj) is obj
    assert world.broadcast(obj) is obj
    assert world.gather(obj) == [obj]
    assert world.reduce((1.0, 2.0), "mean") == [1.0, 2.0]
    world.barrier()


# Feed


class Dataset:
    """Has items and a length, and can't be iterated."""

    def __getitem__(self, index: int) -> int:
        raise NotImplementedError

    def __len__(self) -> int:
        return 3


@pytest.mark.parametrize(
    ("loader", "message"),
    [
        (Stream, r"an object\. Received the class Stream\. Make an instance: Stream\(\.\.\.\)\."),
        (Dataset(), r"yield batches\. Received Dataset, which looks like a dataset: .* DataLoader"),
        (3, r"an iterable of batches\. Received 3\. Pass a DataLoader or a list of batches\."),
        ("data", r"an iterable of batches\. Received 'data'\. Pass a DataLoader or a list of"),
        (b"data", r"an iterable of batches\. Received b'data'\."),
    ],
)
def test_what_yields_no_batches_is_refused(loader: Any, message: str) -> None:
    with pytest.raises(TypeError, match=rf"^A validate loader must (be )?{message}"):
        IterableFeed().open(loader, phase="validate", world=OneProcess())


def test_data_are_not_shared_with_other_ranks_in_secret() -> None:
    class Two(OneProcess):
        world_size = 2

    message = r"among processes needs a feed that can\. Received world_size=2\. Pass a Trainer\("
    with pytest.raises(ValueError, match=message):
        IterableFeed().open([1], phase="train", world=Two())


def opened(loader: Any) -> Any:
    return IterableFeed().open(loader, phase="train", world=OneProcess())


@pytest.mark.parametrize(
    ("loader", "length", "once"),
    [
        ([1, 2, 3], 3, False),
        ([], 0, False),
        (Stream([1, 2, 3]), None, False),
        (range(3), 3, False),
        (iter([1, 2, 3]), None, True),
        ((n for n in [1, 2, 3]), None, True),
    ],
)
def test_it_is_known_how_long_a_loader_is_and_how_often_it_can_be_read(
    loader: Any, length: int | None, once: bool
) -> None:
    stream = opened(loader)

    assert (stream.length, stream.once) == (length, once)


def test_opening_reads_nothing() -> None:
    class Untouched:
        def __iter__(self) -> Iterator[Any]:
            raise AssertionError("asked for batches")

    opened(Untouched()).epoch(0)


def test_each_epoch_is_read_from_its_start() -> None:
    stream = opened([1, 2, 3])

    assert [list(stream.epoch(index)) for index in (0, 1, 5)] == [[1, 2, 3]] * 3


def test_the_position_is_that_of_the_batches_handed_out() -> None:
    stream = opened([1, 2, 3])
    assert stream.state_dict() == {"epoch": 0, "batch": 0}
    positions = [stream.state_dict() for _ in stream.epoch(4)]

    assert positions == [{"epoch": 4, "batch": n} for n in (1, 2, 3)]


@pytest.mark.parametrize("batch", [0, 1, 3])
def test_a_restored_position_holds_for_its_epoch_and_no_other(batch: int) -> None:
    stream = opened([1, 2, 3])
    stream.load_state_dict({"epoch": 1, "batch": batch})

    assert stream.state_dict() == {"epoch": 1, "batch": batch}
    assert list(stream.epoch(1)) == [1, 2, 3][batch:]
    assert list(stream.epoch(1)) == list(stream.epoch(2)) == [1, 2, 3]


def test_a_position_in_another_epoch_skips_nothing() -> None:
    stream = opened([1, 2, 3])
    stream.load_state_dict({"epoch": 0, "batch": 3})

    assert list(stream.epoch(1)) == [1, 2, 3]


def test_closing_leaves_the_loader_to_its_owner(tmp_path: Any) -> None:
    path = tmp_path / "batches"
    path.write_text("a\nb\n")
    with path.open() as file:
        stream = CountedIterable(file)
        stream.close()

        assert not file.closed


# Store


@pytest.mark.parametrize(
    ("ask", "request_made"),
    [
        (lambda store: store.save({"a": 1}, "best"), r"saving 'best' \(1 entries, metrics None\)"),
        (lambda store: store.load("best"), "loading 'best'"),
        (lambda store: store.remove("best"), "removing 'best'"),
    ],
    ids=["save", "load", "remove"],
)
def test_without_a_store_nothing_is_kept_and_the_request_is_named(
    ask: Callable[[NoStore], None], request_made: str
) -> None:
    message = (
        r"^Checkpoints need a store, and this run has none\. Received a request for "
        rf"{request_made}\. Install lt-checkpoint, pass Trainer\(store=\.\.\.\), or a state from "
    )
    with pytest.raises(LookupError, match=message):
        ask(NoStore())


def test_without_a_store_there_are_no_states() -> None:
    assert NoStore().list() == []


def test_a_length_that_can_not_be_told_is_none() -> None:
    class Untold(list[int]):
        def __len__(self) -> int:
            raise TypeError("object of type 'Stream' has no len()")  # as a DataLoader does

    stream = IterableFeed().open(Untold([1]), phase="train", world=OneProcess())
    assert (stream.length, list(stream.epoch(0))) == (None, [1])
