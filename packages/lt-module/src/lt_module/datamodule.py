"""LTDataModule: data, apart from the model."""

import functools
import os
from collections.abc import Sequence
from typing import Any, Self, TypeVar

from torch.utils.data import DataLoader, Dataset, IterableDataset

from lt_module.data_hooks import DataHooks
from lt_module.loading import OnClass, constructed, hyperparameters_in, isolated_rng, read
from lt_module.marking import library_default

T = TypeVar("T")


class LTDataModule(DataHooks):
    """Everything about a data set: how it is prepared, split, and loaded.

    Attributes:
        trainer: the trainer that runs it, None outside a run.
    """

    _trainer: Any = None

    @property
    def trainer(self) -> Any:
        """The trainer that runs it, or None."""
        return self._trainer

    @trainer.setter
    def trainer(self, trainer: Any) -> None:
        self._trainer = trainer

    def __getstate__(self) -> dict[str, Any]:
        """Return what is pickled and copied: all but the trainer."""
        return {name: value for name, value in self.__dict__.items() if name != "_trainer"}

    @library_default
    def state_dict(self) -> dict[str, Any]:
        """Return what must survive a resume."""
        return {}

    @library_default
    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Put back what :meth:`state_dict` returned."""

    @library_default
    def on_exception(self, exception: BaseException) -> None:
        """Called when the run ends by an exception, before the teardown."""

    @OnClass
    def load_from_checkpoint(
        cls: type[T],  # noqa: N805 - a class method
        checkpoint_path: str | os.PathLike[str],
        map_location: Any = None,
        hparams_file: str | os.PathLike[str] | None = None,
        weights_only: bool | None = None,
        **kwargs: Any,
    ) -> T:
        """Make a data module of a checkpoint: its hyper-parameters, its state.

        Args:
            checkpoint_path: a path or a URL.
            map_location: has no effect: a data module is nowhere.
            hparams_file: take the hyper-parameters from this file (``.yaml``, ``.json``, ``.csv``)
                instead.
            weights_only: Lightning's word for not unpickling. Nothing to say here.
            **kwargs: hyper-parameters that come before those in the checkpoint.

        Raises:
            LookupError: there is no whole checkpoint, or nothing that reads it.
            TypeError: the constructor needs an argument that was not saved.
        """
        found = read(checkpoint_path)
        saved = found.get("datamodule_hyper_parameters", {})
        if hparams_file is not None:
            saved = hyperparameters_in(hparams_file)
        with isolated_rng():
            made: Any = constructed(cls, saved, kwargs)
            state = found.get("datamodule") or found.get(cls.__qualname__)
            if state:
                made.load_state_dict(state)
        loaded: T = made
        return loaded

    @classmethod
    def from_datasets(
        cls,
        train_dataset: Any = None,
        val_dataset: Any = None,
        test_dataset: Any = None,
        predict_dataset: Any = None,
        batch_size: int = 1,
        num_workers: int = 0,
        **datamodule_kwargs: Any,
    ) -> Self:
        """Make a data module of datasets; the training set is shuffled unless it is iterable.

        Args:
            train_dataset: a dataset, or several.
            val_dataset: a dataset, or several.
            test_dataset: a dataset, or several.
            predict_dataset: a dataset, or several.
            batch_size: samples of a batch.
            num_workers: processes of each loader.
            **datamodule_kwargs: arguments of this class.
        """
        made = cls(**datamodule_kwargs)
        given = {"train": train_dataset, "val": val_dataset, "test": test_dataset}
        for word, datasets in {**given, "predict": predict_dataset}.items():
            if datasets is not None:
                made.__dict__[f"{word}_dataloader"] = functools.partial(
                    _loaders,
                    datasets,
                    shuffle=word == "train",
                    batch_size=batch_size,
                    num_workers=num_workers,
                )
        return made


def _loaders(datasets: Any, *, shuffle: bool, **words: Any) -> Any:
    if isinstance(datasets, Sequence) and not isinstance(datasets, Dataset):
        return [_loaders(dataset, shuffle=shuffle, **words) for dataset in datasets]
    return DataLoader(
        datasets, shuffle=shuffle and not isinstance(datasets, IterableDataset), **words
    )
