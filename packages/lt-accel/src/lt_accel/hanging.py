"""Hanging: which of the ranks that show no sign of life the others wait for.

A collective that torch begins itself, in a forward pass say, is no sign of life to us. A rank that
waits in one is silent for as long as the rank it waits for, to the millisecond. So the ranks are
looked at together, each with its Python stack.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

from lt_accel.failures import RankError

COLLECTIVES = ("/torch/distributed/", "/torch/nn/parallel/distributed.py")
"""Where the latest call is of a rank that waits for others in a collective of torch's."""


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Silent:
    """A rank of this machine, when the time of one of them was up.

    Attributes:
        rank: which.
        age: seconds since its last sign of life.
        inside: whether it had said that it waits for others.
        stack: what faulthandler wrote down of it.
    """

    rank: int
    age: float
    inside: bool
    stack: str

    @property
    def waits(self) -> bool:
        """Whether it waits for others: it said so, or its latest call is a collective's."""
        if self.inside:
            return True
        latest = _main_thread(self.stack).partition("File ")[2].partition("\n")[0]
        return any(place in latest.replace("\\", "/") for place in COLLECTIVES)


def to_blame(ranks: Sequence[Silent], limit: float) -> list[Silent]:
    """Return those that the others may wait for, the longest silent first.

    Args:
        ranks: all of this machine.
        limit: seconds without a sign of life that count as hanging.

    Returns:
        None where all that are silent wait.
    """
    silent = [one for one in ranks if not one.waits and one.age >= limit]
    return sorted(silent, key=lambda one: -one.age)


def hung(ranks: Sequence[Silent], total: int, limit: float) -> RankError:
    """Return the error of a group in which somebody showed no sign of life.

    Args:
        ranks: those of this machine, or those whose stack is known.
        total: how many ranks there are.
        limit: as for :func:`to_blame`.
    """
    blamed = to_blame(ranks, limit)
    rest = sorted((one for one in ranks if one not in blamed), key=lambda one: -one.age)
    first = (blamed or rest)[0]
    silence = f"of {total} showed no sign of life for {limit:g} s (hang_timeout)"
    if len(blamed) == 1:
        message = f"Rank {first.rank} {silence} and was ended."
    elif blamed:
        message = (
            f"Ranks {_listed(blamed)} {silence} and were ended. None of them waits for others by "
            "its stack; the first was silent for longest."
        )
    else:
        waiting = [one for one in rest if one.age >= limit]
        message = (
            f"{'Rank' if len(waiting) == 1 else 'Ranks'} {_listed(waiting)} of {total} waited for "
            f"others for more than {limit:g} s (hang_timeout), and no rank of this machine is "
            "silent that does not wait. Either a rank of another machine hangs, or the ranks wait "
            "in different collectives, of which each needs all of them."
        )
    error = RankError(message, first.rank)
    for one in (*blamed, *rest):
        whose = "Its" if one is first and len(blamed) == 1 else f"Rank {one.rank}'s"
        waits = " It waits for others." if one.waits else ""
        error.add_note(
            f"{whose} Python stack was, the latest call first:{waits}\n{readable(one.stack)}"
        )
    return error


def readable(stack: str) -> str:
    """Leave out of a dump of faulthandler's what is ours: the watchdog's thread, the launcher."""
    threads = [part for part in stack.strip().split("\n\n") if "/watchdog.py" not in part]
    lines = "\n".join(threads).splitlines()
    ours = [place for place, line in enumerate(lines) if line.endswith("in run_rank")]
    return "\n".join(lines[: ours[-1]] if ours else lines)


def _main_thread(stack: str) -> str:
    """Return the part of a dump that is the thread in which the rank runs."""
    threads = stack.strip().split("\n\n")
    return next((part for part in threads if "in run_rank\n" in f"{part}\n"), threads[-1])


def _listed(ranks: Sequence[Silent]) -> str:
    names = [str(one.rank) for one in ranks]
    return " and ".join(filter(None, (", ".join(names[:-1]), names[-1])))
