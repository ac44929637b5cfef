"""The kits of lt-loop notice broken implementations: those that are shipped, each with one fault.

The kits' own tests break plain implementations, and see that each fails the tests it should and no
others. Here the defaults of lt-loop and the real implementations are broken.
"""

import contextlib
import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from lt_accel import TorchBackend, isolate_rng, select
from lt_checkpoint import FolderStore
from lt_data import TorchFeed
from lt_loop.conformance import (
    BackendConformance,
    FeedConformance,
    StoreConformance,
    WorldConformance,
)
from lt_loop.solo import DuckBackend, IterableFeed, OneProcess


class Over:
    """What is right, but for what a subclass defines."""

    def __init__(self, right: Any) -> None:
        self.right = right

    def __getattr__(self, name: str) -> Any:
        return getattr(self.right, name)


class Fault(NamedTuple):
    broken: Callable[[Any], Any]
    check: str
    of: tuple[str, ...]

    def __str__(self) -> str:
        return getattr(self.broken, "__name__", "fault")


def table() -> tuple[list[Fault], Callable[..., Callable[[Any], Any]]]:
    """Return an empty table, and what enters a class of :class:`Over` into it."""
    faults: list[Fault] = []

    def noticed_by(*checks: str, of: tuple[str, ...] = ()) -> Callable[[Any], Any]:
        def enter(broken: Any) -> Any:
            faults.extend(Fault(broken, check, of) for check in checks)
            return broken

        return enter

    return faults, noticed_by


def assert_noticed(kit: type, fault: Fault) -> None:
    """See that a check passes what the kit makes, wrapped without a fault, and fails the fault."""

    def check(around: Callable[[Any], Any]) -> None:
        class Around(kit):  # type: ignore[misc, valid-type]
            def make(self) -> Any:
                return around(super().make())

            def reopened(self, store: Any) -> Any:
                return around(super().reopened(store))

        getattr(Around(), f"test_{fault.check}")()

    check(Over)
    with pytest.raises(AssertionError):
        check(fault.broken)


def pairs(faults: list[Fault], kits: dict[str, type]) -> Any:
    """Every fault with each kit that it is of, as parameters of a test."""
    return pytest.mark.parametrize(
        ("fault", "kit"),
        [
            pytest.param(fault, kit, id=f"{fault}-{fault.check}-{name}")
            for fault in faults
            for name, kit in kits.items()
            if name in (fault.of or kits)
        ],
    )


# Backends


class Network(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        with isolate_rng():
            torch.manual_seed(0)
            self.layers = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 1))

    def training_step(self, batch: Any, batch_idx: int) -> dict[str, Any]:
        x, y = batch
        return {"loss": nn.functional.mse_loss(self.layers(x), y)}

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.05, momentum=0.9)


class TorchKit(BackendConformance):
    draws = (random.random, np.random.random, lambda: torch.rand(()).item())
    program = staticmethod(Network)

    def make(self) -> Any:
        return TorchBackend()

    def batch(self, index: int) -> Any:
        generator = torch.Generator().manual_seed(index)
        return torch.randn(5, 3, generator=generator), torch.randn(5, 1, generator=generator)


class DuckKit(TorchKit):
    """The default of lt-loop, over the same program."""

    draws = ()

    def make(self) -> Any:
        return DuckBackend()

    def number(self, loss: Any) -> Any:
        return loss.detach()


BACKENDS: dict[str, type] = {"duck": DuckKit, "torch": TorchKit}
TORCH = ("torch",)  # what the default does not do at all can't be broken

backend_faults, breaks_backend = table()
LOSSES, GRADIENTS, STEPS = (
    f"{what}_are_those_of_a_loop_by_hand" for what in ("losses", "gradients", "steps")
)


@breaks_backend(LOSSES, GRADIENTS)
class ZeroesTheWeights(Over):
    def setup(self, program: Any, optimizers: Any) -> Any:
        returned = self.right.setup(program, optimizers)
        if not optimizers:
            with torch.no_grad():
                for parameter in program.parameters():
                    parameter.zero_()
        return returned


@breaks_backend("setup_leaves_the_order_of_optimizers")
class ReturnsOptimizersBackwards(Over):
    def setup(self, program: Any, optimizers: Any) -> Any:
        return list(self.right.setup(program, optimizers))[::-1]


@breaks_backend(LOSSES, GRADIENTS)
class ZeroesTheBatch(Over):
    def place(self, batch: Any) -> Any:
        return tuple(torch.zeros_like(part) for part in self.right.place(batch))


@breaks_backend(LOSSES, GRADIENTS)
class ZeroesTheTargets(Over):
    def place(self, batch: Any) -> Any:
        x, y = self.right.place(batch)
        return x, torch.zeros_like(y)


@breaks_backend(GRADIENTS)
class HalvesTheGradients(Over):
    def backward(self, loss: Any, *, sync: bool) -> None:
        self.right.backward(loss / 2, sync=sync)


@breaks_backend(GRADIENTS)
class NegatesTheGradients(Over):
    def backward(self, loss: Any, *, sync: bool) -> None:
        self.right.backward(-loss, sync=sync)


@breaks_backend("gradients_add_up_over_a_window")
class HalvesTheGradientsWithinAWindow(Over):
    def backward(self, loss: Any, *, sync: bool) -> None:
        self.right.backward(loss if sync else loss / 2, sync=sync)


@breaks_backend(STEPS)
class StepsTwice(Over):
    def step(self, optimizer: Any, closure: Any) -> Any:
        self.right.step(optimizer, closure)
        return self.right.step(optimizer, None)


@breaks_backend("a_step_changes_the_program_and_says_so", STEPS)
class NeverSteps(Over):
    def step(self, optimizer: Any, closure: Any) -> Any:
        return True


@breaks_backend("zero_grad_drops_what_is_there", STEPS)
class KeepsGradients(Over):
    def zero_grad(self, optimizer: Any) -> None:
        pass


class OverPrefetch(Over):
    def order(self, batches: list[Any]) -> Any:
        return batches

    def prefetch(self, batches: Any) -> Any:
        return iter(self.order(list(self.right.prefetch(batches))))


prefetching = breaks_backend("what_is_prefetched_is_every_batch_in_order", of=TORCH)


@prefetching
class DropsTheLastBatch(OverPrefetch):
    def order(self, batches: list[Any]) -> Any:
        return batches[:-1]


@prefetching
class DropsTheFirstBatch(OverPrefetch):
    def order(self, batches: list[Any]) -> Any:
        return batches[1:]


@prefetching
class SwapsBatches(OverPrefetch):
    def order(self, batches: list[Any]) -> Any:
        return [*batches[1::-1], *batches[2:]]


@prefetching
class RepeatsTheLastBatch(OverPrefetch):
    def order(self, batches: list[Any]) -> Any:
        return batches + batches[-1:]


@prefetching
class PutsOneBatchInThePlaceOfAll(OverPrefetch):
    def order(self, batches: list[Any]) -> Any:
        return batches[-1:] * len(batches)


@breaks_backend("weights_of_another_process_are_adopted", of=TORCH)
class AdoptsNothing(Over):
    def adopt(self, program: Any, weights: Any) -> None:
        pass


@breaks_backend("weights_of_another_process_are_adopted", of=TORCH)
class AdoptsTheFirstWeightAlone(Over):
    def adopt(self, program: Any, weights: Any) -> None:
        self.right.adopt(program, {**program.state_dict(), **dict(list(weights.items())[:1])})


@breaks_backend("clipping_by_norm_keeps_the_direction", of=TORCH)
class TellsAnotherNorm(Over):
    def clip(self, optimizer: Any, value: Any, algorithm: str) -> Any:
        norm = self.right.clip(optimizer, value, algorithm)
        return None if norm is None else norm**2


@breaks_backend("clipping_by_norm_keeps_the_direction", of=TORCH)
class ClipsEachParameterByItsNorm(Over):
    def clip(self, optimizer: Any, value: Any, algorithm: str) -> Any:
        if value is None or algorithm == "value":
            return self.right.clip(optimizer, value, algorithm)
        norm = self.right.clip(optimizer, 1e9, algorithm)
        for group in optimizer.param_groups:
            for parameter in group["params"]:
                nn.utils.clip_grad_norm_([parameter], value)
        return norm


@breaks_backend("clipping_by_norm_keeps_the_direction", of=TORCH)
class ClipsToHalf(Over):
    def clip(self, optimizer: Any, value: Any, algorithm: str) -> Any:
        return self.right.clip(optimizer, value and value / 2, algorithm)


@breaks_backend("clipping_by_value_cuts_each_number", of=TORCH)
class ClipsByNormWhateverIsAsked(Over):
    def clip(self, optimizer: Any, value: Any, algorithm: str) -> Any:
        return self.right.clip(optimizer, value, "norm")


@breaks_backend("what_was_logged_is_read_in_order")
class ReadsBackwards(Over):
    def read(self, values: Any) -> Any:
        return self.right.read(values)[::-1]


@breaks_backend("what_was_logged_is_read_in_order")
class ReadsSorted(Over):
    def read(self, values: Any) -> Any:
        return sorted(self.right.read(values))


@breaks_backend("what_was_logged_is_read_in_order")
class ReadsTensorsFirst(Over):
    def read(self, values: Any) -> Any:
        numbers = [value for value in values if not isinstance(value, torch.Tensor)]
        tensors = [value for value in values if isinstance(value, torch.Tensor)]
        return self.right.read([*tensors, *numbers])


@breaks_backend("another_process_goes_on_to_the_same_bits")
class CapturesTheOptimizerAnew(Over):
    def capture(self, *, copy: bool = True) -> Any:
        state = self.right.capture(copy=copy)
        new = [{**optimizer, "state": {}} for optimizer in state["optimizers"]]
        return {**state, "optimizers": new}


@breaks_backend("a_snapshot_has_the_parts_the_engine_looks_for")
class CapturesNoOptimizer(Over):
    def capture(self, *, copy: bool = True) -> Any:
        return {**self.right.capture(copy=copy), "optimizers": []}


@breaks_backend("a_snapshot_is_not_changed_by_later_steps")
class HandsOutLiveReferences(Over):
    def capture(self, *, copy: bool = True) -> Any:
        return self.right.capture(copy=False)


@breaks_backend("another_process_goes_on_to_the_same_bits", "weights_can_be_restored_alone")
class RestoresNoWeights(Over):
    def restore(self, state: Any) -> None:
        self.right.restore({**state, "program": self.right.capture()["program"]})


@breaks_backend("another_process_goes_on_to_the_same_bits")
class RestoresNoOptimizer(Over):
    def restore(self, state: Any) -> None:
        self.right.restore({**state, "optimizers": []})


@breaks_backend("random_generators_go_on_where_they_stood", of=TORCH)
class RestoresNoGenerators(Over):
    def restore(self, state: Any) -> None:
        self.right.restore({name: part for name, part in state.items() if name != "rng"})


@breaks_backend("random_generators_go_on_where_they_stood", of=TORCH)
class RestoresOneGeneratorOfThree(Over):
    def restore(self, state: Any) -> None:
        python, numpy = random.getstate(), np.random.get_state()
        self.right.restore(state)
        random.setstate(python)
        np.random.set_state(numpy)


class OverPhases(Over):
    phases: tuple[str, ...] = ()

    def wrap_step(self, fn: Any, phase: str) -> Any:
        wrapped = self.right.wrap_step(fn, phase)
        return self.around(fn, wrapped) if phase in self.phases else wrapped

    def around(self, fn: Any, wrapped: Any) -> Any:
        raise NotImplementedError


@breaks_backend("an_evaluation_tracks_no_gradients", of=TORCH)
class EvaluatesWithGradients(OverPhases):
    phases = ("evaluate", "evaluate_in_fit")

    def around(self, fn: Any, wrapped: Any) -> Any:
        return fn


def swallowing(phase: str) -> Any:
    """A backend whose steps of one phase return nothing."""

    class Swallows(OverPhases):
        phases = (phase,)

        def around(self, fn: Any, wrapped: Any) -> Any:
            return lambda *arguments, **words: wrapped(*arguments, **words) and None

    Swallows.__name__ = f"SwallowsWhatIsReturned[{phase}]"
    return Swallows


HANDS_ON = "a_wrapped_step_gets_its_arguments_and_hands_on_what_it_returns"
for evaluating in ("validate", "test", "predict"):
    breaks_backend(HANDS_ON)(swallowing(evaluating))
breaks_backend("a_sanity_check_leaves_the_random_generators_as_they_were")(
    swallowing("sanity_check")
)


def returning_the_loss_alone(phase: str) -> Any:
    """A backend that loses what a training step returns beside its loss."""

    class LosesTheRest(OverPhases):
        phases = (phase,)

        def around(self, fn: Any, wrapped: Any) -> Any:
            return lambda *arguments: {"loss": wrapped(*arguments)["loss"]}

    LosesTheRest.__name__ = f"LosesTheRest[{phase}]"
    return LosesTheRest


for training in ("train", "accumulate"):
    breaks_backend("what_a_training_step_returns_beside_the_loss_is_handed_on")(
        returning_the_loss_alone(training)
    )


@breaks_backend("an_evaluation_stays_a_generator")
class SwallowsWhatAnEvaluationReturns(OverPhases):
    phases = ("evaluate",)

    def around(self, fn: Any, wrapped: Any) -> Any:
        def loop(*arguments: Any, **words: Any) -> Any:
            yield from wrapped(*arguments, **words)

        return loop


@breaks_backend(HANDS_ON)
class SwallowsArgumentsByName(OverPhases):
    phases = ("validate", "test", "predict")

    def around(self, fn: Any, wrapped: Any) -> Any:
        return lambda *arguments, **_words: wrapped(*arguments)


@pairs(backend_faults, BACKENDS)
def test_a_broken_backend_is_noticed(fault: Fault, kit: type) -> None:
    assert_noticed(kit, fault)


# Worlds


class OneProcessKit(WorldConformance):
    def make(self) -> Any:
        return OneProcess()


class TwoProcessesKit(WorldConformance):
    def make(self) -> Any:
        return select(accelerator="cpu", devices=2, strategy="ddp").world


WORLDS: dict[str, type] = {"one": OneProcessKit, "two": TwoProcessesKit}
TWO = ("two",)  # of one process there is nothing to be mistaken in

world_faults, breaks_world = table()

OTHER = {"mean": "sum", "sum": "mean", "min": "max", "max": "min"}


def mistaking(op: str) -> Any:
    class Reduces(Over):
        def reduce(self, values: Any, asked: Any) -> Any:
            return self.right.reduce(values, OTHER[asked] if asked == op else asked)

    Reduces.__name__ = f"TakesAnotherFor[{op}]"
    return Reduces


for operation in OTHER:
    breaks_world("reduce_combines_each_value_over_the_ranks", of=TWO)(mistaking(operation))


@breaks_world("reduce_combines_each_value_over_the_ranks")
class ReducesBackwards(Over):
    def reduce(self, values: Any, op: Any) -> Any:
        return self.right.reduce(values, op)[::-1]


@breaks_world("reduce_keeps_double_precision")
class ReducesInSinglePrecision(Over):
    def reduce(self, values: Any, op: Any) -> Any:
        return torch.tensor(self.right.reduce(values, op)).tolist()


@breaks_world("broadcast_hands_out_what_one_rank_has", of=TWO)
class BroadcastsFromTheLast(Over):
    def broadcast(self, obj: Any, src: int = 0) -> Any:
        return self.right.broadcast(obj, self.right.world_size - 1)


@breaks_world("broadcast_hands_out_what_one_rank_has", of=TWO)
class BroadcastsNothing(Over):
    def broadcast(self, obj: Any, src: int = 0) -> Any:
        return obj


@breaks_world("gather_returns_all_in_the_order_of_ranks", of=TWO)
class GathersBackwards(Over):
    def gather(self, obj: Any) -> Any:
        return self.right.gather(obj)[::-1]


@breaks_world("gather_returns_all_in_the_order_of_ranks")
class GathersNothing(Over):
    def gather(self, obj: Any) -> Any:
        return []


@breaks_world("ranks_agree_on_the_greatest_code", of=TWO)
class AgreesWithItself(Over):
    def agree(self, code: int) -> int:
        return code


@breaks_world("ranks_agree_on_the_greatest_code", of=TWO)
class AgreesOnTheLeast(Over):
    def agree(self, code: int) -> int:
        return min(self.right.gather(code))


@breaks_world("ranks_agree_on_the_greatest_code")
class NeverAgrees(Over):
    def agree(self, code: int) -> int:
        return 0


@breaks_world("barrier_waits_for_every_rank", of=TWO)
class WaitsForNobody(Over):
    def barrier(self) -> None:
        pass


@breaks_world("launch_runs_everywhere_and_returns_the_result")
class ReturnsNothing(Over):
    def launch(self, main: Any) -> Any:
        self.right.launch(main)
        return {"rank": None, "text": None}


@breaks_world("what_every_rank_raises_is_raised_here", "a_rank_that_exits_is_no_success")
class SwallowsExceptions(Over):
    def launch(self, main: Any) -> Any:
        with contextlib.suppress(BaseException):
            return self.right.launch(main)


@pytest.mark.slow
@pairs(world_faults, WORLDS)
def test_a_broken_world_is_noticed(fault: Fault, kit: type) -> None:
    assert_noticed(kit, fault)


# Feeds


class ListsKit(FeedConformance):
    def make(self) -> Any:
        return TorchFeed()


class LoadersKit(ListsKit):
    def loader(self) -> Any:
        rows = TensorDataset(torch.arange(13.0))
        generator = torch.Generator().manual_seed(1)
        return DataLoader(rows, batch_size=2, shuffle=True, generator=generator)

    def samples(self, batch: Any) -> list[Any]:
        return torch.cat(list(batch)).tolist() if isinstance(batch, list) else batch.tolist()


class IterableKit(FeedConformance):
    def make(self) -> Any:
        return IterableFeed()


FEEDS: dict[str, type] = {"iterable": IterableKit, "lists": ListsKit, "loaders": LoadersKit}
SHARING = ("lists", "loaders")  # the default reads for one process

feed_faults, breaks_feed = table()


class OverStreams(Over):
    """A feed whose streams have a fault, where there are several ranks or wherever it says."""

    stream: type
    within = staticmethod(lambda phase, world: True)

    def open(self, loader: Any, *, phase: Any, world: Any) -> Any:
        stream = self.right.open(loader, phase=phase, world=world)
        return self.stream(stream) if self.within(phase, world) else stream


def among_ranks(phase: str, world: Any) -> bool:
    return bool(world.world_size > 1)


def beyond_the_first_rank(phase: str, world: Any) -> bool:
    return bool(world.rank > 0)


def anywhere(phase: str, world: Any) -> bool:
    return True


def streams(*checks: str, within: Any = anywhere, of: tuple[str, ...] = ()) -> Any:
    """Enter a feed with such streams into the table."""

    def enter(stream: Any) -> Any:
        parts = {"stream": stream, "within": staticmethod(within)}
        breaks_feed(*checks, of=of)(
            type(f"{stream.__name__}[{within.__name__}]", (OverStreams,), parts)
        )
        return stream

    return enter


class Shorter(Over):
    """Without its first batch."""

    def epoch(self, index: int) -> Iterator[Any]:
        batches = self.right.epoch(index)
        next(batches)
        yield from batches

    @property
    def length(self) -> Any:
        return self.right.length and self.right.length - 1


streams("an_epoch_has_every_sample_once")(Shorter)
streams("ranks_share_an_evaluation", within=among_ranks, of=SHARING)(Shorter)
streams("ranks_share_an_evaluation", within=beyond_the_first_rank, of=SHARING)(Shorter)
streams("ranks_share_the_training", within=beyond_the_first_rank, of=SHARING)(Shorter)


class Longer(Over):
    """With its last batch twice."""

    def epoch(self, index: int) -> Iterator[Any]:
        for batch in self.right.epoch(index):
            last = batch
            yield batch
        yield last

    @property
    def length(self) -> Any:
        return self.right.length and self.right.length + 1


streams("an_epoch_has_every_sample_once")(Longer)
streams("ranks_share_an_evaluation", within=among_ranks, of=SHARING)(Longer)
streams("ranks_share_the_training", within=beyond_the_first_rank, of=SHARING)(Longer)


class ShorterAfterTheFirstEpoch(Over):
    """Without a batch, from the second epoch on."""

    def epoch(self, index: int) -> Iterator[Any]:
        batches = self.right.epoch(index)
        if index:
            next(batches)
        yield from batches


streams("an_epoch_has_every_sample_once")(ShorterAfterTheFirstEpoch)
streams("ranks_share_an_evaluation", within=among_ranks, of=SHARING)(ShorterAfterTheFirstEpoch)
streams("ranks_share_the_training", within=beyond_the_first_rank, of=SHARING)(
    ShorterAfterTheFirstEpoch
)


class CountsOneMore(Over):
    @property
    def length(self) -> Any:
        return self.right.length and self.right.length + 1


streams("length_is_that_of_an_epoch")(CountsOneMore)
streams("ranks_share_an_evaluation", within=among_ranks, of=SHARING)(CountsOneMore)
streams("ranks_share_the_training", within=beyond_the_first_rank, of=SHARING)(CountsOneMore)


class KnowsNoLast(Over):
    is_last = False


class TakesEachForTheLast(Over):
    is_last = True


class KnowsTheLastTooEarly(Over):
    @property
    def is_last(self) -> Any:
        return (
            self.right.is_last or self.right.state_dict()["batch"] == (self.right.length or 9) - 1
        )


for knowing in (KnowsNoLast, TakesEachForTheLast, KnowsTheLastTooEarly):
    streams("the_last_batch_is_known_as_the_last")(knowing)
    streams("ranks_share_an_evaluation", within=among_ranks, of=SHARING)(knowing)
    streams("ranks_share_the_training", within=beyond_the_first_rank, of=SHARING)(knowing)


class RepeatsABatch(Over):
    """Where it goes on from a position."""

    def epoch(self, index: int) -> Iterator[Any]:
        batches = self.right.epoch(index)
        if vars(self).pop("restored", False):
            first = next(batches)
            yield first
            yield first
        yield from batches

    def load_state_dict(self, state: Any) -> None:
        self.right.load_state_dict(state)
        self.restored = True


class SkipsABatch(RepeatsABatch):
    def epoch(self, index: int) -> Iterator[Any]:
        batches = self.right.epoch(index)
        if vars(self).pop("restored", False):
            next(batches)
        yield from batches


class GoesOnFromTheStart(Over):
    def load_state_dict(self, state: Any) -> None:
        pass


for going_on in (RepeatsABatch, SkipsABatch, GoesOnFromTheStart):
    streams("a_position_within_an_epoch_is_gone_on_from")(going_on)
    streams("ranks_go_on_from_the_position_of_rank_0", within=among_ranks, of=SHARING)(going_on)
    streams("ranks_go_on_from_the_position_of_rank_0", within=beyond_the_first_rank, of=SHARING)(
        going_on
    )


@streams("the_position_counts_what_was_handed_out")
class CountsFromOne(Over):
    def state_dict(self) -> Any:
        state = self.right.state_dict()
        return {**state, "batch": state["batch"] + 1}


@pairs(feed_faults, FEEDS)
def test_a_broken_feed_is_noticed(fault: Fault, kit: type) -> None:
    assert_noticed(kit, fault)


# Stores


@pytest.fixture
def folders(tmp_path: Path) -> type:
    """The kit of a store whose states are folders in a new folder each."""

    class Kit(StoreConformance):
        made = 0

        def make(self) -> Any:
            self.made += 1
            self.root = tmp_path / f"{id(self)}-{self.made}"
            return FolderStore(self.root)

        def reopened(self, store: Any) -> Any:
            return FolderStore(self.root)

    return Kit


store_faults, breaks_store = table()


@breaks_store("a_save_that_fails_leaves_nothing")
class ListsWhatIsTorn(Over):
    """Takes the name before there is a whole state."""

    def save(self, state: Any, name: str, **more: Any) -> None:
        torn = Path(self.right.root) / "torn"
        torn.mkdir(parents=True, exist_ok=True)
        (torn / name).touch()
        self.right.save(state, name, **more)
        (torn / name).unlink()

    def list(self) -> Any:
        torn = Path(self.right.root) / "torn"
        return [*self.right.list(), *sorted(path.name for path in torn.glob("*"))]


@breaks_store("a_save_that_fails_leaves_nothing")
class RemovesTheOldBeforeTheNew(Over):
    def save(self, state: Any, name: str, **more: Any) -> None:
        if name in self.right.list():
            self.right.remove(name)
        self.right.save(state, name, **more)


@breaks_store("a_save_that_fails_leaves_nothing")
class LeavesOutWhatItCannotSave(Over):
    def save(self, state: Any, name: str, **more: Any) -> None:
        try:
            self.right.save(state, name, **more)
        except Exception:
            self.right.save({**state, "extra": None}, name, **more)


@breaks_store("a_removed_state_is_gone")
class RemovesNothing(Over):
    def remove(self, name: str) -> None:
        pass


@breaks_store("a_removed_state_is_gone")
class RemovesAll(Over):
    def remove(self, name: str) -> None:
        for one in self.right.list():
            self.right.remove(one)


@breaks_store("names_are_listed_oldest_first", "a_removed_state_is_gone")
class LoadsTheNewest(Over):
    def load(self, name: str, **more: Any) -> Any:
        return self.right.load(list(self.right.list())[-1], **more)


@breaks_store("an_unknown_name_is_a_lookup_error")
class LoadsTheNewestForAnUnknownName(Over):
    def load(self, name: str, **more: Any) -> Any:
        names = list(self.right.list())
        return self.right.load(name if name in names else names[-1], **more)


@breaks_store("names_are_listed_oldest_first")
class ListsByName(Over):
    def list(self) -> Any:
        return sorted(self.right.list())


@breaks_store("names_are_listed_oldest_first")
class ListsNewestFirst(Over):
    def list(self) -> Any:
        return list(self.right.list())[::-1]


@breaks_store("saving_again_replaces")
class KeepsTheFirst(Over):
    def save(self, state: Any, name: str, **more: Any) -> None:
        if name not in self.right.list():
            self.right.save(state, name, **more)


@breaks_store("each_rank_gets_back_what_belongs_to_it")
class ForgetsTheRanks(Over):
    def load(self, name: str, *, world: Any = None) -> Any:
        return self.right.load(name)


@pytest.mark.parametrize("fault", store_faults, ids=lambda fault: f"{fault}-{fault.check}")
def test_a_broken_store_is_noticed(fault: Fault, folders: type) -> None:
    assert_noticed(folders, fault)
