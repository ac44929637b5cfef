"""DeviceStatsMonitor: what is logged, and when."""

import sys
from typing import Any

import pytest

pytest.importorskip("psutil")

import psutil

from lt_callbacks import DeviceStatsMonitor
from lt_loop import Callback, Trainer
from lt_loop.solo import DuckBackend

OF_MACHINE = {"cpu_percent", "cpu_vm_percent", "cpu_swap_percent"}


class Listener(Callback):
    def __init__(self) -> None:
        self.heard: list[tuple[int, dict[str, float]]] = []

    def on_log(self, metrics: dict[str, float], step: int) -> None:
        self.heard.append((step, {k: v for k, v in metrics.items() if "Device" in k}))

    def steps(self, hook: str) -> list[int]:
        prefix = f"DeviceStatsMonitor.{hook}/"
        return [step for step, heard in self.heard if any(k.startswith(prefix) for k in heard)]


def trainer(*callbacks: Any, **words: Any) -> Trainer:
    words = {"max_epochs": 1, "log_every_n_steps": 2, "num_sanity_val_steps": 0} | words
    return Trainer(
        backend=DuckBackend(),
        logger=False,
        callbacks=list(callbacks),
        enable_progress_bar=False,
        **words,
    )


BATCHES = [0, 1, 2, 3, 4]


def named(hook: str, keys: set[str] = OF_MACHINE) -> set[str]:
    return {f"DeviceStatsMonitor.{hook}/{key}" for key in keys}


def test_the_machine_is_looked_at_around_the_steps_that_are_logged(scripted: Any) -> None:
    listener = Listener()

    trainer(DeviceStatsMonitor(), listener).fit(scripted(), BATCHES)

    assert [step for step, _ in listener.heard] == [1, 3]
    expected = named("on_train_batch_start") | named("on_train_batch_end")
    assert {name for _, heard in listener.heard for name in heard} == expected


def test_the_numbers_are_those_of_psutil(scripted: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(psutil, "cpu_percent", lambda: 12.5)
    monkeypatch.setattr(psutil, "virtual_memory", lambda: type("", (), {"percent": 25.0}))
    monkeypatch.setattr(psutil, "swap_memory", lambda: type("", (), {"percent": 50.0}))
    listener = Listener()

    trainer(DeviceStatsMonitor(), listener).fit(scripted(), BATCHES[:2])

    assert {k: v for k, v in listener.heard[0][1].items() if "_end/" in k} == {
        "DeviceStatsMonitor.on_train_batch_end/cpu_percent": 12.5,
        "DeviceStatsMonitor.on_train_batch_end/cpu_vm_percent": 25.0,
        "DeviceStatsMonitor.on_train_batch_end/cpu_swap_percent": 50.0,
    }


def test_validation_and_test_are_looked_at_too(scripted: Any) -> None:
    listener = Listener()
    runner = trainer(DeviceStatsMonitor(), listener)

    runner.fit(scripted(), BATCHES, BATCHES)
    assert listener.steps("on_validation_batch_end") == [1, 3]
    listener.heard.clear()

    runner.validate(scripted(), BATCHES, verbose=False)
    assert listener.steps("on_validation_batch_start") == [1, 3]
    listener.heard.clear()

    runner.test(scripted(), BATCHES, verbose=False)
    assert listener.steps("on_test_batch_start") == listener.steps("on_test_batch_end") == [1, 3]


class Loss:
    def backward(self) -> None:
        pass

    def __truediv__(self, size: int) -> "Loss":
        return self


def test_with_accumulation_a_step_is_looked_at_around_its_batches(scripted: Any) -> None:
    listener = Listener()

    program = scripted()
    program.training_step = lambda batch, batch_idx: Loss()

    trainer(DeviceStatsMonitor(), listener, accumulate_grad_batches=2, log_every_n_steps=1).fit(
        program, BATCHES
    )

    assert [step for step, _ in listener.heard] == [0, 1, 2]


def test_a_filter_lets_its_keys_through(scripted: Any) -> None:
    listener = Listener()

    trainer(DeviceStatsMonitor(filter_keys={"cpu_percent"}), listener).fit(scripted(), BATCHES)

    expected = named("on_train_batch_start", {"cpu_percent"})
    expected |= named("on_train_batch_end", {"cpu_percent"})
    assert {name for _, heard in listener.heard for name in heard} == expected


def test_a_key_that_nothing_has_is_warned_of(
    scripted: Any, caplog: pytest.LogCaptureFixture
) -> None:
    trainer(DeviceStatsMonitor(filter_keys={"cpu_percnt"}), Listener()).fit(scripted(), BATCHES)

    assert [r.getMessage() for r in caplog.records if r.name == "lt_callbacks"] == [
        "DeviceStatsMonitor: there is nothing called 'cpu_percnt' to log. "
        "Did you mean 'cpu_percent'?"
    ]


def test_a_cpu_without_cpu_stats_has_nothing_to_tell(scripted: Any) -> None:
    listener = Listener()

    trainer(DeviceStatsMonitor(cpu_stats=False), listener).fit(scripted(), BATCHES)

    assert not any(heard for _, heard in listener.heard)


class OnDevice:
    """A program on a device that keeps statistics."""

    class Device:
        type = "cuda"

    device = Device()
    trainer: Any = None

    def __init__(self, scripted: Any) -> None:
        self.inner = scripted()

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        self.inner.trainer = self.trainer
        return self.inner.training_step(batch, batch_idx)

    def configure_optimizers(self) -> Any:
        return self.inner.configure_optimizers()


@pytest.mark.parametrize(
    ("cpu_stats", "keys"),
    [(None, {"reserved"}), (False, {"reserved"}), (True, {"reserved"} | OF_MACHINE)],
)
def test_a_device_with_statistics_of_its_own_is_asked(
    scripted: Any, monkeypatch: pytest.MonkeyPatch, cpu_stats: bool | None, keys: set[str]
) -> None:
    fake = type(sys)("lt_callbacks.device_statistics")
    fake.device_statistics = lambda device: {"reserved": 7}  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "lt_callbacks.device_statistics", fake)
    listener = Listener()

    trainer(DeviceStatsMonitor(cpu_stats), listener).fit(OnDevice(scripted), BATCHES)

    expected = named("on_train_batch_start", keys) | named("on_train_batch_end", keys)
    assert {name for _, heard in listener.heard for name in heard} == expected


def test_without_a_logger_it_is_refused(scripted: Any) -> None:
    with pytest.raises(ValueError, match=r"writes to loggers\. Received a Trainer without one"):
        trainer(DeviceStatsMonitor()).fit(scripted(), BATCHES)


def test_in_a_fast_dev_run_it_needs_no_logger(scripted: Any) -> None:
    runner = trainer(DeviceStatsMonitor(), fast_dev_run=True)

    assert runner.fit(scripted(), BATCHES).progress.steps == 1


def test_a_missing_psutil_is_named_when_it_is_needed(
    scripted: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "psutil", None)
    message = r"DeviceStatsMonitor needs psutil\..*pip install 'lt-callbacks\[psutil\]'"

    with pytest.raises(ModuleNotFoundError, match=message):
        DeviceStatsMonitor(cpu_stats=True)
    with pytest.raises(ModuleNotFoundError, match=message):
        trainer(DeviceStatsMonitor(), Listener()).fit(scripted(), BATCHES)


def test_a_string_is_no_set_of_keys() -> None:
    with pytest.raises(TypeError, match=r"Received the string 'cpu_percent'"):
        DeviceStatsMonitor(filter_keys="cpu_percent")


@pytest.mark.gpu
def test_on_a_gpu_the_numbers_are_those_of_the_allocator() -> None:
    torch = pytest.importorskip("torch")

    class Program(torch.nn.Linear):
        trainer: Any = None

        def training_step(self, batch: Any, batch_idx: int) -> Any:
            return self(batch.cuda()).sum()

        def configure_optimizers(self) -> Any:
            return torch.optim.SGD(self.parameters(), lr=0.1)

    listener = Listener()
    trainer(DeviceStatsMonitor(), listener).fit(Program(256, 256).cuda(), [torch.ones(2, 256)] * 2)

    keys = set(torch.cuda.memory_stats())
    names = {name.rpartition("/")[2] for _, heard in listener.heard for name in heard}
    assert names == keys
    allocated = "DeviceStatsMonitor.on_train_batch_end/allocated_bytes.all.current"
    assert listener.heard[0][1][allocated] >= 256 * 256 * 4
