"""A clock whose moments are those of a CUDA device. Needs torch."""

from typing import final

import torch


@final
class DeviceClock:
    """Notes moments in the stream of a device, without waiting for it.

    What the host has queued up says nothing about what is done; a moment of this clock comes when
    everything queued before it is done.
    """

    def __init__(self, device: torch.device) -> None:
        """Note moments of a device's current stream."""
        self._device = device

    def now(self) -> torch.cuda.Event:
        """Return the moment at which all that is queued up so far will be done."""
        event = torch.cuda.Event(enable_timing=True)
        event.record(torch.cuda.current_stream(self._device))
        return event

    def seconds(self, before: torch.cuda.Event, after: torch.cuda.Event) -> float:
        """Return the time between two moments, once the later one has come."""
        after.synchronize()
        return float(before.elapsed_time(after)) / 1000
