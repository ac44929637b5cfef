"""The conformance kit of the port World."""

import os
import sys
import tempfile
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from pathlib import Path
from typing import Any

from lt_loop.ports import Reduction, World


class WorldConformance(ABC):
    """What the engine relies on in a world, of one process or of several.

    To fill in: :meth:`make`. Everything but the launch is looked at in each rank, inside
    ``launch``, so this works for a world that starts its processes itself, and for one of several
    processes that somebody else started, if all of them run the kit. A world that breaks a promise
    may hang: run it with a timeout.
    """

    @abstractmethod
    def make(self) -> World:
        """Return a new world. Each test launches one of its own."""

    def _in_each_rank(self, look: Callable[[World], Any]) -> Any:
        """Launch a world, and let every rank look at it; a failure anywhere is raised here."""
        world = self.make()
        return world.launch(lambda: look(world))

    def test_it_has_what_the_port_has(self) -> None:
        """A world has all attributes and methods of the port."""
        assert isinstance(self.make(), World), (
            f"A world has what lt_loop.ports.World has. Received {type(self.make())}."
        )

    # Launching

    def test_launch_runs_everywhere_and_returns_the_result(self) -> None:
        """``launch`` returns what ``main`` returned here, or what rank 0 returned to it."""
        world = self.make()
        starts = getattr(world, "starts_processes", False)
        here, rank = os.getpid(), world.rank

        def main() -> dict[str, Any]:
            assert not getattr(world, "starts_processes", False), (
                "Within launch, starts_processes is False. Received True."
            )
            return {"rank": world.rank, "process": os.getpid(), "text": ("ä", None)}

        returned = world.launch(main)
        assert returned["rank"] == (0 if starts else rank), (
            "launch returns what rank 0 returned where it starts processes, else what was returned "
            f"here. Received the result of rank {returned['rank']}."
        )
        assert returned["text"] == ("ä", None), (
            f"A result comes home as it was returned. Received {returned['text']!r}."
        )
        assert (returned["process"] != here) == starts, (
            "main runs in other processes where the world has starts_processes, and else in this "
            f"one. Received starts_processes={starts}, and a main in process "
            f"{returned['process']}, called from {here}."
        )

    def test_launch_works_again(self) -> None:
        """One world is launched for each run of a trainer: for ``fit``, and then for ``test``."""
        world = self.make()
        returned = [world.launch(lambda number=number: number) for number in (1, 2)]  # type: ignore[misc]
        assert returned == [1, 2], f"Each launch runs its own main. Received {returned}."

    def test_what_every_rank_raises_is_raised_here(self) -> None:
        """An exception in ``main`` comes out of ``launch``."""
        world = self.make()

        def main() -> None:
            raise ZeroDivisionError("of the user")

        self._fails(world, main, "of the user")

    def test_what_one_rank_raises_is_raised_here(self) -> None:
        """What ends a rank ends the others, who wait for it, and is raised here."""
        world = self.make()
        if not getattr(world, "starts_processes", False) and world.world_size > 1:
            return  # whoever started the processes ends them

        def main() -> None:
            if world.rank == world.world_size - 1:
                raise ZeroDivisionError("of one rank")
            world.barrier()

        self._fails(world, main, "of one rank")

    def test_a_rank_that_exits_is_no_success(self) -> None:
        """``sys.exit`` in ``main`` does not end in a result."""
        world = self.make()
        self._fails(world, lambda: sys.exit(3), "")

    def _fails(self, world: World, main: Callable[[], Any], words: str) -> None:
        """Launch what fails, and see that it says so."""
        try:
            returned = world.launch(main)
        except BaseException as error:
            told = [str(one) for one in _and_its_causes(error)]
            assert any(words in text for text in told), (
                f"What is raised says what went wrong: {words!r}. Received {told}."
            )
        else:
            raise AssertionError(
                f"Whatever ends a rank is raised by launch. Received the result {returned!r}."
            )

    # Places

    def test_ranks_are_counted_from_0(self) -> None:
        """Every rank from 0 below ``world_size`` is there once."""

        def look(world: World) -> None:
            ranks = world.gather((world.rank, world.local_rank))
            expected = list(range(world.world_size))
            assert [rank for rank, _ in ranks] == expected, (
                f"Ranks are those from 0 below world_size, in order. Received {ranks}."
            )
            assert all(0 <= local <= rank for rank, local in ranks), (
                f"A local rank is counted from 0 on its machine. Received {ranks}."
            )

        self._in_each_rank(look)

    # Talking

    def test_reduce_combines_each_value_over_the_ranks(self) -> None:
        """``reduce`` returns mean, sum, min or max of every place, to every rank."""

        def look(world: World) -> None:
            ranks = range(world.world_size)
            columns = [[float(rank) for rank in ranks], [0.5 - rank for rank in ranks]]
            mine = [column[world.rank] for column in columns]
            expected: dict[Reduction, list[float]] = {
                "mean": [sum(column) / len(column) for column in columns],
                "sum": [sum(column) for column in columns],
                "min": [min(column) for column in columns],
                "max": [max(column) for column in columns],
            }
            for op, result in expected.items():
                found = world.reduce(mine, op)
                assert list(found) == result, (
                    f"reduce(..., {op!r}) combines each value over ranks. Rank {world.rank} "
                    f"received {found}, expected {result}."
                )

        self._in_each_rank(look)

    def test_reduce_keeps_double_precision(self) -> None:
        """``reduce`` computes with floats as Python has them, not with fewer bits."""

        def look(world: World) -> None:
            found = world.reduce([1.0 + 2.0**-40, 2.0**60], "max")
            assert list(found) == [1.0 + 2.0**-40, 2.0**60], (
                f"reduce keeps every bit of a float. Received {found}."
            )

        self._in_each_rank(look)

    def test_broadcast_hands_out_what_one_rank_has(self) -> None:
        """``broadcast`` returns the object of rank ``src``, 0 if none is named, to all."""

        def look(world: World) -> None:
            mine = {"rank": world.rank, "parts": [None, (1.5, "ä")]}
            for src in range(world.world_size):
                found = world.broadcast(mine, src)
                assert found == {**mine, "rank": src}, (
                    f"broadcast(obj, {src}) returns the object of rank {src}. Received {found!r}."
                )
            found = world.broadcast(mine)
            assert found["rank"] == 0, f"broadcast(obj) is that of rank 0. Received {found!r}."

        self._in_each_rank(look)

    def test_gather_returns_all_in_the_order_of_ranks(self) -> None:
        """``gather`` returns a list of every rank's object, of whatever size, to all."""

        def look(world: World) -> None:
            found = world.gather("x" * (1000 * world.rank + 1))
            expected = ["x" * (1000 * rank + 1) for rank in range(world.world_size)]
            assert isinstance(found, list), f"gather returns a list. Received {type(found)}."
            assert found == expected, (
                "gather returns the objects in the order of ranks. Received those of lengths "
                f"{[len(one) for one in found]}, expected {[len(one) for one in expected]}."
            )

        self._in_each_rank(look)

    def test_another_thread_can_talk_beside_this_one(self) -> None:
        """What ``beside`` returns, where a world has it, gathers in a thread of its own."""

        def look(world: World) -> None:
            beside = getattr(world, "beside", None)
            if beside is None:
                return
            channel, rounds, heard = beside(), range(50), list[Any]()

            def talk() -> None:
                heard.extend(channel.gather(("beside", n, channel.rank)) for n in rounds)

            thread = threading.Thread(target=talk, daemon=True)
            thread.start()
            told = [world.gather((n, world.rank)) for n in rounds]
            thread.join()
            world.barrier()
            channel.close()
            ranks = range(channel.world_size)
            expected = [[(n, rank) for rank in ranks] for n in rounds]
            assert told == expected, f"The world gathers what it was given. Received {told}."
            expected_beside = [[("beside", n, rank) for rank in ranks] for n in rounds]
            assert heard == expected_beside, (
                "What beside returns gathers what its thread gave, whatever the world gathers "
                f"meanwhile. Received {heard}."
            )

        self._in_each_rank(look)

    def test_barrier_waits_for_every_rank(self) -> None:
        """Nobody passes ``barrier`` before all are there."""
        with tempfile.TemporaryDirectory() as folder:

            def look(world: World) -> None:
                mark = Path(world.broadcast(folder)) / "late"
                if world.rank == world.world_size - 1:
                    time.sleep(0.3)
                    mark.touch()
                world.barrier()
                assert mark.exists(), (
                    f"barrier waits for every rank. Rank {world.rank} did not wait for the last."
                )
                world.barrier()  # the folder is there until all have looked

            self._in_each_rank(look)

    def test_ranks_agree_on_the_greatest_code(self) -> None:
        """``agree`` gives all ranks the same answer, for this call or for the one before."""

        def look(world: World) -> None:
            last = world.world_size - 1
            # By call and rank. Every rank has a say, and two of them speak at once.
            asked = [[0] * world.world_size for _ in range(world.world_size + 5)]
            for rank in range(world.world_size):
                asked[1 + rank][rank] = 3 + rank
            asked[-3][0], asked[-3][last] = 1, 2
            answers = [world.agree(codes[world.rank]) for codes in asked]
            everywhere = world.gather(answers)
            assert all(one == answers for one in everywhere), (
                f"All ranks get the same answer at the same call. Received {everywhere}."
            )
            greatest = [max(codes) for codes in asked]
            before = [0, *greatest[:-1]]
            for call, answer in enumerate(answers):
                assert answer in (greatest[call], before[call]), (
                    "agree returns the greatest code of this call or of the one before. Received "
                    f"{answers} for the greatest codes {greatest}."
                )
            for call, code in enumerate(greatest[:-1]):
                assert code in answers[call : call + 2], (
                    f"A code is known everywhere one call later. Received {answers} for the "
                    f"greatest codes {greatest}."
                )

        self._in_each_rank(look)


def _and_its_causes(error: BaseException | None) -> list[BaseException]:
    """Return an exception and those behind it."""
    found: list[BaseException] = []
    while error is not None and error not in found:
        found.append(error)
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    return found
