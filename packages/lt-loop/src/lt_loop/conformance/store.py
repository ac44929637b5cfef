"""The conformance kit of the port Store."""

import copy
import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from functools import partial
from typing import Any, NoReturn

from lt_loop.conformance.raising import raised_by
from lt_loop.conformance.ranks import in_ranks
from lt_loop.conformance.sameness import same
from lt_loop.ports import Store, World
from lt_loop.solo import OneProcess

PLAIN: dict[str, Any] = {
    "nothing": None,
    "yes": True,
    "no": False,
    "whole": [0, -1, 2**53 + 1, 2**80],
    "numbers": [0.1, -0.0, 1e-310, 1.7e308, math.pi],
    "no numbers": [math.inf, -math.inf, math.nan],
    "text": ["", "äß\n\0", "a/b.c", "{}"],
    "rows": [[], [1, [2, [3]]], [None, "a"]],
    "tuples": [(), (1, (2.0, "x")), (3, tuple(range(50)), None)],
    "by number": {0: {"step": 1}, 1: {}, -1: "last"},
    "empty": {},
    "a.b/c d": {"": {"deep": [{"er": 1}]}},
}
"""The plain data that states are made of: those of optimizers have whole numbers as keys, those of
random generators are tuples."""


class Unsavable:
    """A value that can be neither copied nor pickled nor written, whatever a store does."""

    def __reduce_ex__(self, protocol: Any) -> NoReturn:
        """Refuse.

        Raises:
            ValueError: always.
        """
        raise ValueError("This value can't be saved.")


class StoreConformance(ABC):
    """What the engine and callbacks rely on in a store.

    To fill in: :meth:`make`, and :meth:`reopened` where what is saved outlives the object. By
    :meth:`values`, say what the store keeps beside plain data.
    """

    @abstractmethod
    def make(self) -> Store:
        """Return a store with nothing in it."""

    def reopened(self, store: Store) -> Store:
        """Return a store of the same place, as a later process makes one."""
        return store

    def name(self, index: int) -> str:
        """Return a name to save under; another one for each index."""
        return f"epoch={index % 3}-step={index}.ckpt"

    def values(self) -> Mapping[str, Any]:
        """Return further values that the store keeps: tensors, dates, paths."""
        return {}

    def same(self, one: Any, other: Any) -> bool:
        """Return whether two states are alike; those of :meth:`values` may need another rule."""
        return same(one, other)

    def _state(self, step: int = 0, **more: Any) -> dict[str, Any]:
        """Return a state of the shape that the engine captures."""
        return {
            "format": 1,
            "epoch": step // 10,
            "global_step": step,
            "state_dict": {"layer.weight": [0.5 * step, -1.0], "layer.bias": [0.0]},
            "optimizer_states": [{"state": {0: {"step": step}}, "param_groups": [{"lr": 0.1}]}],
            "lr_schedulers": [],
            "callbacks": {},
            "hyper_parameters": {},
            "loops": {"progress": {"steps": step}},
            "backend": {"rng": {"python": (3, (1, 2, 3), None)}},
            "fingerprint": {},
            "per_rank": [["backend", "rng"]],
            **more,
        }

    def test_it_has_what_the_port_has(self) -> None:
        """A store has all methods of the port."""
        assert isinstance(self.make(), Store), (
            f"A store has the methods of lt_loop.ports.Store. Received {type(self.make())}."
        )

    def test_a_state_comes_back_as_it_was(self) -> None:
        """``load`` returns every value and its type as it was saved."""
        store, given = self.make(), {**PLAIN, **self.values()}
        store.save(self._state(extra=given), self.name(0))
        loaded = self.reopened(store).load(self.name(0))
        assert self.same(loaded["state_dict"], self._state()["state_dict"]), (
            f"Weights come back as they were. Received {loaded['state_dict']!r}."
        )
        for key, value in given.items():
            found = loaded["extra"].get(key, "nothing")
            assert self.same(found, value), (
                f"A value comes back as it was saved. Received {found!r} for {key!r}: {value!r}."
            )
        assert loaded.keys() >= self._state().keys(), (
            f"No part of a state is lost. Received {', '.join(loaded)}."
        )

    def test_saving_leaves_the_state_alone(self) -> None:
        """``save`` changes nothing of what it is given."""
        state = self._state(10)
        before = copy.deepcopy(state)
        self.make().save(state, self.name(0))
        assert self.same(state, before), f"save leaves the state as it was. Received {state!r}."

    def test_what_was_saved_is_not_changed_later(self) -> None:
        """Neither the state that was saved nor the one that was loaded is shared with the store."""
        store, state = self.make(), self._state(10)
        store.save(state, self.name(0))
        state["state_dict"]["layer.bias"][0] = 9.0
        loaded: Any = store.load(self.name(0))
        assert self.same(loaded["state_dict"], self._state(10)["state_dict"]), (
            "What is saved is the state of that time. Received what was changed since."
        )
        loaded["state_dict"]["layer.bias"][0] = 9.0
        again = store.load(self.name(0))
        assert self.same(again["state_dict"], self._state(10)["state_dict"]), (
            "Each load returns a state of its own. Received what somebody made of an earlier one."
        )

    def test_an_unknown_name_is_a_lookup_error(self) -> None:
        """``load`` raises a LookupError where there is no whole state of that name."""
        store = self.make()
        store.save(self._state(), self.name(0))
        rule = "A name that nothing was saved under is refused by load"
        raised_by(LookupError, lambda: store.load(self.name(1)), rule)
        raised_by(LookupError, lambda: self.make().load(self.name(0)), rule)

    def test_names_are_listed_oldest_first(self) -> None:
        """``list`` names what was saved, oldest first, and each name can be loaded."""
        store = self.make()
        listed = list(store.list())
        assert listed == [], f"A store with nothing in it lists nothing. Received {listed}."
        saved = [3, 20, 101]  # neither this order nor its reverse is that of the names
        for step in saved:
            store.save(self._state(step), self.name(step))
        listed = list(self.reopened(store).list())
        assert listed == [self.name(step) for step in saved], (
            f"list names the states, oldest first. Received {listed} for {saved}."
        )
        found = [store.load(name)["global_step"] for name in listed]
        assert found == saved, f"Each name loads its state. Received steps {found} for {saved}."

    def test_saving_again_replaces(self) -> None:
        """A name stands for what was saved last under it, and is listed once."""
        store = self.make()
        store.save(self._state(1), self.name(0))
        store.save(self._state(2), self.name(0))
        found = self.reopened(store).load(self.name(0))["global_step"]
        assert found == 2, f"The state saved last counts. Received that of step {found}."
        listed = list(store.list())
        assert listed == [self.name(0)], f"A name is listed once. Received {listed}."

    def test_a_save_that_fails_leaves_nothing(self) -> None:
        """A state that can't be saved is refused: no part of it is listed, the old one stays."""
        store = self.make()
        store.save(self._state(1), self.name(1))
        for index in (2, 1):
            raised_by(
                Exception,
                partial(store.save, self._state(2, extra={"bad": Unsavable()}), self.name(index)),
                "A state with a value that can't be written is refused by save",
            )
            later = self.reopened(store)
            for one in (store, later):
                listed = list(one.list())
                assert listed == [self.name(1)], (
                    f"What was not saved whole is not listed. Received {listed}."
                )
            found = later.load(self.name(1))["global_step"]
            assert found == 1, f"What was saved before is still there. Received step {found}."
        rule = "A name under which nothing was saved whole is refused by load"
        raised_by(LookupError, lambda: store.load(self.name(2)), rule)

    def test_a_removed_state_is_gone(self) -> None:
        """``remove`` forgets one state, and no other."""
        store = self.make()
        for step in (1, 2, 3):
            store.save(self._state(step), self.name(step))
        store.remove(self.name(2))
        later = self.reopened(store)
        listed = set(later.list())
        assert listed == {self.name(1), self.name(3)}, (
            f"A removed state is listed no more, the others are. Received {listed}."
        )
        raised_by(LookupError, lambda: later.load(self.name(2)), "A removed state is refused")
        found = later.load(self.name(3))["global_step"]
        assert found == 3, f"The others are still there. Received step {found}, expected 3."

    def test_metrics_may_come_along(self) -> None:
        """``save`` takes the metrics of that moment."""
        store = self.make()
        store.save(self._state(4), self.name(4), metrics={"val_loss": 0.25, "val_acc": math.nan})
        found = store.load(self.name(4))["global_step"]
        assert found == 4, f"Metrics change nothing of the state. Received step {found}."

    def test_a_world_of_one_is_no_other_case(self) -> None:
        """``save`` and ``load`` with a world of one process are those without."""
        store = self.make()
        store.save(self._state(5), self.name(5), world=OneProcess())
        for world in (OneProcess(), None):
            found = self.reopened(store).load(self.name(5), world=world)
            assert self.same(found["state_dict"], self._state(5)["state_dict"]), (
                f"A world of one changes nothing. Received {found['state_dict']!r}."
            )

    def test_each_rank_gets_back_what_belongs_to_it(self) -> None:
        """With several ranks, ``"per_rank"`` is each rank's own, the rest that of rank 0."""
        store = self.make()

        def save_and_load(world: World) -> Any:
            mine = {"python": (3, (world.rank,), None)}
            state = self._state(6, backend={"rng": mine, "scaler": world.rank})
            store.save(state, self.name(6), world=world)
            return store.load(self.name(6), world=world)["backend"]

        for rank, found in enumerate(in_ranks(2, save_and_load)):
            assert same(found["rng"], {"python": (3, (rank,), None)}), (
                f"What 'per_rank' names comes back to its rank. Rank {rank} received {found}."
            )
            assert found["scaler"] == 0, (
                f"The rest is rank 0's. Rank {rank} received that of rank {found['scaler']}."
            )
        listed = list(store.list())
        assert listed == [self.name(6)], f"Ranks save one state together. Received {listed}."
