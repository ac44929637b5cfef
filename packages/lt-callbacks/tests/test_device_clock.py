"""The device's clock against events that tell what was asked of them."""

from typing import Any

import pytest

pytest.importorskip("torch")

import torch

from lt_callbacks.device_clock import DeviceClock
from lt_callbacks.throughput import Throughput


class Device:
    """What is queued up takes its time; the host does not wait for it."""

    def __init__(self) -> None:
        self.milliseconds = 0.0
        self.waited_for: list[float] = []


@pytest.fixture
def device(monkeypatch: pytest.MonkeyPatch) -> Device:
    made = Device()

    class Event:
        def __init__(self, enable_timing: bool = False) -> None:
            assert enable_timing

        def record(self, stream: Any) -> None:
            assert stream == "stream of cuda:1"
            self.at = made.milliseconds

        def synchronize(self) -> None:
            made.waited_for.append(self.at)

        def elapsed_time(self, other: "Event") -> float:
            return other.at - self.at

    monkeypatch.setattr(torch.cuda, "Event", Event)
    monkeypatch.setattr(torch.cuda, "current_stream", lambda device: f"stream of {device}")
    return made


def test_only_asking_waits_and_for_no_more_than_is_asked_about(device: Device) -> None:
    loop = Throughput(DeviceClock(torch.device("cuda:1")), window_size=3)
    for _ in range(5):
        device.milliseconds += 250
        loop.lap(4)
    loop.pause()
    device.milliseconds += 9000
    loop.resume()
    device.milliseconds += 250
    loop.lap(4)
    assert device.waited_for == []

    told = loop.compute()

    assert max(device.waited_for) == 1500 + 9000
    assert told["time"] == 1.5
    assert told["device/samples_per_sec"] == 8 / 0.5


@pytest.mark.gpu
def test_a_real_device_takes_its_time() -> None:
    clock = DeviceClock(torch.device("cuda"))
    x = torch.randn(4096, 4096, device="cuda")
    begun = clock.now()
    for _ in range(50):
        x = x @ x * 1e-3
    ended = clock.now()

    assert clock.seconds(begun, ended) > 50 * 2 * 4096**3 / 1e15
