"""What a user of the whole gets wrong is refused before it costs an hour, and says what to do."""

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset, IterableDataset, TensorDataset

import lt

Batches = list[tuple[Tensor, Tensor]]


def batches(count: int = 3) -> Batches:
    return [(torch.randn(2, 4), torch.randn(2, 1)) for _ in range(count)]


class Regression(lt.LTModule):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(4, 1)

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        x, y = batch
        return nn.functional.mse_loss(self.layer(x), y)

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.parameters(), lr=0.1)


def quiet(**words: Any) -> lt.Trainer:
    settings = {"max_epochs": 1, "logger": False, "enable_progress_bar": False} | words
    return lt.Trainer(**settings)


def test_a_loss_that_is_no_scalar() -> None:
    class PerSample(Regression):
        def training_step(self, batch: Any, batch_idx: int) -> Tensor:
            x, y = batch
            return nn.functional.mse_loss(self.layer(x), y, reduction="none")

    with pytest.raises(ValueError, match=r"must be a scalar\. Received a tensor of shape \(2, 1\)"):
        quiet().fit(PerSample(), batches())


def test_a_loss_without_gradient() -> None:
    class Detached(Regression):
        def training_step(self, batch: Any, batch_idx: int) -> Tensor:
            return super().training_step(batch, batch_idx).detach()

    with pytest.raises(ValueError, match="require a gradient"):
        quiet().fit(Detached(), batches())


def test_a_loss_that_is_no_tensor() -> None:
    class Number(Regression):
        def training_step(self, batch: Any, batch_idx: int) -> float:
            return super().training_step(batch, batch_idx).item()

    with pytest.raises(TypeError, match=r"must be a tensor\. Received float"):
        quiet().fit(Number(), batches())


def test_an_optimizer_of_somebody_elses_parameters() -> None:
    class Foreign(Regression):
        def configure_optimizers(self) -> Any:
            return torch.optim.SGD(nn.Linear(4, 1).parameters(), lr=0.1)

    with pytest.raises(ValueError, match="none of them among the 2 of Foreign"):
        quiet().fit(Foreign(), batches())


@pytest.mark.parametrize(
    ("returned", "error", "message"),
    [
        (None, TypeError, "must return an optimizer. Received None"),
        ("adam", TypeError, "must return an optimizer.*Received 'adam'"),
    ],
)
def test_something_else_than_an_optimizer(
    returned: Any, error: type[Exception], message: str
) -> None:
    class Odd(Regression):
        def configure_optimizers(self) -> Any:
            return returned

    with pytest.raises(error, match=message):
        quiet().fit(Odd(), batches())


def test_a_misspelt_key_of_an_optimizer_configuration() -> None:
    class Misspelt(Regression):
        def configure_optimizers(self) -> Any:
            optimizer = super().configure_optimizers()
            schedule = torch.optim.lr_scheduler.StepLR(optimizer, 1)
            return {"optimizer": optimizer, "lr_schedular": schedule}

    with pytest.raises(ValueError, match="Did you mean 'lr_scheduler'"):
        quiet().fit(Misspelt(), batches())


def test_a_misspelt_hook() -> None:
    class Misspelt(Regression):
        def on_train_epoch_ends(self) -> None: ...

    with pytest.raises(TypeError, match="Did you mean 'on_train_epoch_end'"):
        quiet().fit(Misspelt(), batches())


def test_no_training_step() -> None:
    class Misspelt(lt.LTModule):
        def train_step(self, batch: Any, batch_idx: int) -> Any: ...

        def configure_optimizers(self) -> Any: ...

    with pytest.raises(TypeError, match=r"without training_step\. It has 'train_step'"):
        quiet().fit(Misspelt(), batches())


class Samples(Dataset[int]):
    def __len__(self) -> int:
        return 3

    def __getitem__(self, index: int) -> int:
        return index


class Stream(IterableDataset[int]):
    def __iter__(self) -> Iterator[int]:
        return iter(range(3))


@pytest.mark.parametrize("dataset", [Samples(), Stream(), TensorDataset(torch.zeros(3, 4))])
def test_a_dataset_where_a_loader_is_meant(dataset: Any) -> None:
    with pytest.raises(TypeError, match=f"{type(dataset).__name__}.*DataLoader"):
        quiet().fit(Regression(), dataset)


def test_a_generator_for_more_than_one_epoch() -> None:
    loader = (batch for batch in batches())

    with pytest.raises(ValueError, match=r"can be read once.*max_epochs=2"):
        quiet(max_epochs=2).fit(Regression(), loader)


@pytest.mark.parametrize(
    ("loader", "message"),
    [
        ([], "empty list"),
        (iter([]), "yielded none"),
        (DataLoader(TensorDataset(torch.zeros(3, 4)), batch_size=4, drop_last=True), "drop_last"),
    ],
)
def test_a_loader_that_yields_nothing(loader: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        quiet().fit(Regression(), loader)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU here")
@pytest.mark.parametrize("words", [{"accelerator": "gpu"}, {"gpus": "0"}, {"gpus": 1}])
def test_a_gpu_that_is_not_here(words: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="Devices here: cpu"):
        quiet(**words)


def test_an_accelerator_that_nobody_makes() -> None:
    with pytest.raises(ValueError, match="accelerator='abacus'"):
        quiet(accelerator="abacus")


def test_a_precision_that_is_none() -> None:
    with pytest.raises(ValueError, match=r"banana.*bf16-mixed|bf16-mixed.*banana"):
        quiet(precision="banana")


def test_hardware_words_beside_a_ready_made_backend() -> None:
    from lt_accel import TorchBackend

    with pytest.raises(ValueError, match="TorchBackend and precision"):
        quiet(backend=TorchBackend(), precision="bf16")


def test_lightnings_first_spelling_of_a_run_without_gpus() -> None:
    trainer = quiet(gpus=None, precision=32, max_epochs=200)

    assert trainer.max_epochs == 200
