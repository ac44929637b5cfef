import pickle
from typing import Any

import torch
from torch.utils.data import IterableDataset, RandomSampler, SequentialSampler, TensorDataset

from lt_module import LTDataModule


class Stream(IterableDataset[int]):
    def __iter__(self) -> Any:
        return iter(range(3))


def numbers(n: int = 6) -> TensorDataset:
    return TensorDataset(torch.arange(n))


def test_datasets_become_loaders() -> None:
    data = LTDataModule.from_datasets(
        train_dataset=numbers(), val_dataset=[numbers(2), numbers(4)], batch_size=2
    )

    train = data.train_dataloader()
    assert isinstance(train.sampler, RandomSampler)
    assert len(train) == 3
    assert [len(loader) for loader in data.val_dataloader()] == [1, 2]
    assert all(isinstance(loader.sampler, SequentialSampler) for loader in data.val_dataloader())


def test_a_stream_is_not_shuffled() -> None:
    data = LTDataModule.from_datasets(train_dataset=Stream(), batch_size=3)

    assert [batch.tolist() for batch in data.train_dataloader()] == [[0, 1, 2]]


def test_stages_without_a_dataset_keep_the_mark() -> None:
    data = LTDataModule.from_datasets(train_dataset=numbers())

    assert data.test_dataloader.__lt_default__
    assert not hasattr(data.train_dataloader, "__lt_default__")


def test_arguments_reach_the_class() -> None:
    class Mine(LTDataModule):
        def __init__(self, folder: str) -> None:
            self.folder = folder

    assert Mine.from_datasets(numbers(), folder="here").folder == "here"


def test_a_copy_leaves_the_trainer_behind() -> None:
    data = LTDataModule()
    assert data.trainer is None
    data.trainer = object()

    assert pickle.loads(pickle.dumps(data)).trainer is None
