"""The kit of the port World passes what keeps every promise, and fails what breaks one."""

from typing import Any

import pytest
from broken import Broken, Shelf, failing
from forked_world import ForkedWorld

from lt_loop.conformance import WorldConformance, promises
from lt_loop.solo import OneProcess


class TestOneProcess(WorldConformance):
    make = staticmethod(OneProcess)


class TestForked(WorldConformance):
    make = staticmethod(ForkedWorld)


class TestForkedInThree(WorldConformance):
    @staticmethod
    def make() -> Any:
        world = ForkedWorld()
        world.world_size = 3
        return world


shelf = Shelf()


@shelf.breaks("launch_runs_everywhere_and_returns_the_result")
class ReturnsWhatTheLastReturned(ForkedWorld):
    def _be(self, rank: int, main: Any, end: Any) -> None:
        super()._be(rank, lambda: self.gather(main())[-1], end)


@shelf.breaks("launch_runs_everywhere_and_returns_the_result")
class SaysThatItWillStartProcesses(OneProcess):
    starts_processes = True


@shelf.breaks("launch_works_again")
class LaunchesOnce(ForkedWorld):
    def launch(self, main: Any) -> Any:
        if vars(self).setdefault("launched", False):
            raise RuntimeError("This world was launched already.")
        self.launched = True
        return super().launch(main)


@shelf.breaks("what_every_rank_raises_is_raised_here", "what_one_rank_raises_is_raised_here")
class SaysNotWhatWentWrong(ForkedWorld):
    def launch(self, main: Any) -> Any:
        try:
            return super().launch(main)
        except ZeroDivisionError:
            raise RuntimeError("A rank failed.") from None


@shelf.breaks("a_rank_that_exits_is_no_success")
class TakesAnExitForAResult(ForkedWorld):
    def launch(self, main: Any) -> Any:
        try:
            return super().launch(main)
        except SystemExit:
            return None


class OneRankFails(ForkedWorld):
    """Fails only where rank 0 does: the other's exception becomes its result."""

    def _be(self, rank: int, main: Any, end: Any) -> None:
        def survive() -> Any:
            try:
                return main()
            except ZeroDivisionError:
                if rank == 0:
                    raise
                self.barrier()

        super()._be(rank, survive, end)


shelf.breaks("what_one_rank_raises_is_raised_here")(OneRankFails)


@shelf.breaks("ranks_are_counted_from_0")
class CountsPlacesFromOne(ForkedWorld):
    def _be(self, rank: int, main: Any, end: Any) -> None:
        def counted() -> Any:
            self.local_rank = rank + 1
            return main()

        super()._be(rank, counted, end)


@shelf.breaks("reduce_combines_each_value_over_the_ranks")
class SumsForTheMean(ForkedWorld):
    def reduce(self, values: Any, op: str) -> Any:
        return super().reduce(values, "sum" if op == "mean" else op)


@shelf.breaks("reduce_combines_each_value_over_the_ranks")
class TellsRankZeroAlone(ForkedWorld):
    def reduce(self, values: Any, op: str) -> Any:
        reduced = super().reduce(values, op)
        return list(values) if self.rank else reduced


@shelf.breaks("reduce_keeps_double_precision")
class ReducesInSinglePrecision(ForkedWorld):
    def reduce(self, values: Any, op: str) -> Any:
        from array import array

        return list(array("f", super().reduce(values, op)))


@shelf.breaks("broadcast_hands_out_what_one_rank_has")
class BroadcastsFromRankZero(ForkedWorld):
    def broadcast(self, obj: Any, src: int = 0) -> Any:
        return super().broadcast(obj)


@shelf.breaks("gather_returns_all_in_the_order_of_ranks")
class PutsItselfFirst(ForkedWorld):
    def gather(self, obj: Any) -> Any:
        found = super().gather(obj)
        text = isinstance(obj, str)  # as only the test of gather has
        return [*found[self.rank :], *found[: self.rank]] if text else found


@shelf.breaks("another_thread_can_talk_beside_this_one")
class HearsItselfBeside(ForkedWorld):
    def beside(self) -> Any:
        here = self.world_size, self.rank

        class Channel:
            world_size, rank = here

            def gather(self, obj: Any) -> Any:
                return [obj] * self.world_size

            def close(self) -> None:
                pass

        return Channel()


@shelf.breaks("barrier_waits_for_every_rank")
class WaitsForNobody(ForkedWorld):
    def barrier(self) -> None:
        if self.rank:
            super().barrier()


@shelf.breaks("ranks_agree_on_the_greatest_code")
class AgreesWithItself(ForkedWorld):
    def agree(self, code: int) -> int:
        return code


@shelf.breaks("ranks_agree_on_the_greatest_code")
class AgreesTwoCallsLater(ForkedWorld):
    before = 0

    def agree(self, code: int) -> int:
        answer, self.before = self.before, super().agree(code)
        return answer


@shelf.breaks("ranks_agree_on_the_greatest_code")
class NeverForgetsACode(ForkedWorld):
    def agree(self, code: int) -> int:
        self._wish = max(self._wish, *self.gather(code))
        return self._wish


@pytest.mark.parametrize("broken", shelf.all, ids=lambda broken: broken.make.__name__)
def test_what_breaks_a_promise_fails_its_test(broken: Broken) -> None:
    found = failing(WorldConformance, broken.make)
    assert set(found) == broken.fails, found


def test_what_lacks_a_method_is_no_world() -> None:
    assert "test_it_has_what_the_port_has" in failing(WorldConformance, object)


def test_every_other_promise_can_be_broken() -> None:
    assert set(promises(WorldConformance)) == {
        "test_it_has_what_the_port_has",
        *shelf.broken_promises,
    }
