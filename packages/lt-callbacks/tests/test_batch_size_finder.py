"""BatchSizeFinder and Tuner.scale_batch_size with memory that is made to be too small."""

from typing import Any

import pytest

pytest.importorskip("torch")

import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from lt_callbacks import BatchSizeFinder, LambdaCallback, Tuner
from lt_callbacks.batch_size_finder import is_out_of_memory
from lt_loop import Trainer
from lt_loop.solo import DuckBackend

DATA = TensorDataset(torch.randn(64, 4, generator=torch.Generator().manual_seed(1)))


class Isolating(DuckBackend):
    """A backend that keeps the word of its port about random generators."""

    def wrap_step(self, fn: Any, phase: Any) -> Any:
        if phase != "sanity_check":
            return fn

        def isolated(*arguments: Any) -> Any:
            with torch.random.fork_rng():
                return fn(*arguments)

        return isolated


class Network(nn.Sequential):
    """Runs out of memory with batches that are too large."""

    trainer: Any = None
    fits = 20
    error: Any = torch.OutOfMemoryError

    def __init__(self) -> None:
        torch.manual_seed(0)
        super().__init__(nn.Linear(4, 3), nn.BatchNorm1d(3), nn.Dropout(0.2), nn.Linear(3, 1))
        self.batch_size = 4
        self.sizes: list[int] = []

    def loss(self, batch: Any) -> Any:
        size = len(batch[0])
        self.sizes.append(size)
        if size > self.fits:
            raise self.error("CUDA out of memory")
        return self(batch[0]).square().mean()

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        return self.loss(batch)

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        self.loss(batch)

    test_step = predict_step = validation_step

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.parameters(), lr=0.1, momentum=0.9)

    def train_dataloader(self) -> Any:
        return DataLoader(DATA, batch_size=self.batch_size, shuffle=True)

    val_dataloader = test_dataloader = predict_dataloader = train_dataloader


def trainer(*callbacks: Any, **words: Any) -> Trainer:
    words = {"max_epochs": 1, "num_sanity_val_steps": 0, "backend": Isolating()} | words
    return Trainer(
        callbacks=list(callbacks),
        logger=False,
        enable_progress_bar=False,
        enable_checkpointing=False,
        **words,
    )


def copied(module: nn.Module) -> dict[str, Any]:
    return {name: value.clone() for name, value in module.state_dict().items()}


def equal(one: Any, other: Any) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


@pytest.mark.parametrize(
    ("mode", "margin", "size"),
    [("power", 0.05, 16), ("binsearch", 0.0, 20), ("binsearch", 0.1, 18)],
)
@pytest.mark.parametrize("fn", ["fit", "validate", "test", "predict"])
def test_the_run_has_the_largest_batches_that_fit(
    fn: str, mode: Any, margin: float, size: int
) -> None:
    finder, model = BatchSizeFinder(mode, margin=margin), Network()

    run = trainer(finder, limit_val_batches=0 if fn == "fit" else 1.0)
    getattr(run, fn)(model)

    assert model.batch_size == finder.optimal_batch_size == size
    assert max(model.sizes) == size
    assert sum(model.sizes) == len(DATA)  # and every step of the search was a copy's


def test_nothing_else_is_changed() -> None:
    """The run is that of a module that had the size from the start, bit for bit."""
    model, plain = Network(), Network()
    plain.batch_size = 16
    drawn = []
    for one, callbacks in ((model, [BatchSizeFinder()]), (plain, [])):
        torch.manual_seed(5)
        trainer(*callbacks, limit_val_batches=0).fit(one)
        drawn.append(torch.rand(3))

    assert model.batch_size == 16
    assert equal(copied(model), copied(plain))
    assert torch.equal(*drawn)


@pytest.mark.parametrize("method", ["fit", "validate", "test", "predict"])
def test_the_tuner_changes_nothing_but_the_attribute(method: Any) -> None:
    model, run = Network(), trainer()
    before = copied(model)
    torch.manual_seed(5)

    size = Tuner(run).scale_batch_size(model, method=method)

    drawn = torch.rand(3)
    torch.manual_seed(5)
    assert torch.equal(drawn, torch.rand(3))
    assert size == model.batch_size == 16
    assert equal(copied(model), before)
    assert model.sizes == []
    assert run.result is None


def test_a_datamodule_makes_the_loaders() -> None:
    calls: list[str] = []

    class Data:
        batch_size = 1

        def setup(self, stage: str) -> None:
            calls.append("setup")

        def teardown(self, stage: str) -> None:
            calls.append("teardown")

        def train_dataloader(self) -> Any:
            return DataLoader(DATA, batch_size=self.batch_size)

    class Plain(Network):
        def __init__(self) -> None:
            super().__init__()
            del self.batch_size

        train_dataloader = val_dataloader = None

    data = Data()

    size = Tuner(trainer()).scale_batch_size(Plain(), datamodule=data)

    assert size == data.batch_size == 16
    assert calls == ["setup", "teardown"]  # once, though there were several trials
    assert Tuner(trainer()).scale_batch_size(Plain(), data, init_val=3) == 12


def test_more_than_all_samples_is_not_tried() -> None:
    class Roomy(Network):
        fits = 10**6

    model = Roomy()

    assert Tuner(trainer()).scale_batch_size(model, init_val=48) == 96  # holds all 64


def test_so_many_steps_are_taken_with_each_size() -> None:
    steps: list[int] = []

    class Counting(Network):
        def training_step(self, batch: Any, batch_idx: int) -> Any:
            steps.append(len(batch[0]))
            return super().training_step(batch, batch_idx)

    Tuner(trainer()).scale_batch_size(Counting(), steps_per_trial=2, init_val=8)

    assert steps == [8, 8, 16, 16, 32]


def test_other_errors_are_not_about_memory() -> None:
    class Broken(Network):
        def training_step(self, batch: Any, batch_idx: int) -> Any:
            raise RuntimeError("mat1 and mat2 shapes cannot be multiplied")

    with pytest.raises(RuntimeError, match="shapes cannot be multiplied"):
        Tuner(trainer()).scale_batch_size(Broken())


def test_where_nothing_fits_the_error_is_raised() -> None:
    class Huge(Network):
        fits = 0

    class Data:
        batch_size = 7

        def train_dataloader(self) -> Any:
            return DataLoader(DATA, batch_size=self.batch_size)

    model, data = Huge(), Data()
    with pytest.raises(torch.OutOfMemoryError):
        Tuner(trainer()).scale_batch_size(model, datamodule=data)

    assert (model.batch_size, data.batch_size) == (4, 7)


@pytest.mark.parametrize(
    ("error", "memory"),
    [
        (torch.OutOfMemoryError("x"), True),
        (MemoryError(), True),
        (RuntimeError("CUDA out of memory. Tried to allocate 20.00 MiB"), True),
        (RuntimeError("MPS backend out of memory (MPS allocated: 1 GB)"), True),
        (RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: 1"), True),
        (RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling"), True),
        (RuntimeError("cuDNN error: CUDNN_STATUS_NOT_SUPPORTED."), True),
        (RuntimeError("CUDA error: device-side assert triggered"), False),
        (ValueError("no"), False),
    ],
)
def test_errors_about_memory_are_known(error: BaseException, memory: bool) -> None:
    assert is_out_of_memory(error) is memory


def test_a_run_that_goes_on_has_its_size() -> None:
    first = trainer(BatchSizeFinder(), limit_val_batches=0)
    model = Network()
    for progress in first.steps(model):
        if progress.steps == 2:
            break
    state = first.capture()
    finder, second = BatchSizeFinder(), Network()
    second.batch_size = 16

    trainer(finder, limit_val_batches=0).fit(second, ckpt_path=state)

    assert finder.optimal_batch_size == second.batch_size == 16


def test_a_fast_dev_run_searches_nothing(caplog: Any) -> None:
    finder, model = BatchSizeFinder(), Network()

    trainer(finder, fast_dev_run=True).fit(model)

    assert finder.optimal_batch_size is None
    assert model.batch_size == 4
    assert Tuner(trainer(fast_dev_run=True)).scale_batch_size(model) is None
    assert "does nothing in a fast_dev_run" in caplog.text


class Passed(Network):
    train_dataloader = None


class Estimating(Network):
    def configure_optimizers(self) -> Any:
        assert self.trainer.estimated_stepping_batches
        return super().configure_optimizers()


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (
            lambda: trainer(BatchSizeFinder()).fit(Passed(), [0]),
            ValueError,
            r"whose loader came with the call\. Write train_dataloader\(\)",
        ),
        (
            lambda: Tuner(trainer()).scale_batch_size(Network(), [0]),
            ValueError,
            r"Received a list\. Write train_dataloader\(\)",
        ),
        (
            lambda: trainer(BatchSizeFinder(batch_arg_name="size")).fit(Network()),
            AttributeError,
            "Received Network without 'size'",
        ),
        (
            lambda: trainer(BatchSizeFinder()).fit(Estimating()),
            RuntimeError,
            r"estimated_stepping_batches in configure_optimizers\. Search with Tuner",
        ),
        (lambda: BatchSizeFinder("bisect"), ValueError, "mode is 'power' or 'binsearch'"),
        (lambda: BatchSizeFinder(steps_per_trial=0), ValueError, "steps_per_trial is an int"),
        (
            lambda: Tuner(trainer(BatchSizeFinder())).scale_batch_size(Network()),
            ValueError,
            "in place of a BatchSizeFinder",
        ),
        (
            lambda: Tuner(trainer()).scale_batch_size(Network(), [0], method="test"),
            ValueError,
            "A run of test has dataloaders",
        ),
    ],
)
def test_what_can_not_be_searched_is_refused(call: Any, error: Any, message: str) -> None:
    with pytest.raises(error, match=message):
        call()


def test_a_loader_with_another_size_is_told(caplog: Any) -> None:
    passed = DataLoader(DATA, batch_size=4)

    trainer(BatchSizeFinder(), limit_val_batches=0).fit(Network(), passed)

    assert "found 16, and the run has batches of 4" in caplog.text


@pytest.mark.parametrize(
    "words",
    [{"overfit_batches": 2}, {"limit_train_batches": 0.5}, {"max_time": "00:01:00:00"},
     {"val_check_interval": 2, "min_epochs": 1}, {"accumulate_grad_batches": {0: 2}},
     {"gradient_clip_val": None, "max_steps": 3, "max_epochs": -1, "min_steps": 1}],
)  # fmt: skip
def test_trainers_of_every_kind_search(words: Any) -> None:
    assert Tuner(trainer(**words)).scale_batch_size(Network()) == 16


def test_callbacks_of_the_trainer_take_no_part_in_a_trial() -> None:
    told: list[Any] = []
    watch = LambdaCallback(on_train_batch_end=lambda *_: told.append("batch"))

    trainer(BatchSizeFinder(init_val=16), watch, limit_val_batches=0).fit(Network())

    assert len(told) == len(DATA) // 16
