"""The kit of the port Store passes what keeps every promise, and fails what breaks one."""

import copy
import json
import math
from typing import Any

import pytest
from broken import Broken, Shelf, failing

from lt_loop.conformance import StoreConformance, promises
from lt_loop.solo import NoStore, OneProcess


class PlainStore:
    """Keeps states in memory. Those of several ranks are put together on rank 0."""

    def __init__(self) -> None:
        self.states: dict[str, list[Any]] = {}  # what each rank saved, in the order of saving

    def save(self, state: Any, name: str, *, metrics: Any = None, world: Any = None) -> None:
        states = (world or OneProcess()).gather(copy.deepcopy(state))
        if (world or OneProcess()).rank == 0:
            self.states.pop(name, None)
            self.states[name] = states
        (world or OneProcess()).barrier()

    def load(self, name: str, *, world: Any = None) -> Any:
        if name not in self.states:
            raise KeyError(name)
        states = self.states[name]
        loaded = copy.deepcopy(states[0])
        rank = world.rank if world else 0
        for *path, last in loaded["per_rank"]:
            theirs, target = states[rank], loaded
            for key in path:
                theirs, target = theirs[key], target[key]
            target[last] = copy.deepcopy(theirs[last])
        return loaded

    def list(self) -> Any:
        return list(self.states)

    def remove(self, name: str) -> None:
        del self.states[name]


class PlainKit(StoreConformance):
    def make(self) -> Any:
        return PlainStore()


class TestPlain(PlainKit):
    """All of it."""


def test_the_default_is_no_store() -> None:
    """It keeps nothing, and says so: the kit is for stores."""
    store = NoStore()
    assert store.list() == []
    for refused in (
        lambda: store.save({}, "a"),
        lambda: store.load("a"),
        lambda: store.remove("a"),
    ):
        with pytest.raises(LookupError, match="Checkpoints need a store"):
            refused()


shelf = Shelf()


@shelf.breaks("a_state_comes_back_as_it_was")
class WritesJson(PlainStore):
    def save(self, state: Any, name: str, **more: Any) -> None:
        extra = state.get("extra")
        kept = {**state, "extra": json.loads(json.dumps(extra))} if extra else state
        super().save(kept, name, **more)


@shelf.breaks("a_state_comes_back_as_it_was")
class DropsWhatIsNoNumber(PlainStore):
    def load(self, name: str, **more: Any) -> Any:
        loaded = super().load(name, **more)
        if "extra" in loaded:
            loaded["extra"]["no numbers"] = [0.0 if math.isnan(n) else n for n in (math.nan, 1.0)]
        return loaded


@shelf.breaks("saving_leaves_the_state_alone")
class StampsWhatItSaves(PlainStore):
    def save(self, state: Any, name: str, **more: Any) -> None:
        super().save(state, name, **more)
        state["saved_as"] = name


@shelf.breaks("what_was_saved_is_not_changed_later")
class SharesWhatItLoads(PlainStore):
    def load(self, name: str, *, world: Any = None) -> Any:
        if world is None and name in self.states:
            return self.states[name][0]
        return super().load(name, world=world)


@shelf.breaks("an_unknown_name_is_a_lookup_error", "a_save_that_fails_leaves_nothing")
class LoadsTheNewestForAnUnknownName(PlainStore):
    removed = False

    def remove(self, name: str) -> None:
        super().remove(name)
        self.removed = True

    def load(self, name: str, *, world: Any = None) -> Any:
        known = name in self.states or self.removed or not self.states
        return super().load(name if known else list(self.states)[-1], world=world)


@shelf.breaks(
    "an_unknown_name_is_a_lookup_error",
    "a_save_that_fails_leaves_nothing",
    "a_removed_state_is_gone",
)
class RaisesAnotherError(PlainStore):
    def load(self, name: str, *, world: Any = None) -> Any:
        if name not in self.states:
            raise FileNotFoundError(name)
        return super().load(name, world=world)


@shelf.breaks("names_are_listed_oldest_first")
class ListsByName(PlainStore):
    def list(self) -> Any:
        return sorted(super().list())


@shelf.breaks("names_are_listed_oldest_first")
class ListsNewestFirst(PlainStore):
    def list(self) -> Any:
        return super().list()[::-1]


@shelf.breaks("saving_again_replaces", "a_save_that_fails_leaves_nothing")
class KeepsTheFirst(PlainStore):
    def save(self, state: Any, name: str, **more: Any) -> None:
        if name not in self.states:
            super().save(state, name, **more)


@shelf.breaks("a_save_that_fails_leaves_nothing")
class ListsWhatIsTorn(PlainStore):
    torn: Any = ()

    def save(self, state: Any, name: str, **more: Any) -> None:
        before, self.torn = self.torn, (*self.torn, name)
        super().save(state, name, **more)
        self.torn = before

    def list(self) -> Any:
        return [*super().list(), *(name for name in self.torn if name not in self.states)]


@shelf.breaks("a_save_that_fails_leaves_nothing")
class RemovesTheOldBeforeTheNew(PlainStore):
    def save(self, state: Any, name: str, **more: Any) -> None:
        if "extra" in state:
            self.states.pop(name, None)
        super().save(state, name, **more)


@shelf.breaks("a_removed_state_is_gone")
class RemovesFromTheListAlone(PlainStore):
    hidden: Any = ()

    def remove(self, name: str) -> None:
        self.hidden = (*self.hidden, name)

    def list(self) -> Any:
        return [name for name in super().list() if name not in self.hidden]


@shelf.breaks("metrics_may_come_along")
class WantsFiniteMetrics(PlainStore):
    def save(self, state: Any, name: str, *, metrics: Any = None, world: Any = None) -> None:
        if not all(map(math.isfinite, (metrics or {}).values())):
            raise ValueError("A metric is not finite.")
        super().save(state, name, world=world)


@shelf.breaks("a_world_of_one_is_no_other_case")
class KeepsApartWhatAWorldSaved(PlainStore):
    def load(self, name: str, *, world: Any = None) -> Any:
        if world and world.world_size == 1:
            raise KeyError(name)
        return super().load(name, world=world)


@shelf.breaks("each_rank_gets_back_what_belongs_to_it")
class GivesEveryRankWhatRankZeroHad(PlainStore):
    def load(self, name: str, *, world: Any = None) -> Any:
        return super().load(name)


@pytest.mark.parametrize("broken", shelf.all, ids=lambda broken: broken.make.__name__)
def test_what_breaks_a_promise_fails_its_test(broken: Broken) -> None:
    found = failing(PlainKit, broken.make)
    assert set(found) == broken.fails, found


def test_what_lacks_a_method_is_no_store() -> None:
    assert "test_it_has_what_the_port_has" in failing(PlainKit, object)


def test_every_other_promise_can_be_broken() -> None:
    assert set(promises(StoreConformance)) == {
        "test_it_has_what_the_port_has",
        *shelf.broken_promises,
    }
