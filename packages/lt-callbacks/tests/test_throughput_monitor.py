"""ThroughputMonitor in real runs whose steps take as long as they say."""

from types import SimpleNamespace
from typing import Any

import pytest

from lt_callbacks import ThroughputMonitor
from lt_loop import Callback, Trainer
from lt_loop.solo import DuckBackend


class Time:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class Listener(Callback):
    def __init__(self) -> None:
        self.heard: list[tuple[int, dict[str, float]]] = []

    def on_log(self, metrics: dict[str, float], step: int) -> None:
        self.heard.append((step, {k: v for k, v in metrics.items() if k != "epoch"}))


class Loader:
    """A batch is how many seconds its step takes; loading it takes ``load``."""

    def __init__(self, time: Time, seconds: list[int], load: float = 0.0) -> None:
        self.time, self.seconds, self.load = time, seconds, load

    def __len__(self) -> int:
        return len(self.seconds)

    def __iter__(self) -> Any:
        for seconds in self.seconds:
            self.time.now += self.load
            yield [seconds]


class Loss:
    def backward(self) -> None:
        pass

    def __truediv__(self, size: int) -> "Loss":
        return self


class Timed:
    """Wraps a program of the suite: every step takes the time its batch says."""

    trainer: Any = None
    flops_per_batch: Any = None

    def __init__(self, time: Time, scripted: Any) -> None:
        self.time, self.inner = time, scripted()

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        self.time.now += batch[0]
        return Loss()

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        self.time.now += batch[0]

    def test_step(self, batch: Any, batch_idx: int) -> None:
        self.time.now += batch[0]

    def predict_step(self, batch: Any, batch_idx: int) -> None:
        self.time.now += batch[0]

    def configure_optimizers(self) -> Any:
        return self.inner.configure_optimizers()


@pytest.fixture
def time() -> Time:
    return Time()


def made(time: Time, **words: Any) -> ThroughputMonitor:
    words = {"window_size": 2, "length_fn": lambda batch: 10 * batch[0]} | words
    return ThroughputMonitor(lambda batch: 4, clock=time, **words)


def trainer(*callbacks: Any, **words: Any) -> Trainer:
    words = {"max_epochs": 1, "log_every_n_steps": 1, "num_sanity_val_steps": 0} | words
    return Trainer(
        backend=DuckBackend(),
        logger=False,
        callbacks=list(callbacks),
        enable_progress_bar=False,
        **words,
    )


def test_training_is_timed(time: Time, scripted: Any) -> None:
    listener = Listener()

    trainer(made(time), listener).fit(Timed(time, scripted), Loader(time, [1, 2, 5], load=0.5))

    assert [step for step, _ in listener.heard] == [0, 1, 2]
    assert listener.heard[0][1] == {
        "train/time": 1.5,
        "train/batches": 1,
        "train/samples": 4,
        "train/lengths": 10,
    }
    assert listener.heard[2][1] == {
        "train/time": 9.5,
        "train/batches": 3,
        "train/samples": 12,
        "train/lengths": 80,
        "train/device/batches_per_sec": 1 / 5.5,
        "train/device/samples_per_sec": 4 / 5.5,
        "train/device/items_per_sec": 50 / 5.5,
        "train/device/data_wait": 0.5 / 5.5,
    }


def test_flops_come_from_the_module(time: Time, scripted: Any) -> None:
    listener, program = Listener(), Timed(time, scripted)
    program.flops_per_batch = 600

    trainer(made(time, available_flops=1000), listener).fit(program, Loader(time, [1, 2]))

    assert listener.heard[1][1]["train/device/flops_per_sec"] == 300
    assert listener.heard[1][1]["train/device/mfu"] == 0.3


def test_only_steps_that_are_logged_are_told_of(time: Time, scripted: Any) -> None:
    listener = Listener()

    trainer(made(time), listener, log_every_n_steps=2).fit(
        Timed(time, scripted), Loader(time, [1] * 5)
    )

    assert [step for step, _ in listener.heard] == [1, 3]


def test_accumulated_batches_all_count(time: Time, scripted: Any) -> None:
    listener = Listener()

    trainer(made(time, window_size=3), listener, accumulate_grad_batches=2).fit(
        Timed(time, scripted), Loader(time, [1, 2, 3, 4])
    )

    assert [step for step, _ in listener.heard] == [0, 1]
    assert listener.heard[1][1]["train/batches"] == 4
    assert listener.heard[1][1]["train/device/batches_per_sec"] == 2 / 7


@pytest.mark.parametrize("sanity", [0, 2])
def test_validation_stops_the_clock_of_training(time: Time, scripted: Any, sanity: int) -> None:
    listener = Listener()
    loader = Loader(time, [1, 1, 1, 1])

    trainer(
        made(time), listener, val_check_interval=2, num_sanity_val_steps=sanity, max_epochs=2
    ).fit(Timed(time, scripted), loader, Loader(time, [100, 200]))

    training = [heard for _, heard in listener.heard if "train/time" in heard]
    assert [heard["train/time"] for heard in training] == [1, 2, 3, 4, 5, 6, 7, 8]
    assert {heard["train/device/batches_per_sec"] for heard in training[1:]} == {1}
    assert {heard["train/device/data_wait"] for heard in training[1:]} == {0}
    validation = [heard for _, heard in listener.heard if "validate/time" in heard]
    assert [heard["validate/time"] for heard in validation] == [100, 300] * 4
    assert validation[1]["validate/device/batches_per_sec"] == 1 / 200


@pytest.mark.parametrize("stage", ["validate", "test", "predict"])
def test_the_other_stages_are_timed_too(time: Time, scripted: Any, stage: str) -> None:
    listener = Listener()
    runner = trainer(made(time), listener)
    words = {} if stage == "predict" else {"verbose": False}

    for _ in range(2):  # each run begins anew
        listener.heard.clear()
        getattr(runner, stage)(Timed(time, scripted), Loader(time, [1, 2, 5], load=0.5), **words)

        numbers = [heard for _, heard in listener.heard]
        assert [heard[f"{stage}/batches"] for heard in numbers] == [1, 2, 3]
        assert numbers[2][f"{stage}/time"] == 9.5
        assert numbers[2][f"{stage}/device/samples_per_sec"] == 4 / 5.5
        assert numbers[2][f"{stage}/device/data_wait"] == 0.5 / 5.5


def test_several_processes_are_told_together(time: Time, scripted: Any) -> None:
    """A world of four, as one of them sees it."""
    monitor, logged = made(time), {}
    rank: Any = SimpleNamespace(
        world_size=4,
        global_step=0,
        limits=SimpleNamespace(log_every_n_steps=1),
        log=lambda name, value, **flags: logged.update({name: value}),
    )
    monitor.setup(rank, None, "fit")
    monitor.on_train_start(rank, None)
    for step in (1, 2):
        monitor.on_train_batch_start(rank, None, [1], step)
        time.now += 2
        rank.global_step = step
        monitor.on_train_batch_end(rank, None, {}, [1], step)

    assert logged["train/samples_per_sec"] == 4 * logged["train/device/samples_per_sec"] == 8


def test_bad_arguments_are_refused_at_once() -> None:
    with pytest.raises(ValueError, match="Received window_size=1"):
        ThroughputMonitor(len, window_size=1)
    with pytest.raises(ValueError, match="Received available_flops=0"):
        ThroughputMonitor(len, available_flops=0)


def test_flops_are_counted_by_the_formula() -> None:
    torch = pytest.importorskip("torch")
    from lt_callbacks.flops import measure_flops

    with torch.device("meta"):
        model = torch.nn.Sequential(torch.nn.Linear(8, 16), torch.nn.Linear(16, 4))
        x = torch.zeros(3, 8)

    forward = 2 * 3 * (8 * 16 + 16 * 4)
    weights, inputs = forward, 2 * 3 * 16 * 4  # the input of the first layer needs no gradient
    assert measure_flops(model, lambda: model(x)) == forward
    assert measure_flops(model, lambda: model(x), torch.sum) == forward + weights + inputs


@pytest.mark.gpu
def test_on_a_gpu_time_is_that_of_the_device() -> None:
    torch = pytest.importorskip("torch")
    from time import perf_counter

    class Busy(torch.nn.Linear):
        trainer: Any = None
        flops_per_batch = 2 * 4096**3 * 20

        def training_step(self, batch: Any, batch_idx: int) -> Any:
            for _ in range(20):
                batch = batch @ batch * 1e-3  # queued up, not waited for
            return self(batch[:1, :1]).sum()

        def configure_optimizers(self) -> Any:
            return torch.optim.SGD(self.parameters(), lr=0.0)

    listener = Listener()
    program = Busy(1, 1).cuda()
    batches = [torch.randn(4096, 4096, device="cuda") for _ in range(1)] * 30
    begun = perf_counter()

    trainer(ThroughputMonitor(len, window_size=20), listener, log_every_n_steps=30).fit(
        program, batches
    )
    torch.cuda.synchronize()
    elapsed = perf_counter() - begun

    (told,) = [heard for _, heard in listener.heard]
    assert 0 < told["train/time"] <= elapsed
    # the host is through long before the device: its clock would tell far more than the peak
    assert 0.05 < told["train/device/mfu"] < 1
