"""The conformance kit of the port Backend."""

from lt_loop.conformance.backend_by_hand import ByHandPromises
from lt_loop.conformance.backend_gradients import GradientPromises
from lt_loop.conformance.backend_moving import MovingPromises
from lt_loop.conformance.backend_setup import SetupPromises
from lt_loop.conformance.backend_state import StatePromises
from lt_loop.conformance.backend_stepping import SteppingPromises
from lt_loop.conformance.backend_wrapping import WrappingPromises


class BackendConformance(
    SetupPromises,
    MovingPromises,
    WrappingPromises,
    ByHandPromises,
    GradientPromises,
    SteppingPromises,
    StatePromises,
):
    """What the engine relies on in a backend, of one rank.

    To fill in are ``make``, ``program`` and ``batch``, and ``by_hand`` where a loss has no
    ``backward()``; the rest where the default does not fit. See
    :class:`~lt_loop.conformance.backend_parts.BackendParts`.
    """
